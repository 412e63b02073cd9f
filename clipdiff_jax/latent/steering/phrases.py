"""The phrases of prompts as arrays, and what a way of binding makes of a walk's rows."""

import warnings
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.data.phrases import Phrase, given_phrases, noun_phrases
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.data.words import end_of, words_in
from clipdiff_jax.latent.inputs import first_tokenizer
from clipdiff_jax.latent.requests import Binding, Generation
from clipdiff_jax.latent.steering.attention import Structured
from clipdiff_jax.latent.steering.binding import Moves, Tokens
from clipdiff_jax.latent.texts import Embedded
from clipdiff_jax.latent.walk import Rows

MOST_PHRASES = 8  # rows of tokens are filled up to as many, so that prompts share a program


def bound(
    rows: Rows,
    prompts: Sequence[str],
    request: Generation,
    tokenizers: tuple[Tokenizer, ...],
    embed: Callable[[list[str]], Embedded],
) -> Rows:
    """Rows of a walk, whose pictures are held to the phrases of their prompts.

    prompts: as many as there are rows, or each for as many rows in turn. Raises as `phrases_of`.
    """
    binding, given = request.binding, request.phrases
    if binding is None:
        return rows
    tokenizer = first_tokenizer(tokenizers)
    phrases = [phrases_of(prompt, tokenizer, given) for prompt in prompts]
    for prompt, found in zip(prompts, phrases, strict=True):
        warn_of_nothing_to_bind(prompt, found, binding)
    each = len(rows.x) // len(prompts)
    if binding != "structured":
        tokens = [
            tokens_of_phrases(prompt, found, tokenizer)
            for prompt, found in zip(prompts, phrases, strict=True)
        ]
        of_rows = Tokens(*(np.repeat(np.stack(p), each, 0) for p in zip(*tokens, strict=True)))
        return rows._replace(moves=Moves(of_rows, np.full(len(rows.x), binding == "syngen", "f4")))
    if not any(phrase.modifiers for found in phrases for phrase in found):
        return rows
    values = [
        structured_values(prompt, found, rows.cond["context"][i * each], embed, tokenizer)
        for i, (prompt, found) in enumerate(zip(prompts, phrases, strict=True))
    ]
    doubled = lambda cond, more: (
        cond
        | {
            "context": jnp.concatenate([cond["context"], more], axis=1),
            "attention": Structured(),
        }
    )
    cond = doubled(rows.cond, jnp.repeat(jnp.stack(values), each, axis=0))
    nulls = tuple(doubled(null, null["context"]) for null in rows.nulls)
    return rows._replace(cond=cond, nulls=nulls)


def phrases_of(prompt: str, tokenizer: Tokenizer, given: Sequence[str] | None) -> list[Phrase]:
    """The phrases of a prompt, or those that are given.

    Raises `ValueError` for a phrase that the prompt does not have, one beyond the tokenizer's
    length, and more than `MOST_PHRASES`.
    """
    found = noun_phrases(prompt) if given is None else given_phrases(prompt, given)
    reach = {word.start for word in words_in(prompt, tokenizer) if word.tokens}
    for phrase in found:
        if not reach.issuperset(piece.start for piece in (phrase.head, *phrase.modifiers)):
            raise ValueError(
                f"the phrase '{prompt[phrase.start : phrase.end]}' stands beyond the "
                f"{tokenizer.context_length - 2} tokens of a text that the model reads"
            )
    if len(found) > MOST_PHRASES:
        raise ValueError(f"{len(found)} phrases in '{prompt}', expected at most {MOST_PHRASES}")
    return found


def tokens_of_phrases(prompt: str, phrases: Sequence[Phrase], tokenizer: Tokenizer) -> Tokens:
    """Where the words of a prompt's phrases are in its row."""
    length, end = tokenizer.context_length, end_of(prompt, tokenizer)
    where = {word.start: word.tokens for word in words_in(prompt, tokenizer) if word.is_word}
    row = lambda starts: np.isin(np.arange(length), [t for s in starts for t in where.get(s, ())])
    filled = lambda rows, size: np.array(
        [*rows, *[np.zeros(length, bool)] * (size - len(rows))], np.float32
    ).reshape(size, length)
    every = row(where)
    modifiers, owners, outside = [], [], []
    for number, phrase in enumerate(phrases):
        own = [phrase.head.start, *(piece.start for piece in phrase.modifiers)]
        others = every & ~row(own)
        for piece in phrase.modifiers:
            modifiers.append(row([piece.start]))
            owners.append(number)
            outside.append(others)
    most = 2 * MOST_PHRASES
    if len(modifiers) > most:
        raise ValueError(f"{len(modifiers)} modifiers in '{prompt}', expected at most {most}")
    return Tokens(
        np.isin(np.arange(length), np.arange(1, end)).astype(np.float32),
        filled([row([phrase.head.start]) for phrase in phrases], MOST_PHRASES),
        filled(modifiers, most),
        np.array([*owners, *[0] * (most - len(owners))], np.int32),
        filled(outside, most),
    )


def structured_values(
    prompt: str,
    phrases: Sequence[Phrase],
    shown: Float[Array, "s d"],
    embed: Callable[[list[str]], Embedded],
    tokenizer: Tokenizer,
) -> Float[Array, "s d"]:
    """The mean over a prompt's states and those with each phrase's own encoding in its place.

    Phrases of a single word change nothing and are left out.
    """
    several = [phrase for phrase in phrases if phrase.modifiers]
    if not several:
        return shown
    words = words_in(prompt, tokenizer)
    texts = [prompt[phrase.start : phrase.end] for phrase in several]
    states = embed(texts).context
    contexts = [shown]
    for phrase, own in zip(several, states, strict=True):
        inside = [w for w in words if phrase.start <= w.start < phrase.end]
        tokens = sorted({token for word in inside for token in word.tokens})
        contexts.append(shown.at[np.array(tokens)].set(own[1 : 1 + len(tokens)]))
    return jnp.mean(jnp.stack(contexts), axis=0)


def warn_of_nothing_to_bind(prompt: str, phrases: Sequence[Phrase], binding: Binding) -> None:
    """Where a method cannot do anything for a prompt."""
    if not phrases:
        warnings.warn(f"'{prompt}' has no noun: nothing to bind", stacklevel=4)
    elif not any(phrase.modifiers for phrase in phrases) and binding != "attend":
        warnings.warn(f"'{prompt}' has no noun with an adjective: nothing to bind", stacklevel=4)
    elif len(phrases) < 2 and binding == "syngen":
        warnings.warn(f"'{prompt}' has one phrase only: nothing to bind it apart from",
                      stacklevel=4)  # fmt: skip
