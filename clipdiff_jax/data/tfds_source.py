"""Any image data set of tensorflow-datasets, read without TensorFlow.

The data set must lie on disk as array records, which give random access
(`builder.as_data_source`); `prepare_tfds`, or `clipdiff data prepare NAME`, puts it there.
CelebA-HQ at 256 pixels, divided into 70% for training and 30% for testing:

    TfdsData("celeb_a_hq/256", split="train[:70%]")
    TfdsData("celeb_a_hq/256", split="train[70%:]")
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from clipdiff_jax.core.config import nearest


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
        example: dict[str, Any] = {
            "image": _to_rgb(np.asarray(record[config.image])),
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
    off, `ValueError` where it has no 8-bit image feature named `config.image`.
    """
    builder = _builder(config.name, config.data_dir)
    if config.download:
        _prepare(builder)
    if not builder.data_path.exists():
        where = f" --data-dir {config.data_dir}" if config.data_dir else ""
        raise FileNotFoundError(
            f"the data set '{config.name}' is not prepared as array records in "
            f"'{builder.data_path}'; set download=True, or prepare it with "
            f"`clipdiff data prepare {config.name}{where}`"
        )
    features = builder.info.features
    if config.image not in features:
        raise ValueError(
            f"the data set '{config.name}' has no feature '{config.image}'; it has "
            f"{', '.join(features)}." + nearest(config.image, features)
        )
    if features[config.image].np_dtype != np.uint8:
        raise ValueError(
            f"the feature '{config.image}' of '{config.name}' has type "
            f"{np.dtype(features[config.image].np_dtype).name}; expected images of type uint8"
        )
    return Tfds(config, builder)


def prepare_tfds(name: str, data_dir: str | None = None) -> tuple[Path, dict[str, int]]:
    """Downloads a data set and writes it as array records -> its folder, and examples by split.

    data_dir: where data sets lie (default: tensorflow-datasets' own). One that is there already is
    left as it is. Raises `ValueError` for a name that does not exist (with the nearest), and for
    what has to be obtained by hand first, or needs a package that is not installed: the message
    says which.
    """
    builder = _builder(name, data_dir)
    _prepare(builder)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    return Path(builder.data_path), counts


def _builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds  # slow to import, and not every run reads from it

    try:
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        base = name.partition("/")[0]
        raise ValueError(
            f"tensorflow-datasets has no data set '{name}', and it is no folder."
            f"{nearest(base, tfds.list_builders(with_community_datasets=False))}"
        ) from error
    except ImportError as error:
        raise ValueError(f"the data set '{name}' cannot be opened: {error}") from error


def _prepare(builder: Any) -> None:
    try:
        builder.download_and_prepare()
    except (AssertionError, ImportError, ValueError) as error:
        raise ValueError(f"'{builder.info.full_name}' cannot be prepared: {error}") from error


def _to_rgb(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Grey becomes RGB, and transparent pixels white."""
    if image.shape[-1] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        return np.round(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def _word(value: Any, feature: Any) -> str:
    """A label as a word: a class by its name, a truth value as yes or no, text as it is."""
    if hasattr(feature, "int2str"):
        return str(feature.int2str(int(value)))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return str(value)
