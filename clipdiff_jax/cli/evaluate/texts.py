"""`clipdiff evaluate texts`: how well pictures fit their texts, as a CLIP sees it."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_reading_options,
    add_result_options,
    check_options,
    reading,
    table,
    write_results,
)
from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.progress import counter
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.metrics.clip_score import HESSEL_PREFIX
from clipdiff_jax.metrics.direction import directional_similarity
from clipdiff_jax.metrics.folders import Picture, list_pairs, list_pictures, read_squares
from clipdiff_jax.metrics.registry import OF_TEXTS
from clipdiff_jax.metrics.uncertainty import bootstrap
from clipdiff_jax.models.clip import unit
from clipdiff_jax.perceptual.directional import text_direction
from clipdiff_jax.perceptual.templates import IMAGENET_TEMPLATES, PLAIN
from clipdiff_jax.pictures.grid import Grid, show
from clipdiff_jax.pictures.pages import spread

TEMPLATES = {"plain": PLAIN, "imagenet": IMAGENET_TEMPLATES}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how."""
    parser.add_argument("folder", type=Path, help="the pictures to be measured")
    parser.add_argument("--model", default="demo", help="the CLIP: what load_clip takes")
    parser.add_argument(
        "--text", help="of all pictures (default: --target-text, or else each one's first caption)",
    )  # fmt: skip
    parser.add_argument(
        "--prefix", default="",
        help=f"prefix of each text; {HESSEL_PREFIX!r} in the paper of the CLIP score",
    )  # fmt: skip
    parser.add_argument(
        "--originals",
        type=Path,
        metavar="FOLDER",
        help="the pictures before the edit; measures S_dir too",
    )
    parser.add_argument("--source-text", help="what the originals show")
    parser.add_argument("--target-text", help="what the pictures should show")
    parser.add_argument(
        "--templates", choices=tuple(TEMPLATES), default="plain",
        help="wordings of those two texts, over which their embeddings are averaged",
    )  # fmt: skip
    add_reading_options(parser)
    add_result_options(parser, batch_size=16)


def run(args: argparse.Namespace) -> None:
    """`clipdiff evaluate texts`."""
    check_options(args)
    edit = (args.originals, args.source_text, args.target_text)
    if any(edit) and not all(edit):
        raise ValueError("S_dir needs --originals, --source-text and --target-text together")
    pairs = None
    if args.originals:
        pairs = list_pairs(args.folder, args.originals, reading(args))
        pictures = [picture for picture, _ in pairs]
    else:
        pictures = list_pictures(args.folder, reading(args))
    texts = _texts(pictures, args)
    clip = load_clip(args.model)
    images = _image_embeddings(clip, pictures, args.batch_size)
    wanted = _text_embeddings(clip, [args.prefix + text for text in texts], args.batch_size)
    candidates = len(set(texts))
    found, titles, means = {}, {}, {}
    for name, metric in OF_TEXTS.items():
        if metric.ranks and candidates == 1:
            continue
        scores = np.asarray(metric.scores(images, wanted, texts))
        titles[name] = metric.title.format(candidates=candidates)
        means[name] = bootstrap(scores)
        if metric.listed:
            found[name] = scores
    if pairs is not None:
        found["s_dir"] = _directions(clip, pairs, args)
        titles["s_dir"] = "S_dir ↑"
        means["s_dir"] = bootstrap(found["s_dir"])
    each = [
        {"name": picture.name, "text": text}
        | {name: float(scores[i]) for name, scores in found.items()}
        for i, (picture, text) in enumerate(zip(pictures, texts, strict=True))
    ]
    results = {
        "pictures": len(pictures),
        "model": str(args.model),
        "prefix": args.prefix,
        "candidates": candidates,
        "mean": {name: dataclasses.asdict(mean) for name, mean in means.items()},
        "each": each,
    }
    row = [str(len(pictures)), *(format(means[name], ".3f") for name in titles)]
    grid = _grid(pictures, found["clip_score"], clip.config.vision.image_size)
    write_results(args.out, results, table(["pictures", *titles.values()], [row]), grid)


def _texts(pictures: Sequence[Picture], args: argparse.Namespace) -> list[str]:
    """What each picture should show."""
    shared = args.text or args.target_text
    if shared is not None:
        return [shared] * len(pictures)
    alone = [picture for picture in pictures if not picture.captions]
    if alone:
        raise ValueError(
            f"'{alone[0].path}' has no caption ({len(alone)} of {len(pictures)} pictures have "
            "none): write captions into metadata.jsonl or a .txt beside it, or give --text"
        )
    return [picture.captions[0] for picture in pictures]


def _image_embeddings(
    clip: Clip, pictures: Sequence[Picture], batch_size: int
) -> Float[Array, "n d"]:
    parts = []
    with counter("embedding", total=len(pictures), unit="img") as told:
        for count, images in read_squares(pictures, batch_size, clip.config.vision.image_size):
            parts.append(unit(clip.embed_images(to_uint8(images)))[:count])
            told.update(count)
    return jnp.concatenate(parts)


def _text_embeddings(clip: Clip, texts: Sequence[str], batch_size: int) -> Float[Array, "n d"]:
    """Unit embeddings; each different text is embedded once."""
    place = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    different = list(place)
    parts = []
    for batch, count in filled_batches(different, batch_size):
        parts.append(unit(clip.embed_texts(batch))[:count])
    return jnp.concatenate(parts)[np.array([place[text] for text in texts])]


def _directions(
    clip: Clip, pairs: Sequence[tuple[Picture, Picture]], args: argparse.Namespace
) -> Float[np.ndarray, " n"]:
    """S_dir of each pair of a picture and its original."""
    templates = TEMPLATES[args.templates]
    direction = text_direction(clip.embed_texts, args.source_text, args.target_text, templates)
    size = clip.config.vision.image_size
    batches = (read_squares(side, args.batch_size, size) for side in zip(*pairs, strict=True))
    parts = [
        np.asarray(directional_similarity(clip, direction, to_uint8(images), to_uint8(originals)))[
            :count
        ]
        for (count, images), (_, originals) in zip(*batches, strict=True)
    ]
    return np.concatenate(parts)


def _grid(pictures: Sequence[Picture], scores: Float[np.ndarray, " n"], size: int) -> Grid:
    """The pictures from the best to the worst CLIP score."""
    order = spread(sorted(range(len(pictures)), key=lambda i: -scores[i]), SHOWN)
    ((_, shown),) = read_squares([pictures[i] for i in order], len(order), size)
    return show([to_uint8(shown)], titles=[f"{scores[i]:.3f}" for i in order])
