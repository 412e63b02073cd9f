"""Token ids: CLIP's conventions, training, and equality with transformers."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

from clipdiff_jax.data.tokenize import (
    END,
    TokenizerError,
    Vocabulary,
    as_texts,
    load_tokenizer,
    train_tokenizer,
)

CAPTIONS = ["a face with red hair", "a smiling face, wearing glasses", "smiling, red hair"] * 10
ODD = ["A Face  with\tRED hair", "naïve Straße 12 🙂 it's", "<|endoftext|>", ""]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(CAPTIONS, 600, 32)


def test_rows_are_marked_padded_and_lower_cased(tokenizer):
    ids = tokenizer(["a face with red hair", "A FACE"])
    assert ids.shape == (2, 32)
    assert ids.dtype == np.int32
    assert (tokenizer.start_id, tokenizer.end_id) == (0, 1)
    assert list(ids[0, [0, 6]]) == [0, 1]  # five words, each learned as one token
    assert (ids[0, 6:] == 1).all()
    np.testing.assert_array_equal(ids[1, :3], ids[0, :3])
    np.testing.assert_array_equal(tokenizer("A FACE"), ids[1:])


def test_training_is_deterministic_and_bounded(tokenizer):
    again = train_tokenizer(CAPTIONS, 600, 32)
    assert again.files() == tokenizer.files()
    assert tokenizer.vocab_size <= 600
    small = train_tokenizer(CAPTIONS, 520, 32)
    assert small.vocab_size == 520
    assert (small(ODD) < 520).all()
    with pytest.raises(ValueError, match="vocab_size is 500, expected at least 514"):
        train_tokenizer(CAPTIONS, 500, 32)
    with pytest.raises(ValueError, match="context_length is 2"):
        train_tokenizer(CAPTIONS, 600, 2)


def test_too_long_a_text_is_cut_with_a_warning_that_names_it(tokenizer):
    long = "a face with red hair " * 7
    with pytest.warns(UserWarning, match="text of 35 tokens cut to the 30 that fit: 'a face"):
        ids = tokenizer([long])
    assert ids[0, -1] == tokenizer.end_id
    np.testing.assert_array_equal(ids[0, 1:6], tokenizer("a face with red hair")[0, 1:6])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer(["a face with red hair " * 6])


def test_files_round_trip(tmp_path, tokenizer):
    for name, content in tokenizer.files().items():
        (tmp_path / name).write_bytes(content)
    loaded = load_tokenizer(tmp_path)
    assert loaded.context_length == 32
    np.testing.assert_array_equal(loaded(ODD), tokenizer(ODD))
    assert load_tokenizer(tmp_path, 9)("a").shape == (1, 9)


def vocabulary_files(folder, tokenizer):
    model = json.loads(tokenizer.files()["tokenizer.json"])["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return model


def test_vocabulary_and_merges(tmp_path, tokenizer):
    vocabulary_files(tmp_path, tokenizer)
    np.testing.assert_array_equal(load_tokenizer(tmp_path, 32)(ODD), tokenizer(ODD))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "!"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1e30}))
    padded = load_tokenizer(tmp_path)
    assert padded("a").shape == (1, 77)
    assert padded("a")[0, -1] == padded.backend.token_to_id("!")


def test_unreadable_tokenizers(tmp_path, tokenizer):
    with pytest.raises(TokenizerError, match=r"no 'tokenizer.json' and no 'vocab.json'"):
        load_tokenizer(tmp_path)
    model = vocabulary_files(tmp_path, tokenizer)
    del model["vocab"]["<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    with pytest.raises(TokenizerError, match=r"lacks '<.endoftext.>'"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match="cannot read the tokenizer in"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("kept", ["added_tokens.json", "tokenizer_config.json"])
def test_added_tokens_are_part_of_a_vocabulary(tmp_path, tokenizer, kept):
    vocabulary_files(tmp_path, tokenizer)
    first = tokenizer.vocab_size
    decoder = {
        str(first + i): {"content": word, "lstrip": False, "normalized": False, "special": i == 1}
        for i, word in enumerate(["<cat-toy>", "<mine>"])
    }
    added = {one["content"]: int(i) for i, one in decoder.items()}
    document = added if kept == "added_tokens.json" else {"added_tokens_decoder": decoder}
    (tmp_path / kept).write_text(json.dumps(document))
    loaded = load_tokenizer(tmp_path, 32)
    ids = loaded("a <cat-toy> face <mine>")[0]
    assert list(ids[[2, 4]]) == [first, first + 1]
    assert loaded.vocab_size == first + 2
    np.testing.assert_array_equal(loaded(ODD), tokenizer(ODD))
    for name, content in loaded.files().items():
        (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(
        load_tokenizer(tmp_path, 32)("a <cat-toy>"), loaded("a <cat-toy>")
    )


def test_damaged_settings_of_a_tokenizer(tmp_path, tokenizer):
    vocabulary_files(tmp_path, tokenizer)
    for name, content, message in (
        ("added_tokens.json", {"<x>": tokenizer.vocab_size + 5}, "'<x>' .* has the id 5"),
        ("added_tokens.json", {"<x>": "many"}, "added tokens .* damaged"),
        ("added_tokens.json", [1], "holds a list"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": 2}}, "added tokens .* damaged"),
        ("tokenizer_config.json", {"model_max_length": "long"}, "model_max_length 'long'"),
        ("tokenizer_config.json", {"pad_token": ["!"]}, "padding token"),
    ):
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(TokenizerError, match=message):
            load_tokenizer(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "tokenizer_config.json").write_text("[" * 100_000)
    with pytest.raises(TokenizerError, match=r"tokenizer_config.json' is not JSON"):
        load_tokenizer(tmp_path)


@pytest.mark.parity
def test_equal_to_transformers(tokenizer):
    transformers = pytest.importorskip("transformers")
    model = json.loads(tokenizer.files()["tokenizer.json"])["model"]
    theirs = transformers.CLIPTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]]
    )
    texts = [*ODD, "hello, world!! don't", "数字 123", "a\n\nb", "ÀÉ é"]
    ids = theirs(texts, padding="max_length", max_length=32, truncation=True)["input_ids"]
    np.testing.assert_array_equal(tokenizer(texts), ids)


def test_tokenizers_of_the_same_ids_are_equal(tokenizer):
    again = train_tokenizer(CAPTIONS, 600, 32)
    assert again == tokenizer
    assert hash(again) == hash(tokenizer)
    assert train_tokenizer(CAPTIONS, 600, 31) != tokenizer
    assert train_tokenizer(CAPTIONS, 520, 32) != tokenizer


def test_a_mark_inside_of_a_text_is_a_token_of_it(tokenizer):
    whole = "a face with red hair"
    ids, counts = tokenizer.encode([whole, f"a {END} face with red hair", ""])
    assert list(counts) == [7, 8, 2]
    assert list(ids[1, [2, 7]]) == [tokenizer.end_id] * 2
    np.testing.assert_array_equal(ids[1, 3:8], ids[0, 2:7])
    np.testing.assert_array_equal(ids, tokenizer([whole, f"a {END} face with red hair", ""]))


def test_unknown_words_are_named_where_the_words_are_known(tokenizer):
    known = dataclasses.replace(
        tokenizer, vocabulary=Vocabulary(frozenset({"a", "red", "face"}), "It knows faces")
    )
    assert known == tokenizer  # it makes the same ids
    said = "unknown words: dog, naïve. It knows faces, by these words: a, face, red"
    with pytest.warns(UserWarning, match=said):
        known(["A red DOG", f"a naïve face {END} 12, a dog!"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known(["a red Face.", "", "12!"])
        tokenizer("an unknown dog")
        known.silent("an unknown dog")


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ([], ValueError, "there are no texts"),
        ([1], TypeError, "texts hold '1', a int, not a string"),
        (["a", None], TypeError, "a NoneType, not a string"),
        (5, TypeError, "texts are a int, expected strings"),
    ],
)
def test_what_is_no_text(texts, error, message):
    with pytest.raises(error, match=message):
        as_texts(texts)
    assert as_texts("a face") == as_texts(("a face",)) == ["a face"]
