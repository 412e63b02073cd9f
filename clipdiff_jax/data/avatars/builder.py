"""The avatars as a tensorflow-datasets data set, so that other code can read them too.

    from clipdiff_jax.data.avatars.builder import Avatars
    Avatars(data_dir=...).download_and_prepare()          # array records, no TensorFlow needed
    open_source(TfdsData("avatars", data_dir=...))

Importing this module registers the data set's name. Nothing is downloaded: the faces are rendered.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image

from clipdiff_jax.data.avatars.faces import Split, definition
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, STYLES

NOT_SHOWN = "not shown"
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class AvatarsConfig(tfds.core.BuilderConfig):
    """Size in pixels, and how many faces each split has."""

    def __init__(self, *, size: int, train: int, valid: int, test: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.counts = {"train": train, "valid": valid, "test": test}


class Avatars(tfds.core.GeneratorBasedBuilder):
    """Rendered faces with captions and every attribute known."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (tensorflow-datasets wants a dict)
    BUILDER_CONFIGS = [  # noqa: RUF012
        AvatarsConfig(
            name=str(size),
            description=f"{size} x {size} pixels",
            size=size, train=24_000, valid=1000, test=2000,
        )
        for size in (64, 128, 256)
    ]  # fmt: skip

    def __init__(self, *, file_format: str = "array_record", **kwargs: Any) -> None:
        super().__init__(file_format=file_format, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        words = {"style": list(STYLES)} | {k: [*v, NOT_SHOWN] for k, v in ATTRIBUTES.items()}
        licences = [definition(style)["meta"]["license"]["text"] for style in STYLES]
        return self.dataset_info_from_configs(
            description="Avatars with captions and known attributes, in several art styles.",
            homepage="https://www.dicebear.com",
            license="\n".join(licences),
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(shape=(size, size, 3)),
                "captions": tfds.features.Sequence(tfds.features.Text()),
                "attributes": {
                    name: tfds.features.ClassLabel(names=names) for name, names in words.items()
                },
            }),
        )  # fmt: skip

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        source = open_avatars(AvatarsData(config.size, split, config.counts[split]))
        for index in range(len(source)):
            example = source[index]
            shown = example["attributes"]
            attributes = {name: shown.get(name, NOT_SHOWN) for name in ("style", *ATTRIBUTES)}
            yield (
                index,
                {
                    "image": _png(example["image"]),
                    "captions": example["captions"],
                    "attributes": attributes,
                },
            )


def _png(image: UInt8[np.ndarray, "h w 3"]) -> io.BytesIO:
    """Encoded here, because tensorflow-datasets would encode an array with TensorFlow."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    file.seek(0)
    return file
