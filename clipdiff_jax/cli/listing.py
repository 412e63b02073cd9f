"""`clipdiff list`: the models and edits that are here, how large they are, and where they lie."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from clipdiff_jax.cli.saying import tell
from clipdiff_jax.core.caches import CACHES, find_entries
from clipdiff_jax.core.checks import one_of
from clipdiff_jax.core.files import cache_dir
from clipdiff_jax.edit.model import ready_edits, ready_folder
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import ASSETS, is_our_folder, read_config


class Found(NamedTuple):
    """Something that is here: by what name commands take it, what it is, its bytes, its place."""

    name: str
    what: str
    size: int
    path: Path


def _ready() -> Iterator[Found]:
    for folder in sorted(ASSETS.iterdir()):
        if is_our_folder(folder):
            what = f"part of demo: {read_config(folder)['kind']}"
            yield Found(f"demo ({folder.name})", what, _size(folder), folder)
    for name in ready_edits():
        folder = ready_folder(name)
        yield Found(name, _edit_words(folder), _size(folder), folder)


def _learned() -> Iterator[Found]:
    for entry in find_entries(["edits"]):
        yield Found(str(entry.path), _edit_words(entry.path), entry.size, entry.path)


def _hub() -> Iterator[Found]:
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return
    for one in sorted(repositories, key=lambda one: one.repo_id):
        if one.repo_type == "model":
            what = f"repository of the Hub, {one.nb_files} files"
            yield Found(one.repo_id, what, one.size_on_disk, one.repo_path)


def _caches() -> Iterator[Found]:
    for name, cache in CACHES.items():
        if not cache.kept:
            entries = find_entries([name])
            place = cache_dir() / cache.folder
            what = f"{cache.what}, {len(entries):,} of them"
            yield Found(f"clean {name}", what, sum(one.size for one in entries), place)


SECTIONS = {"ready": _ready, "learned": _learned, "hub": _hub, "caches": _caches}
_TITLES = {
    "ready": "part of the package",
    "learned": "learned by `clipdiff edit --from --to`",
    "hub": "downloaded from the Hugging Face Hub (`hf cache` deletes them)",
    "caches": "kept to be quick (`clipdiff clean` deletes them)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be listed."""
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help=f"which of {', '.join(SECTIONS)} (default: all)"
    )


def run(args: argparse.Namespace) -> None:
    """A line for each model, edit and cache that is here."""
    names = list(dict.fromkeys(args.what)) or list(SECTIONS)
    for name in names:
        one_of("WHAT", name, tuple(SECTIONS))
    for name in names:
        found = list(SECTIONS[name]())
        width = max((len(one.name) for one in found), default=0)
        lines = [
            f"{one.size / 1e6:12,.1f} MB  {one.name:<{width}}  {one.what}  {one.path}"
            for one in found
        ]
        values = [
            {"name": one.name, "what": one.what, "bytes": one.size, "path": str(one.path)}
            for one in found
        ]
        tell("\n".join([f"{_TITLES[name]}:", *(lines or ["          none"]), ""]), **{name: values})


def _edit_words(folder: Path) -> str:
    """What an edit changes."""
    try:
        objective = read_config(folder).get("objective")
    except WeightsError:
        return "an edit that cannot be read"
    texts = objective if isinstance(objective, dict) else {}
    return f"edit: '{texts.get('source_text')}' -> '{texts.get('target_text')}'"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
