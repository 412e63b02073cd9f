"""`sample.py interpolate`, `textdiff` and `reconstruct`: pictures along a path of embeddings.

Ramesh et al. 2022, arXiv 2204.06125, sections 3.2, 3.3 and 4. A path is one pair of pictures, or
one picture, and what is made along it differs in theta, or dimensions, alone. So the records of one
path are computed together, with one inversion and one noise of the upsamplers.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from clipdiff_jax.cli.make import Kind, make
from clipdiff_jax.cli.results import cell, made, save_rows, source_cell, spread
from clipdiff_jax.cli.sources import described_source, free_name, read_sources
from clipdiff_jax.cli.unclip_model import (
    INVERTED_GUIDANCE,
    INVERTED_STEPS,
    add_options,
    described,
    model_fingerprint,
    model_of,
    source_size,
)
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.pictures.animation import FORMATS, animation
from clipdiff_jax.pictures.records import Record, read_source, record_keys
from clipdiff_jax.unclip.model import THETAS

_OPTIONS: dict[str, float] = {"guidance": INVERTED_GUIDANCE, "upsample_steps": 7}
_COUNT, _DURATION = 8, 120
_PLAYBACK = ("back-and-forth", "loop")
_SECOND = "second_"  # before the names of a record's fields of the picture where a path ends


@dataclass(frozen=True)
class _Path:
    """A label and the records along it."""

    label: str
    records: list[Record]


def add_interpolate_options(parser: argparse.ArgumentParser) -> None:
    """The options of `interpolate`, beside the pictures."""
    parser.add_argument(
        "--count", type=int, default=_COUNT,
        help=f"pictures from each to the next, both ends among them ({_COUNT})",
    )  # fmt: skip
    parser.add_argument(
        "--latents", choices=("slerp", "fixed"), default="slerp",
        help="x_T goes from one picture's own to the other's (default), or stays one drawn anew",
    )  # fmt: skip
    add_options(parser, _OPTIONS)
    _add_animation_options(parser)


def add_textdiff_options(parser: argparse.ArgumentParser) -> None:
    """The options of `textdiff`, beside the pictures."""
    parser.add_argument(
        "--from", dest="source_text", required=True, metavar="TEXT",
        help="what the pictures show: their caption, 'a photo' or ''",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="target_text", required=True, metavar="TEXT", help="what they are to show"
    )
    parser.add_argument(
        "--thetas", nargs="+", type=float, default=list(THETAS), metavar="THETA",
        help=f"how far to turn, 0 to 1 ({' '.join(f'{theta:g}' for theta in THETAS)})",
    )  # fmt: skip
    add_options(parser, _OPTIONS)
    _add_animation_options(parser)


def add_reconstruct_options(parser: argparse.ArgumentParser) -> None:
    """The options of `reconstruct`, beside the pictures."""
    parser.add_argument(
        "--dims", nargs="+", type=int,
        help="how many principal components of the embedding to keep (the paper's numbers)",
    )  # fmt: skip
    add_options(parser, _OPTIONS)


def run_interpolate(args: argparse.Namespace) -> None:
    """`sample.py interpolate`: along the list of pictures, from each to the next."""
    if args.count < 2:
        raise ValueError(f"--count must be at least 2, for both ends, got {args.count}")
    _check_animation(args, args.count)
    # One index for all: the end of a path and the start of the next are drawn with the same noise.
    common = {**_common(args), "latents": args.latents, "index": 0}
    size = source_size(model_of(common), "interpolations")
    sources = read_sources(args.images, size, args.on_error)
    if len(sources) < 2:
        raise ValueError(f"interpolate needs at least 2 pictures, got {len(sources)}")
    thetas = [float(theta) for theta in np.linspace(0, 1, args.count)]
    taken: set[str] = set()
    paths = []
    for first, second in pairwise(sources):
        both = {**common, **described_source(first), **described_source(second, _SECOND)}
        stem = f"{first.path.stem}-{second.path.stem}"
        names = [free_name(f"{stem}-{number:02d}", taken) for number in range(args.count)]
        records = [
            {**both, "theta": theta, "file": name}
            for theta, name in zip(thetas, names, strict=True)
        ]
        paths.append(_Path(f"{first.path.stem} - {second.path.stem}", records))
    _make(args, paths, [f"theta {theta:.2g}" for theta in thetas], ends=("first", "second"))
    if args.animate is not None:
        frames = [record for path in paths for record in path.records[path is not paths[0] :]]
        _save_animation(args, frames, f"animation.{args.animate}")


def run_textdiff(args: argparse.Namespace) -> None:
    """`sample.py textdiff`: every picture turned from one text to another."""
    if args.source_text == args.target_text:
        raise ValueError(f"--from and --to are both '{args.source_text}': no direction")
    if wrong := [theta for theta in args.thetas if not 0 <= theta <= 1]:
        raise ValueError(f"--thetas {wrong[0]:g}, expected 0 to 1")
    _check_animation(args, len(args.thetas))
    texts = {"source_text": args.source_text, "target_text": args.target_text}
    common = {**_common(args), **texts}
    paths = _paths_of_pictures(args, common, "text diffs", "theta", args.thetas)
    _make(args, paths, [f"theta {theta:g}" for theta in args.thetas], ends=("original",))
    if args.animate is not None:
        taken: set[str] = set()
        for path in paths:
            _save_animation(args, path.records, free_name(path.label, taken, args.animate))


def run_reconstruct(args: argparse.Namespace) -> None:
    """`sample.py reconstruct`: every picture from a part of its embedding's dimensions."""
    common = _common(args)
    source_size(model_of(common), "reconstructions")
    dims = model_of(common).reconstruction_dims(args.dims)
    paths = _paths_of_pictures(args, common, "reconstructions", "dims", dims)
    _make(args, paths, [f"{one} dims" for one in dims], ends=("original",))


