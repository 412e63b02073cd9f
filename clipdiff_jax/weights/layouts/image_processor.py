"""transformers' image processor of a CLIP: what `preprocessor_config.json` says of pictures.

The one place that knows its options. Ours is the preprocessing of CLIP's authors: the shorter side
to the tower's size (bicubic), the middle square, then mean and deviation by channel; what asks for
another is refused.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from clipdiff_jax.models.clip import CLIPConfig
from clipdiff_jax.weights.errors import WeightsError

PREPROCESSOR = "preprocessor_config.json"
_BICUBIC = 3  # Pillow's number


class Normalisation(NamedTuple):
    """Mean and deviation of pixels in [0, 1], by channel; the defaults are OpenAI's."""

    mean: tuple[float, float, float] = CLIPConfig.image_mean
    std: tuple[float, float, float] = CLIPConfig.image_std


def read_processor(document: Mapping[str, Any], size: int) -> Normalisation:
    """The config of an image processor, for a tower that takes `size` pixels; {} is the default.

    Raises `WeightsError` for preprocessing other than: shorter side to `size`, middle square.
    """
    resize, crop = document.get("size", size), document.get("crop_size", size)
    if isinstance(resize, Mapping):
        resize = resize.get("shortest_edge", resize)
    if isinstance(crop, Mapping):
        crop = crop["height"] if crop.get("height") == crop.get("width") else crop
    found = {"size": resize, "crop_size": crop, "resample": document.get("resample", _BICUBIC)}
    expected = {"size": size, "crop_size": size, "resample": _BICUBIC}
    for name, value in expected.items():
        if found[name] != value:
            raise WeightsError(f"{PREPROCESSOR} has {name} {document[name]}, expected {value}")
    defaults = Normalisation()
    return Normalisation(
        tuple(document.get("image_mean", defaults.mean)),
        tuple(document.get("image_std", defaults.std)),
    )


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
