"""An unCLIP of ours: a folder of model folders, one for each stage, as training leaves them.

    runs/avatars/clip  runs/avatars/prior  runs/avatars/decoder  runs/avatars/upsampler

Each may be a model folder or the work folder of the run that exported one. All but the upsamplers
remember which CLIP they were trained with, so that a mixture of two is refused.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.core.config import from_dict, nearest, to_dict
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    PartConfig,
    Prior,
    TextEncoder,
    Upsampler,
)
from clipdiff_jax.pixel.load import DEMO
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import (
    ASSETS,
    is_our_folder,
    load_folder,
    model_folder,
    read_config,
    save_folder,
)
from clipdiff_jax.weights.params import fingerprint

Config = PartConfig | ARPriorConfig | DirectPriorConfig

CLIP = "clip"
# The folders of an unCLIP beside CLIP's, in the order in which they are used; which config each
# has.
FOLDERS: dict[str, type] = {
    "prior": Prior,
    "ar_prior": ARPriorConfig,
    "direct_prior": DirectPriorConfig,
    "decoder": Decoder,
    "upsampler": Upsampler,
    "upsampler_1024": Upsampler,
}
# The kind of a model folder; stages that differ in size only share it.
_KINDS = {config: name.removesuffix("_1024") for name, config in FOLDERS.items()}
PRIORS = ("prior", "ar_prior", "direct_prior")
_STORED = "stage"


def save_stage(
    path: str | Path,
    config: Config,
    params: Any,
    *,
    clip: str = "",
    dtype: Any = None,
) -> None:
    """Writes a stage's model folder. clip: the fingerprint of the CLIP it was trained with."""
    document = {"kind": _KINDS[type(config)], _STORED: to_dict(config), CLIP: clip}
    save_folder(path, document, params, dtype)


def read_stage_folder(
    path: str | Path, name: str, param_dtype: Any = jnp.float32
) -> tuple[Any, Any, str]:
    """A stage's model folder (or its run's) -> (config, parameters, CLIP's fingerprint or "").

    Raises `WeightsError` where it holds something else than a stage `name`.
    """
    folder, wanted = model_folder(path), FOLDERS[name]
    document, params = load_folder(folder, param_dtype)
    if document["kind"] != _KINDS[wanted]:
        raise WeightsError(
            f"'{folder}' holds a model of kind '{document['kind']}', not '{_KINDS[wanted]}'"
        )
    config: Any = from_dict(wanted, document[_STORED])
    return config, jax.tree.map(jnp.asarray, params), document.get(CLIP, "")


def unclip_root(source: str | Path) -> Path | None:
    """The folder of an unCLIP of ours that `source` names, "demo" included; None for another."""
    root = ASSETS if source == DEMO else Path(source)
    return root if found_stages(root) else None


def is_stage_folder(path: str | Path) -> bool:
    """Whether `path` is the model folder of a stage, or its run."""
    folder = model_folder(path)
    return is_our_folder(folder) and read_config(folder)["kind"] in _KINDS.values()


def found_stages(root: Path) -> list[str]:
    """Which stages lie in a folder."""
    return [name for name in FOLDERS if is_our_folder(model_folder(root / name))]


def check_stages(folder: Path, there: Iterable[str], stages: Iterable[str]) -> None:
    """Raises `WeightsError` for one of `stages` that is not among those in the folder."""
    there = list(there)
    for stage in stages:
        if stage not in there:
            raise WeightsError(
                f"'{folder}' has no stage '{stage}', it has: {', '.join(there)}."
                f"{nearest(stage, there)}"
            )


def read_stages(
    root: Path, stages: list[str] | None, param_dtype: Any, dtype: Any
) -> tuple[dict[str, Config], dict[str, Any], Clip]:
    """Configs and parameters of the stages in `root` that are asked for, and its CLIP.

    stages: names as in `UnClip.configs`; None for all that are there. Raises `WeightsError` for
    one that is not there and for stages that were trained with another CLIP.
    """
    clip = load_clip(root / CLIP, param_dtype=param_dtype, dtype=dtype)
    towers: dict[str, tuple[Config, Any]] = {
        "text": (text_encoder(clip), {"text": clip.params["text"]}),
        "image": (image_encoder(clip), {"vision": clip.params["vision"]}),
    }
    there = [*towers, *found_stages(root)]
    check_stages(root, there, stages or ())
    configs: dict[str, Config] = {}
    params: dict[str, Any] = {}
    # Once for all stages: it takes reading all of CLIP.
    wanted = functools.cache(lambda: _stored_fingerprint(root, clip, param_dtype))
    for name in there if stages is None else [name for name in there if name in stages]:
        if name in towers:
            configs[name], params[name] = towers[name]
            continue
        configs[name], params[name], of = read_stage_folder(root / name, name, param_dtype)
        if of and of != wanted():
            raise WeightsError(
                f"'{root / name}' was trained with the CLIP {of}, but '{root / CLIP}' is {wanted()}"
            )
    return configs, params, clip


def text_encoder(clip: Clip) -> TextEncoder:
    """A CLIP's text tower as a stage."""
    return TextEncoder(clip.config.text, clip.config.projection_dim)


def image_encoder(clip: Clip) -> ImageEncoder:
    """A CLIP's image tower as a stage."""
    c = clip.config
    return ImageEncoder(c.vision, c.projection_dim, c.image_mean, c.image_std)


def _stored_fingerprint(root: Path, clip: Clip, param_dtype: Any) -> str:
    """The hash of CLIP's parameters as they are stored."""
    stored = clip if jnp.dtype(param_dtype) == jnp.float32 else load_clip(root / CLIP)
    return fingerprint(stored.params)