def _common(args: argparse.Namespace) -> Record:
    return {"command": args.command, **described(args, _OPTIONS, INVERTED_STEPS)}


def _paths_of_pictures(
    args: argparse.Namespace, common: Record, what: str, varied: str, values: Sequence[Any]
) -> list[_Path]:
    """A path for each picture, along which the field `varied` takes these values."""
    size = source_size(model_of(common), what)
    taken: set[str] = set()
    paths = []
    for index, source in enumerate(read_sources(args.images, size, args.on_error)):
        stem = source.path.stem
        one = {**common, **described_source(source), "index": index}
        names = [free_name(f"{stem}-{value:g}", taken) for value in values]
        records = [
            {**one, varied: value, "file": name} for value, name in zip(values, names, strict=True)
        ]
        paths.append(_Path(stem, records))
    return paths


def _make(
    args: argparse.Namespace, paths: Sequence[_Path], titles: list[str], ends: tuple[str, ...]
) -> None:
    """Makes all paths and their grid, with the pictures they come from, titled `ends`, beside."""
    every = [record for path in paths for record in path.records]
    make(every, lambda record: KINDS[record["command"]], args.out, args.batch_size)
    size = len(made(args.out, every[0]))
    rows = []
    for path in paths:
        cells = [cell(args.out, record) for record in spread(path.records)]
        cells = [source_cell(path.records[0], size), *cells]
        if len(ends) == 2:
            cells.append(source_cell(path.records[0], size, f"{_SECOND}source"))
        rows.append((path.label, cells))
    save_rows(args.out, rows, [ends[0], *spread(titles), *ends[1:]])


def _add_animation_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("an animated file beside the pictures")
    group.add_argument("--animate", choices=FORMATS, help="its format (default: no such file)")
    group.add_argument("--playback", choices=_PLAYBACK, help=f"({_PLAYBACK[0]})")
    group.add_argument(
        "--frame-duration", type=int, metavar="MS", help=f"milliseconds a picture ({_DURATION})"
    )


def _check_animation(args: argparse.Namespace, count: int) -> None:
    if args.animate is None:
        for name in ("playback", "frame_duration"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} is of an animation: give --animate")
    elif count < 2:
        raise ValueError(f"--animate needs at least 2 pictures, got {count}")
    if args.frame_duration is not None and args.frame_duration < 1:
        raise ValueError(f"--frame-duration must be at least 1, got {args.frame_duration}")


def _save_animation(args: argparse.Namespace, records: Sequence[Record], name: str) -> None:
    images = [made(args.out, record) for record in records]
    duration = _DURATION if args.frame_duration is None else args.frame_duration
    content = animation(
        images, args.animate, duration=duration, back=args.playback != "loop"
    )  # fmt: skip
    write_whole(args.out / name, content)


def _interpolations(records: Sequence[Record]) -> jax.Array:
    one = records[0]
    model = model_of(one)
    size = source_size(model)
    ends = (read_source(one, size), read_source(one, size, f"{_SECOND}source"))
    thetas = [record["theta"] for record in records]
    return model.interpolate(*ends, thetas, latents=one["latents"], **_drawn(records))


def _text_diffs(records: Sequence[Record]) -> jax.Array:
    one = records[0]
    model = model_of(one)
    image = read_source(one, source_size(model))
    thetas = [record["theta"] for record in records]
    texts = one["source_text"], one["target_text"]
    return model.text_diff(image, *texts, thetas=thetas, **_drawn(records))


def _reconstructions(records: Sequence[Record]) -> jax.Array:
    one = records[0]
    model = model_of(one)
    image = read_source(one, source_size(model))
    dims = [record["dims"] for record in records]
    return model.pca_reconstructions(image, dims, **_drawn(records))


def _drawn(records: Sequence[Record]) -> dict[str, Any]:
    """How a path is drawn: with one key."""
    options = {name: records[0][name] for name in (*_OPTIONS, "steps")}
    return {"key": record_keys(records[:1])[0], **options}


KINDS = {
    "interpolate": Kind(_interpolations, model_fingerprint, own=("file", "theta")),
    "textdiff": Kind(_text_diffs, model_fingerprint, own=("file", "theta")),
    "reconstruct": Kind(_reconstructions, model_fingerprint, own=("file", "dims")),
}
