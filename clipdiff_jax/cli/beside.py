"""What was made of pictures, shown beside them."""

from collections.abc import Sequence
from pathlib import Path

from clipdiff_jax.cli.sources import Source
from clipdiff_jax.pictures.pages import Group, cell, save_columns
from clipdiff_jax.pictures.records import Record


def save_beside_sources(
    folder: Path, records: Sequence[Record], sources: Sequence[Source], labels: Sequence[str]
) -> None:
    """A column for each source: itself above what was made of it.

    records: all sources' for the first of `labels`, then all for the next.
    """
    groups = []
    for i, source in enumerate(sources):
        made = [cell(folder / record["file"]) for record in records[i :: len(sources)]]
        groups.append(Group(source.path.stem, [source.cell, *made]))
    save_columns(folder, groups, ["original", *labels])
