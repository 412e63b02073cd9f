"""Where images come from: avatars, shapes, a folder, or tensorflow-datasets, behind one protocol.

A config (`AvatarsData`, `ShapesData`, `FolderData`, `TfdsData`) says which data, `open_source`
opens it. What comes out is random access to examples; shaping and batching are `transforms` and
`loader`.
"""

from typing import Any, Protocol, assert_never, runtime_checkable

from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.embeddings import Embeddings
from clipdiff_jax.data.folder import Folder, FolderData, named, open_folder
from clipdiff_jax.data.shapes import ShapesData, open_shapes
from clipdiff_jax.data.tfds_source import TfdsData, open_tfds

DataConfig = AvatarsData | ShapesData | FolderData | TfdsData


@runtime_checkable
class DataSource(Protocol):
    """Random access to examples.

    An example has `"image"` (uint8 [H,W,3]) and, where there are any, `"captions"` (list of
    strings), `"attributes"` (word to word) and `"name"`. `fingerprint` is a stable hash of what
    the data is: equal for equal data, on any machine.
    """

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


def open_source(config: DataConfig) -> DataSource:
    """Opens what `config` describes; avatars are rendered into the cache on first use."""
    if isinstance(config, AvatarsData):
        return open_avatars(config)
    if isinstance(config, ShapesData):
        return open_shapes(config)
    if isinstance(config, FolderData):
        return open_folder(config)
    if isinstance(config, TfdsData):
        return open_tfds(config)
    assert_never(config)


def require_captions(source: DataSource, purpose: str, name: str = "the data") -> None:
    """Raises `ValueError` where the data has no captions, or some of its images have none.

    purpose: what they are needed for. name: of the data, for a message. Where examples can be
    described without reading the image all are looked at; of other data the first.
    """
    if isinstance(source, (Folder, Embeddings)):
        examples = [source.describe(index) for index in range(len(source))]
    else:
        examples = [source[0]]
    without = [str(e.get("name", "the first")) for e in examples if not e.get("captions")]
    if not without:
        return
    if len(without) == len(examples):
        raise ValueError(f"{name} has no captions to {purpose}")
    raise ValueError(
        f"{len(without)} of {len(examples)} images have no caption to {purpose}: {named(without)}"
    )
