"""Pictures along a way of embeddings: what `interpolate`, `textdiff` and `reconstruct` share.

Ramesh et al. 2022, arXiv 2204.06125, sections 3.2, 3.3 and 4. A way is from one picture to another,
or starts at one picture, and what is made along it differs in theta, or dimensions, alone. So the
records of one way are computed together, with one inversion and one noise of the upsamplers.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipdiff_jax.cli.arguments import check_at_least, free_name
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.sources import Source, by_digest, described_source
from clipdiff_jax.cli.unclip_model import decoding
from clipdiff_jax.core.files import free_path, write_whole
from clipdiff_jax.pictures.animation import FORMATS, animation
from clipdiff_jax.pictures.labels import GENERATED, Label
from clipdiff_jax.pictures.pages import Group, cell, save_rows, spread
from clipdiff_jax.pictures.records import Record, record_keys
from clipdiff_jax.pictures.results import Results

SECOND = "second_"  # before the names of a record's fields of the picture where a way ends
_DURATION = 120
_PLAYBACK = ("back-and-forth", "loop")


@dataclass(frozen=True)
class Way:
    """A label, the records along it, and the picture or pictures that it starts from."""

    label: str
    records: list[Record]
    ends: tuple[Source, ...]


def ways_of_pictures(
    sources: Sequence[Source], common: Record, varied: str, values: Sequence[Any], ending: str
) -> list[Way]:
    """A way for each picture, along which the field `varied` takes these values.

    ending: of the files.
    """
    taken: set[str] = set()
    ways = []
    for index, source in enumerate(sources):
        stem = source.path.stem
        one = {**common, **described_source(source), "index": index}
        names = [free_name(f"{stem}-{value:g}", taken, ending) for value in values]
        records = [
            {**one, varied: value, "file": name} for value, name in zip(values, names, strict=True)
        ]
        ways.append(Way(stem, records, (source,)))
    return ways


def make_ways(
    maker: Maker, ways: Sequence[Way], titles: Sequence[str], results: Results, batch_size: int
) -> None:
    """Makes all pictures, and their grid with those that they come from beside."""
    every = [record for way in ways for record in way.records]
    sources = by_digest([end for way in ways for end in way.ends])
    make([Job(maker, every, sources)], results, batch_size)
    groups = []
    for way in ways:
        made = [cell(results.folder / record["file"]) for record in spread(way.records)]
        first, *second = [end.cell for end in way.ends]
        groups.append(Group(way.label, [first, *made, *second]))
    ends = ["first", "second"] if len(ways[0].ends) == 2 else ["original"]
    titles = [ends[0], *spread(titles), *ends[1:]]
    save_rows(results, groups, titles)


def drawn(records: Sequence[Record]) -> dict[str, Any]:
    """How a way is drawn: with one key."""
    return {"key": record_keys(records[:1])[0], **decoding(records[0])}


def add_animation(parser: argparse.ArgumentParser) -> None:
    """An animated file beside the pictures."""
    group = parser.add_argument_group("an animated file beside the pictures")
    group.add_argument("--animate", choices=FORMATS, help="also write an animation in this format")
    group.add_argument("--playback", choices=_PLAYBACK, help=f"({_PLAYBACK[0]})")
    group.add_argument(
        "--frame-duration", type=int, metavar="MS",
        help=f"milliseconds for each picture ({_DURATION})",
    )  # fmt: skip


def check_animation(args: argparse.Namespace, count: int) -> None:
    """Raises `ValueError` for options of an animation that there is not, or cannot be."""
    if args.animate is None:
        for name in ("playback", "frame_duration"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} is of an animation: give --animate")
    elif count < 2:
        raise ValueError(f"--animate needs at least 2 pictures, got {count}")
    if args.frame_duration is not None:
        check_at_least("--frame-duration", args.frame_duration, 1)


def save_animation(
    args: argparse.Namespace, results: Results, records: Sequence[Record], name: str
) -> None:
    """The pictures of some records, one after another, as the file `name`."""
    images = [cell(results.folder / record["file"])() for record in records]
    duration = _DURATION if args.frame_duration is None else args.frame_duration
    back = args.playback != "loop"
    label = Label(GENERATED) if results.saving.label else None
    content = animation(images, args.animate, duration=duration, back=back, label=label)
    write_whole(free_path(results.folder / name), content)
