"""CLIP image embeddings of a data set, computed once and read by the stages that need them.

A folder holds `embeddings.array_record`, one record per example in the data's order, and
`info.json`: which data and which CLIP they are of, by fingerprint. The info is written last, so a
folder that has one is whole.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from jaxtyping import Float32

from clipdiff_jax.core.config import from_dict
from clipdiff_jax.core.files import json_bytes
from clipdiff_jax.core.json_files import read_json

RECORDS, INFO = "embeddings.array_record", "info.json"


@dataclass(frozen=True)
class EmbeddingsData:
    """The embeddings in the folder `path`, which `clipdiff embed` writes."""

    path: str


@dataclass(frozen=True)
class EmbeddingsInfo:
    """What a folder of embeddings is of.

    Attributes:
      count, width: examples, and numbers in an embedding.
      data: the fingerprint of the data source.
      clip: the fingerprint of CLIP's parameters.
    """

    count: int
    width: int
    data: str
    clip: str


class Embeddings:
    """The embeddings as a `DataSource`, with `"embedding"` (float32 [D]) in place of an image.

    The embedding is as CLIP projects it, not normalised. Pickles by its path, so that a loader's
    workers open the file themselves.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        info = self._path / INFO
        if not info.is_file():
            raise FileNotFoundError(
                f"no embeddings in '{self._path}': '{INFO}' is missing. Make them by "
                "`clipdiff embed`"
            )
        self.info = from_dict(EmbeddingsInfo, read_json(info), f"'{info}'")
        self.fingerprint = f"{self.info.data}-{self.info.clip}"
        self._open()

    def _open(self) -> None:
        self._records = ArrayRecordReader(str(self._path / RECORDS))
        if self._records.num_records() != self.info.count:
            raise ValueError(
                f"'{self._path / RECORDS}' has {self._records.num_records()} records, its "
                f"'{INFO}' says {self.info.count}"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_records"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def __len__(self) -> int:
        return self.info.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.describe(index)
        return example | {"embedding": np.frombuffer(example["embedding"], np.float32)}

    def describe(self, index: int) -> dict[str, Any]:
        """The example as it is stored, its embedding in bytes."""
        (record,) = self._records.read([index])
        example: dict[str, Any] = msgpack.unpackb(record)
        return example


def open_embeddings(config: EmbeddingsData) -> Embeddings:
    """Opens the folder; `FileNotFoundError` where it has none, or writing it was interrupted."""
    return Embeddings(config.path)


def write_embeddings(
    path: str | Path, examples: Iterable[dict[str, Any]], *, data: str, clip: str
) -> EmbeddingsInfo:
    """Writes the folder `path` from examples with `"embedding"` and what else is to be kept.

    Of an example the embedding, `"captions"`, `"attributes"` and `"name"` are kept; an image is
    not. data, clip: see `EmbeddingsInfo`. Raises `ValueError` where there are no examples or their
    embeddings differ in width.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / INFO).unlink(missing_ok=True)
    widths: set[int] = set()
    count = 0
    with _writer(path / RECORDS) as writer:
        for example in examples:
            embedding: Float32[np.ndarray, " d"] = np.asarray(example["embedding"], np.float32)
            widths.add(embedding.shape[0])
            kept = {k: example[k] for k in ("captions", "attributes", "name") if k in example}
            writer.write(msgpack.packb(kept | {"embedding": embedding.tobytes()}))
            count += 1
    if len(widths) != 1:
        raise ValueError(f"expected embeddings of one width, got {sorted(widths)}")
    info = EmbeddingsInfo(count, widths.pop(), data, clip)
    temporary = path / f"{INFO}.tmp"
    temporary.write_bytes(json_bytes(asdict(info)))
    temporary.replace(path / INFO)
    return info


@contextmanager
def _writer(path: Path) -> Iterator[Any]:
    # One record a group: random access then reads no more than it is asked for.
    writer = ArrayRecordWriter(str(path), "group_size:1")
    try:
        yield writer
    finally:
        writer.close()
