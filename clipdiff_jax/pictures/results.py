"""A folder of results, in which nothing of the user's is lost.

Pictures are written as they are made, each with a line of the manifest, so that a run that is
stopped leaves a folder that says what is in it. What is there already is not touched unless that
was asked for, and then only what this library wrote: a picture with a record inside.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.files import writing
from clipdiff_jax.pictures.records import (
    MANIFEST,
    Record,
    RecordError,
    add_to_manifest,
    read_records,
    save_picture,
)
from clipdiff_jax.pictures.saving import FORMATS, PLAIN, Saving

Existing = Literal["refuse", "overwrite", "skip"]
_SHOWN = 3  # files that a message names


@dataclass(frozen=True)
class Results:
    """Where pictures go, and what becomes of earlier ones.

    existing: "refuse" writes nothing where a picture is that would be replaced (others of an
    earlier run stay, and so do their lines in the manifest);
    "overwrite" replaces pictures that this library made; "skip" keeps those that were made just so
    and makes the rest. Both know pictures by their records.
    saving: what pictures say of themselves.
    """

    folder: Path
    existing: Existing = "refuse"
    saving: Saving = PLAIN

    def remaining(self, records: Sequence[Record], sources: Collection[Path] = ()) -> list[Record]:
        """The records whose pictures are to be made. Nothing is written yet.

        sources: the files that pictures are made of, which are never written over.

        Raises `RecordError` for a record whose file is not a plain name, `NotADirectoryError` where
        the folder is a file, and `FileExistsError` for files that would be lost.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(
                f"'{self.folder}' is a file, expected a folder for the results"
            )
        for record in records:
            check_name(record["file"])
        there = [record for record in records if (self.folder / record["file"]).exists()]
        if self.existing == "refuse":
            if there:
                found = [self.folder / record["file"] for record in there]
                raise FileExistsError(
                    f"{_listed(found)} in '{self.folder}' would be replaced: nothing was written. "
                    "Give another --out, --skip-existing to go on with what is missing, or "
                    "--overwrite"
                )
            return list(records)
        ours = {record["file"]: self._ours(record) for record in there}
        kept = {path.resolve() for path in sources}
        lost = [self.folder / file for file, own in ours.items() if own is None]
        lost += [p for p in (self.folder / file for file in ours) if p.resolve() in kept]
        if lost:
            raise FileExistsError(
                f"{_listed(lost)} in '{self.folder}' were not made by clipdiff, or are what "
                "pictures are to be made of: nothing was written. Give another --out"
            )
        if self.existing == "overwrite":
            return list(records)
        return [record for record in records if ours.get(record["file"]) != record]

    def save(
        self,
        record: Record,
        image: Float[Array | np.ndarray, "h w 3"],
        sources: Sequence[Path] = (),
    ) -> None:
        """Writes one picture and its line of the manifest; sources: what it was made from."""
        save_picture(self.folder / record["file"], image, record, self.saving, sources)
        if not self.saving.record:
            return
        manifest = self.folder / MANIFEST
        with writing(manifest), manifest.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def finish(self, records: Sequence[Record]) -> None:
        """Leaves one line in the manifest for each picture, in the order of the records."""
        if self.saving.record:
            add_to_manifest(self.folder, records)

    def _ours(self, record: Record) -> Record | None:
        """What the picture that is there says of itself; None where we did not make it."""
        try:
            return read_records(self.folder / record["file"])[0]
        except (RecordError, OSError):
            return None


def check_name(name: object) -> None:
    """Raises `RecordError` for the file of a record that is not the plain name of a picture."""
    if not isinstance(name, str) or not name or Path(name).name != name or "\0" in name:
        raise RecordError(f"a record's file is {name!r}, expected a plain name such as 'a.png'")
    if Path(name).suffix.lower() not in FORMATS:
        raise RecordError(
            f"a record's file is {name!r}, expected one of the endings {', '.join(FORMATS)}"
        )


def _listed(paths: Sequence[Path]) -> str:
    names = ", ".join(f"'{path.name}'" for path in paths[:_SHOWN])
    return names + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
