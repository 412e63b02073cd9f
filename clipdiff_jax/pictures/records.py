"""Pictures that say how they were made: in their metadata and in a manifest beside them.

A record is a flat JSON object with everything needed to make its picture again: the `to_dict` of
the request, and beside it the command, the models and their fingerprints, the seed, the picture's
index and file, and what it was made from. Files are written under a temporary name and renamed, so
that what is there is whole.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.files import read_text, write_whole
from clipdiff_jax.core.json_files import parse_json
from clipdiff_jax.core.request import Request
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.pictures.labels import EDITED, GENERATED, read_text_of
from clipdiff_jax.pictures.saving import FORMATS, PLAIN, Saving, encoded
from clipdiff_jax.pictures.signing import Made

PNG_KEY = "clipdiff_jax"  # of a PNG's text, and of ours in XMP
MANIFEST = "manifest.jsonl"
MAX_RECORD = 2**20  # bytes

Record = dict[str, Any]
R = TypeVar("R", bound=Request)


class RecordError(ValueError):
    """A picture or manifest that does not say how it was made; the message names it."""


def save_picture(
    path: Path,
    image: Float[Array | np.ndarray, "h w 3"],
    record: Record,
    saving: Saving = PLAIN,
    sources: Sequence[Path] = (),
) -> None:
    """Writes a picture in [-1, 1] in the format of its ending, and in it what `saving` says.

    sources: the files that it was made from, for a manifest.
    """
    kind = EDITED if record["command"] == "edit" else GENERATED
    prompt = record.get("prompt") if saving.publish_prompt else None
    content = encoded(
        to_uint8(np.asarray(image, np.float32)),
        FORMATS[path.suffix.lower()],
        made=Made(path.name, kind, tuple(sources), "watermark" in record, prompt),
        labelled=saving.label,
        signer=saving.signer,
        texts={PNG_KEY: json.dumps(record)} if saving.record else {},
    )
    write_whole(path, content)


def add_to_manifest(folder: Path, records: Iterable[Record]) -> Path:
    """Adds records to the folder's manifest, replacing those of the same files."""
    path = folder / MANIFEST
    kept = {record["file"]: record for record in read_records(path)} if path.exists() else {}
    kept |= {record["file"]: record for record in records}
    write_whole(path, "".join(json.dumps(record) + "\n" for record in kept.values()).encode())
    return path


def read_records(path: Path) -> list[Record]:
    """The records of a manifest, of one picture, or of the manifest in a folder.

    Raises RecordError for what holds none, FileNotFoundError for what is not there.
    """
    path = path / MANIFEST if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"there is no '{path}'")
    if not path.is_file():
        raise RecordError(f"'{path}' is no file")
    lines = [_text_inside(path)] if path.suffix.lower() in FORMATS else _lines(path)
    records = [_record(line, f"'{path}', line {number},") for number, line in enumerate(lines, 1)]
    if not records:
        raise RecordError(f"'{path}' holds no records")
    return records


def _text_inside(path: Path) -> str:
    """What a picture says of how it was made; its pixels are not looked at."""
    try:
        text = read_text_of(path, PNG_KEY)
    except (OSError, ValueError) as error:
        raise RecordError(f"'{path}' is no picture that can be read: {error}") from error
    if text is None:
        raise RecordError(f"the picture '{path}' does not say how it was made")
    return text


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path)
    except ValueError as error:
        raise RecordError(str(error)) from error
    return text.removesuffix("\n").split("\n") if text else []


def _record(line: str, name: str) -> Record:
    try:
        record = parse_json(line, f"{name} is no record: it", MAX_RECORD)
    except ValueError as error:
        raise RecordError(str(error)) from error
    if not isinstance(record, dict):
        raise RecordError(f"{name} is no record: it is a {type(record).__name__}")
    if not all(isinstance(record.get(word), str) for word in ("command", "file")):
        raise RecordError(f"{name} is no record: it names no command or file")
    return record


def request_of(cls: type[R], record: Record) -> R:
    """The request that a record holds. Records of older versions lack what was not there yet.

    Raises `RecordError` for a value that the request cannot have.
    """
    names = {one.name for one in dataclasses.fields(cls)}
    try:
        return cls.from_dict({name: record[name] for name in record if name in names})
    except ValueError as error:
        raise RecordError(f"the record of '{record['file']}': {error}") from error


def record_keys(records: Sequence[Record]) -> Key[Array, " n"]:
    """A key for each of some records, from its seed and the picture's index alone."""
    indices = jnp.array([record["index"] for record in records])
    seeds = list(dict.fromkeys(record["seed"] for record in records))
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    which = jnp.array([seeds.index(record["seed"]) for record in records])
    return jax.vmap(jax.random.fold_in)(keys[which], indices)
