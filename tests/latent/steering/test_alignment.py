"""Which tokens of a target are which of the source, and words by where they stand."""

import numpy as np
import pytest
from helpers import tiny_latent

from clipdiff_jax.data.words import tokens_of, words_in
from clipdiff_jax.latent.steering.alignment import align, matched


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_latent.tokenizer()


def row(tokenizer, text):
    return [tokenizer.backend.id_to_token(int(i)) for i in tokenizer(text)[0]]


def test_words_are_found_by_where_they_stand(tokenizer):
    text = "A red cube, two DOGS!"
    words = words_in(text, tokenizer)
    assert [word.text for word in words] == ["a", "red", "cube", ",", "two", "dogs", "!"]
    tokens = row(tokenizer, text)
    for word in words:
        assert "".join(tokens[i] for i in word.tokens).replace("</w>", "") == word.text
    assert tokens_of("dogs cube", text, tokenizer) == words[5].tokens + words[2].tokens
    with pytest.raises(ValueError, match=r"'dog' is no word of .* Did you mean 'dogs'"):
        tokens_of("dog", text, tokenizer)
    with pytest.raises(ValueError, match="stands beyond the 14 tokens"):
        tokens_of("dogs", "red " * 20 + "dogs", tokenizer)


def test_equal_prompts_stand_for_themselves(tokenizer):
    for how in ("replace", "refine"):
        same = align("a red cube", "a red cube", tokenizer, how)
        np.testing.assert_array_equal(same.moves, np.eye(tokenizer.context_length))
        assert same.shared.all()


def test_replaced_words_share_their_pieces(tokenizer):
    found = align("a red cube", "a zebra cube", tokenizer)
    source, target = (words_in(t, tokenizer) for t in ("a red cube", "a zebra cube"))
    pieces = target[1].tokens
    assert len(pieces) > 1
    assert source[1].tokens != pieces
    np.testing.assert_allclose(found.moves[source[1].tokens[0], list(pieces)], 1 / len(pieces))
    assert found.moves[source[2].tokens[0], target[2].tokens[0]] == 1
    np.testing.assert_array_equal(found.moves[:, 0], np.eye(tokenizer.context_length)[0])
    np.testing.assert_allclose(found.moves[: source[2].tokens[0] + 1].sum(axis=1), 1, rtol=1e-6)


def test_a_word_beyond_what_is_read_of_the_source_is_the_targets_own(tokenizer):
    source, target = "zebra " * 3 + "dog", "red " * 3 + "dog"
    last = words_in(source, tokenizer)[-1], words_in(target, tokenizer)[-1]
    assert not last[0].tokens, "the source is cut before it"
    tokens = list(last[1].tokens)
    found = align(source, target, tokenizer)
    assert len(tokens) > 0
    assert not found.shared[tokens].any(), "its maps would be zero everywhere"
    assert found.shared.sum() == tokenizer.context_length - len(tokens)


def test_refining_keeps_what_both_have(tokenizer):
    found = align("a red cube", "a blue cube on a red cube", tokenizer)
    words = words_in("a blue cube on a red cube", tokenizer)
    kept = [word.text for word in words if found.shared[list(word.tokens)].all()]
    assert kept == ["a", "red", "cube"]
    assert matched([1, 2, 3], [1, 9, 3, 2]) in ([0, None, 2, None], [0, None, None, 1])
    assert matched([], [4]) == [None]


def test_weights(tokenizer):
    found = align("a red cube", "a blue cube", tokenizer, weights={"blue": 2.5})
    assert (found.weights != 1).sum() == len(words_in("a blue cube", tokenizer)[1].tokens)
    with pytest.raises(ValueError, match="'green' is no word"):
        align("a red cube", "a blue cube", tokenizer, weights={"green": 2})
    with pytest.raises(ValueError, match="has 3 words and 'two dogs' 2"):
        align("a red cube", "two dogs", tokenizer, "replace")
