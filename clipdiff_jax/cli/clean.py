"""`clipdiff clean`: what is kept and can be made again, deleted once that is agreed to."""

import argparse
import sys

from clipdiff_jax.cli.saying import note, tell
from clipdiff_jax.core.caches import CACHES, delete, find_entries
from clipdiff_jax.core.checks import one_of
from clipdiff_jax.core.files import cache_dir

DEFAULT = tuple(name for name, cache in CACHES.items() if not cache.kept)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which caches, and whether to ask."""
    parser.add_argument(
        "caches", nargs="*", metavar="CACHE",
        help=f"which: {', '.join(CACHES)} (default: all but "
        f"{', '.join(name for name in CACHES if name not in DEFAULT)})",
    )  # fmt: skip
    parser.add_argument(
        "--yes", action="store_true",
        help="delete without asking (default: ask; where nobody can answer, delete nothing)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Says what would be deleted and how much it is, and deletes it where that is agreed to."""
    names = list(dict.fromkeys(args.caches)) or list(DEFAULT)
    for name in names:
        one_of("CACHE", name, tuple(CACHES))
    entries = find_entries(names)
    total = sum(entry.size for entry in entries)
    found = {}
    for name in names:
        sizes = [entry.size for entry in entries if entry.cache == name]
        found[name] = {"count": len(sizes), "bytes": sum(sizes)}
    lines = [
        f"{one['bytes'] / 1e6:12,.1f} MB  {one['count']:6,}  {name}: {CACHES[name].what}"
        for name, one in found.items()
    ]
    lines.append(f"{total / 1e6:12,.1f} MB  {len(entries):6,}  in '{cache_dir()}'")
    tell("\n".join(lines), folder=str(cache_dir()), caches=found, bytes=total)
    deleted = bool(entries) and (args.yes or _agreed())
    if deleted:
        for entry in entries:
            delete(entry)
    said = "deleted" if deleted else "nothing was deleted"
    if entries and not deleted:
        said += ": --yes deletes it"
    note(said, deleted=deleted)


def _agreed() -> bool:
    """Whether somebody is there who says yes."""
    if not sys.stdin.isatty():
        return False
    print("delete all of this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
