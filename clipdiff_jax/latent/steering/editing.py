"""What `LatentDiffusion.edit` is handed, checked and brought to arrays; each method is a file.

Batches are filled up and put together here, so that a picture does not depend on its batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.request import Number, Scale
from clipdiff_jax.data.tokenize import Tokenizer, as_texts
from clipdiff_jax.data.words import end_of, marked, tokens_of
from clipdiff_jax.diffusion.sampler import step_noise
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.latent import inputs, starts
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.requests import (
    ConceptEditing,
    Instruction,
    Painting,
    PaintingOptions,
    PromptEditing,
    filled,
)
from clipdiff_jax.latent.steering import ledits
from clipdiff_jax.latent.steering import prompt_to_prompt as p2p
from clipdiff_jax.latent.steering.alignment import Alignment, align
from clipdiff_jax.latent.texts import Texts

CROSS = {"replace": 0.4, "refine": 0.8}  # shares of the steps, as published
GUIDANCE = 5.0  # of a concept
EDIT_METHODS: dict[str, Painting] = {
    "p2p": PromptEditing(),
    "ledits": ConceptEditing(),
    "instruct": Instruction(),
}
J = TypeVar("J")


class EditWords(TypedDict, total=False):
    """What `edit` takes beside a request: words of the prompts.

    negative: what guidance leads away from. Of prompt-to-prompt, weights: of words of the target; 1
    leaves a word as it is, more strengthens it. blend: words of the source and words of the target
    around which alone the picture may change.
    """

    negative: Texts | None
    weights: Mapping[str, Number] | None
    blend: tuple[str, str] | None


class EditOptions(PaintingOptions, EditWords, total=False):
    """The fields of the requests of `edit` as keywords, and its words."""

    inversion: Literal["direct", "negative", "ddim"]
    pairing: Literal["replace", "refine"] | None
    cross_share: Number | None
    self_share: Number
    blend_from: Number
    blend_above: Number
    skip: Number
    source_guidance: Number
    spare: Number
    warmup: int
    away: bool
    anywhere: bool
    image_guidance: Scale


class EditTexts(NamedTuple):
    """What a picture shows now, what it is to show, and what guidance leads away from."""

    source: Texts | None
    target: Texts
    negative: Texts | None


def edit_request(
    method: str, sampling: Sampling | None, options: Mapping[str, Any]
) -> tuple[Painting, EditWords]:
    """The request of a method with single options changed, and its words.

    Raises `ValueError` for a method that does not exist, `TypeError` for another method's option.
    """
    if method not in EDIT_METHODS:
        known = ", ".join(EDIT_METHODS)
        raise ValueError(f"no method {method!r}, but {known}.{nearest(method, EDIT_METHODS)}")
    of_words = ("negative", "weights", "blend") if method == "p2p" else ("negative",)
    words: Any = {name: options[name] for name in of_words if name in options}
    options = {name: value for name, value in options.items() if name not in of_words}
    return filled(EDIT_METHODS[method], sampling, options), words


def edited(
    denoiser: Denoiser,
    embed: starts.Embed,
    tokenizer: Tokenizer,
    latents: Float[Array, "b h w c"],
    texts: EditTexts,
    how: tuple[Painting, EditWords],
    keys: Key[Array, " b"],
) -> Float[Array, "b h w c"]:
    """The latents of the edited pictures, by the method whose request it is."""
    request, words = how
    if isinstance(request, PromptEditing):
        return by_prompts(denoiser, embed, tokenizer, latents, texts, request, words)
    assert isinstance(request, ConceptEditing)
    return by_concepts(denoiser, embed, tokenizer, latents, texts, request, keys)


def by_prompts(
    denoiser: Denoiser,
    embed: starts.Embed,
    tokenizer: Tokenizer,
    latents: Float[Array, "b h w c"],
    texts: EditTexts,
    request: PromptEditing,
    words: EditWords,
) -> Float[Array, "b h w c"]:
    """Prompt-to-prompt."""
    count, shape, config = len(latents), latents.shape[:3], denoiser.config
    if texts.source is None:
        raise ValueError("prompt-to-prompt needs `source`, what the picture shows now")
    sources, targets = (
        _each(name, given, count, request.count)
        for name, given in (("source", texts.source), ("target", texts.target))
    )
    if request.inversion == "negative" and texts.negative is not None:
        raise ValueError("inversion='negative' leads away from the source: leave out `negative`")
    times = config.sampling.times(request, config.schedule)
    exchange = _exchange(sources, targets, tokenizer, request, len(times) - 1, words)
    one = request.replace(count=1)
    shown, null = starts.conditions(
        denoiser, embed, sources, texts.negative, one, latents.shape[:3]
    )
    wanted, _ = starts.conditions(denoiser, embed, targets, texts.negative, one, shape)
    guidance = config.guidance if request.guidance is None else request.guidance
    job = p2p.Job(
        latents,
        shown,
        wanted,
        shown if request.inversion == "negative" else null,
        inputs.each("guidance", guidance, count),
        exchange,
        np.broadcast_to(request.inversion == "direct", count),
        np.array([a == b for a, b in zip(sources, targets, strict=True)]),
    )
    blended = words.get("blend") is not None
    run = lambda job: p2p.prompt_to_prompt(denoiser, times, job, blended=blended)[0]
    return _in_batches(run, job, count, request.batch)


def by_concepts(
    denoiser: Denoiser,
    embed: starts.Embed,
    tokenizer: Tokenizer,
    latents: Float[Array, "b h w c"],
    texts: EditTexts,
    request: ConceptEditing,
    keys: Key[Array, " b"],
) -> Float[Array, "b h w c"]:
    """LEDITS++. The targets are concepts, which all act on all pictures."""
    count = len(latents)
    concepts = as_texts(texts.target, "target")
    if not all(one.strip() for one in concepts):
        raise ValueError("a concept is empty: say what is to be added or taken away")
    sources = [""] * count
    if texts.source is not None:
        sources = _each("source", texts.source, count, request.count)
    times = ledits_times(denoiser, request)
    one = request.replace(count=1)
    shape = latents.shape[:3]
    shown, null = starts.conditions(denoiser, embed, sources, texts.negative, one, shape)
    each = [
        starts.conditions(denoiser, embed, [concept] * count, None, one, shape)[0]
        for concept in concepts
    ]
    marks = [marked(range(1, end_of(one, tokenizer)), tokenizer.context_length) for one in concepts]
    scale = GUIDANCE if request.guidance is None else request.guidance
    scales = inputs.each("guidance", scale, len(concepts)) * (-1.0 if request.away else 1.0)
    noise = jnp.stack([step_noise(keys, i, latents.shape) for i in range(len(times) - 1)], axis=1)
    of_rows = _OfRows(
        latents,
        noise,
        shown,
        null,
        jax.tree.map(lambda *rows: jnp.stack(rows, axis=1), *each),
        np.broadcast_to(np.stack(marks), (count, len(concepts), tokenizer.context_length)),
    )
    guided = 0.0 if texts.source is None else float(request.source_guidance)

    def run(rows: _OfRows) -> Array:
        first = lambda tree: jax.tree.map(lambda a: jnp.swapaxes(jnp.asarray(a), 0, 1), tree)
        acting = ledits.Concepts(
            first(rows.concepts),
            first(rows.words),
            scales,
            jnp.int32(request.warmup),
            jnp.float32(request.spare),
        )
        job = ledits.Job(
            rows.latents, first(rows.noise), rows.source, rows.null, jnp.float32(guided), acting
        )
        return ledits.ledits(denoiser, times, job, masked=not request.anywhere)

    return _in_batches(run, of_rows, count, request.batch)


def ledits_times(denoiser: Denoiser, request: ConceptEditing) -> Int[np.ndarray, " n_plus_1"]:
    """The last `steps` times of a grid of steps (1 + skip), and its end."""
    steps = int(request.steps)  # type: ignore[arg-type]  # a request of LEDITS++ has a number
    whole = request.replace(steps=int(steps * (1 + request.skip)))
    grid = denoiser.config.sampling.times(whole, denoiser.config.schedule)
    return grid[-steps - 1 :]


class _OfRows(NamedTuple):
    """What each picture of LEDITS++ has; see `ledits.Job` and `ledits.Concepts`."""

    latents: Float[Array, "b h w c"]
    noise: Float[Array, "b n h w c"]
    source: dict[str, Array]
    null: dict[str, Array]
    concepts: dict[str, Array]
    words: Float[Array | np.ndarray, "b c s"]


def _each(name: str, given: Texts, count: int, copies: int) -> list[str]:
    """A prompt for each of `count` rows, of which so many are of one picture."""
    texts, pictures = as_texts(given, name), count // copies
    if len(texts) not in (1, pictures):
        raise ValueError(
            f"{len(texts)} {name} prompts for {pictures} pictures: expected 1 or {pictures}"
        )
    if not all(one.strip() for one in texts):
        raise ValueError(f"a {name} prompt is empty: say what the picture shows")
    every = texts * pictures if len(texts) == 1 else texts
    return [text for text in every for _ in range(copies)]


def _exchange(
    sources: list[str],
    targets: list[str],
    tokenizer: Tokenizer,
    request: PromptEditing,
    steps: int,
    words: EditWords,
) -> p2p.Exchange:
    """What prompt-to-prompt carries over from each source to its target."""
    count, length = len(sources), tokenizer.context_length
    how = [
        align(source, target, tokenizer, request.pairing, words.get("weights"))
        for source, target in zip(sources, targets, strict=True)
    ]
    alignment = Alignment(*(np.stack(parts) for parts in zip(*how, strict=True)))
    blend = words.get("blend")
    marks = None
    if blend is not None:
        if isinstance(blend, str) or len(blend) != 2:
            raise ValueError(f"blend is {blend!r}, expected words of the source, and of the target")
        rows = [
            np.stack([marked(tokens_of(phrase, text, tokenizer), length) for text in texts])
            for phrase, texts in zip(blend, (sources, targets), strict=True)
        ]
        marks = p2p.Blending(*rows)
    shares = [
        CROSS["replace" if one.shared.all() else "refine"]
        if request.cross_share is None
        else request.cross_share
        for one in how
    ]
    of_all = lambda share: np.broadcast_to(np.float32(share * steps), count)
    return p2p.Exchange(
        alignment,
        (np.array(shares) * steps).astype(np.float32),  # a share in float32 is a step too many
        of_all(request.self_share),
        of_all(request.blend_from),
        np.broadcast_to(np.float32(request.blend_above), count),
        marks,
    )


def _in_batches(run: Callable[[J], Array], job: J, count: int, size: int | None) -> Array:
    """`run` of so many rows at a time, the last batch filled up."""
    if size is None or size >= count:
        return run(job)
    parts = []
    for indices, new in filled_batches(np.arange(count), size):
        parts.append(run(jax.tree.map(lambda leaf, at=indices: leaf[at], job))[:new])
    return jnp.concatenate(parts)
