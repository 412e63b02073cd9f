"""Any image data set of tensorflow-datasets, read without TensorFlow.

The data set must lie on disk as array records, which give random access
(`builder.as_data_source`). CelebA-HQ at 256 pixels, divided into 70% for training and 30% for
testing:

    TfdsData("celeb_a_hq/256", split="train[:70%]")
    TfdsData("celeb_a_hq/256", split="train[70%:]")
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipdiff_jax.config import nearest


@dataclass(frozen=True)
class TfdsData:
    """Split `split` (slices such as `"train[:70%]"` included) of the data set `name`.

    `data_dir` is where prepared data sets lie (default: tensorflow-datasets' own). With
    `download` a data set that is not there yet is downloaded and prepared. `image`, `captions`
    and `attributes` name the features with the picture, the text or texts, and the labels; the
    last two may be absent from the data set.
    """

    name: str
    split: str = "train"
    data_dir: str | None = None
    download: bool = False
    image: str = "image"
    captions: str = "captions"
    attributes: str = "attributes"


class Tfds:
    """A split of a prepared data set as a `DataSource`."""

    def __init__(self, config: TfdsData, builder: Any) -> None:
        self.config = config
        self._features = builder.info.features
        self._records = builder.as_data_source(split=config.split)
        identity = [str(builder.info.full_name), config.split, config.image, len(self._records)]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        config = self.config
        record = self._records[index]
        image = np.asarray(record[config.image])
        example: dict[str, Any] = {
            "image": np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3],
            "name": f"{config.name}/{config.split}/{index}",
        }
        if config.captions in record:
            found = record[config.captions]
            found = [found] if isinstance(found, (str, bytes)) else list(found)
            example["captions"] = [c if isinstance(c, str) else c.decode() for c in found]
        if config.attributes in record:
            features = self._features[config.attributes]
            labels = record[config.attributes]
            if not isinstance(labels, dict):  # a single label
                features, labels = {config.attributes: features}, {config.attributes: labels}
            example["attributes"] = {k: _word(v, features[k]) for k, v in labels.items()}
        return example


def open_tfds(config: TfdsData) -> Tfds:
    """Opens the data set.

    Raises `FileNotFoundError` where it has not been prepared as array records and `download` is
    off, `ValueError` where it has no feature named `config.image`.
    """
    import tensorflow_datasets as tfds  # slow to import, and not every run reads from it

    builder = tfds.builder(config.name, data_dir=config.data_dir, file_format="array_record")
    if config.download:
        builder.download_and_prepare()
    if not builder.data_path.exists():
        raise FileNotFoundError(
            f"the data set '{config.name}' is not prepared as array records in "
            f"'{builder.data_path}'; set download=True, or prepare it with "
            f"`tfds build {config.name} --file_format=array_record`"
        )
    features = builder.info.features
    if config.image not in features:
        raise ValueError(
            f"the data set '{config.name}' has no feature '{config.image}'; it has "
            f"{', '.join(features)}." + nearest(config.image, features)
        )
    return Tfds(config, builder)


def _word(value: Any, feature: Any) -> str:
    """A label as a word: a class by its name, a truth value as yes or no, text as it is."""
    if hasattr(feature, "int2str"):
        return str(feature.int2str(int(value)))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value)
