"""transformers' image processor of a CLIP: what its config says of pictures.

The one place that knows its options. Ours is the preprocessing of CLIP's authors: the shorter side
to the tower's size (bicubic), the middle square, then mean and deviation by channel. Every way of
scaling pixels is a mean and a deviation of ours; what asks for other geometry is refused by name.

The config is `preprocessor_config.json`, or, as transformers 5 saves a whole CLIP, the entry
`image_processor` of `processor_config.json`, which counts where both are there.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clipdiff_jax.core.config import nearest
from clipdiff_jax.models.clip import CLIPConfig
from clipdiff_jax.weights.documents import named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import read_config

logger = logging.getLogger(__name__)

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
_NESTED = "image_processor"
_BICUBIC = 3  # Pillow's number
_CLASSES = (
    "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor",
)  # fmt: skip
_READ = (
    "size", "crop_size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
    "image_std", "image_processor_type", "feature_extractor_type",
)  # fmt: skip
_ON = ("do_resize", "do_center_crop")
# What is done anyway, or of no matter here. `do_convert_rgb`: pictures have three channels.
_IDLE = (
    "do_convert_rgb", "processor_class", "data_format", "input_data_format", "return_tensors",
    "disable_grouping", "device", "auto_map", "image_seq_length",
)  # fmt: skip


class Normalisation(NamedTuple):
    """Mean and deviation of pixels in [0, 1], by channel; the defaults are OpenAI's."""

    mean: tuple[float, float, float] = CLIPConfig.image_mean
    std: tuple[float, float, float] = CLIPConfig.image_std


def find_normalisation(folder: Path, size: int, *, required: bool = False) -> Normalisation:
    """That of the image processor in the folder, for a tower that takes `size` pixels.

    OpenAI's, said in the log, where there is none. Raises `WeightsError` that names the file where
    its preprocessing is not ours, and the folder where a `required` one is missing.
    """
    if (folder / PROCESSOR).is_file():
        document = read_config(folder, PROCESSOR)
        if _NESTED in document:
            nested = document[_NESTED]
            with named(folder / PROCESSOR):
                if not isinstance(nested, dict):
                    raise WeightsError(
                        f"{_NESTED} holds a {type(nested).__name__}, expected an object"
                    )
                return read_processor(nested, size)
    if required or (folder / PREPROCESSOR).is_file():
        document = read_config(folder, PREPROCESSOR)
        with named(folder / PREPROCESSOR):
            return read_processor(document, size)
    logger.warning(
        "'%s' has no %s and no %s of its images: taking the mean and deviation of OpenAI's CLIP",
        folder, PREPROCESSOR, PROCESSOR,
    )  # fmt: skip
    return Normalisation()


def read_processor(document: Mapping[str, Any], size: int) -> Normalisation:
    """The config of an image processor, for a tower that takes `size` pixels; {} is the default.

    Raises `WeightsError` for preprocessing other than: shorter side to `size`, middle square.
    """
    _check_class(document)
    _check_options(document)
    _check_geometry(document, size)
    # transformers computes (x 255 scale - mean) / std of x in [0, 1], of which each can be off.
    scale = (
        255 * _number(document, "rescale_factor", 1 / 255) if _on(document, "do_rescale") else 255
    )
    if scale == 0:
        raise WeightsError(f"{PREPROCESSOR} has rescale_factor 0, which makes all pictures one")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if _on(document, "do_normalize"):
        defaults = Normalisation()
        mean = _channels(document, "image_mean", defaults.mean)
        std = _channels(document, "image_std", defaults.std)
        if 0 in std:
            raise WeightsError(f"{PREPROCESSOR} has image_std {list(std)}, expected none to be 0")
    if scale != 1:
        mean = (mean[0] / scale, mean[1] / scale, mean[2] / scale)
        std = (std[0] / scale, std[1] / scale, std[2] / scale)
    return Normalisation(mean, std)


def write_processor(size: int, normalisation: Normalisation) -> dict[str, Any]:
    """The inverse of `read_processor`."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": _BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(normalisation.mean),
        "image_std": list(normalisation.std),
        "do_convert_rgb": True,
    }


def _check_class(document: Mapping[str, Any]) -> None:
    for name in ("image_processor_type", "feature_extractor_type"):
        found = document.get(name)
        if found is not None and found not in _CLASSES:
            raise WeightsError(f"{PREPROCESSOR} has {name} {found!r}, expected '{_CLASSES[0]}'")


def _check_options(document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        if name in _ON:
            if value is False:
                raise WeightsError(
                    f"{PREPROCESSOR} has {name} False, expected True: pictures are always resized "
                    "and cropped to what the tower takes"
                )
            continue
        if name.startswith("_") or name in (*_READ, *_IDLE) or value in (None, False):
            continue
        raise WeightsError(
            f"{PREPROCESSOR} has {name} {value!r}, which is not supported."
            f"{nearest(name, (*_READ, *_ON))}"
        )


def _check_geometry(document: Mapping[str, Any], size: int) -> None:
    resize, crop = document.get("size", size), document.get("crop_size", size)
    if isinstance(resize, Mapping) and set(resize) == {"shortest_edge"}:
        resize = resize["shortest_edge"]
    if isinstance(crop, Mapping) and crop.get("height") == crop.get("width"):
        crop = crop.get("height")
    found = {"size": resize, "crop_size": crop, "resample": document.get("resample", _BICUBIC)}
    expected = {"size": size, "crop_size": size, "resample": _BICUBIC}
    for name, value in expected.items():
        if found[name] != value:
            raise WeightsError(f"{PREPROCESSOR} has {name} {document[name]}, expected {value}")


def _on(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name, True)
    if value is not None and not isinstance(value, bool):
        raise WeightsError(f"{PREPROCESSOR} has {name} {value!r}, expected true or false")
    return value is None or value


def _number(document: Mapping[str, Any], name: str, default: float) -> float:
    value = document.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e6 < value < 1e6:
        raise WeightsError(f"{PREPROCESSOR} has {name} {value!r}, expected a number")
    return float(value)


def _channels(
    document: Mapping[str, Any], name: str, default: tuple[float, float, float]
) -> tuple[float, float, float]:
    """One number for each of three channels; a single one is for all."""
    value = document.get(name)
    if value is None:
        return default
    values = value if isinstance(value, list | tuple) else [value] * 3
    numbers = [_number({name: one}, name, 0.0) for one in values[:4]]
    if len(numbers) != 3 or None in values:
        raise WeightsError(f"{PREPROCESSOR} has {name} {value!r}, expected three numbers")
    return (numbers[0], numbers[1], numbers[2])
