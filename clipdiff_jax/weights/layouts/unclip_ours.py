"""An unCLIP in our own layout: a folder of model folders, one for each part, as trained.

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
import numpy as np
from jaxtyping import Array

from clipdiff_jax.core.config import from_dict, nearest, to_dict
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models import ar_prior, direct_prior
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.clip import CLIPConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    PartConfig,
    Prior,
    TextEncoder,
    Upsampler,
    init_params,
)
from clipdiff_jax.weights.documents import untrusted
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import (
    check_params,
    is_our_folder,
    load_folder,
    model_folder,
    read_config,
    save_folder,
)
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.layout import AnyPart, ClipWeights, Layout, Reading, UnClipWeights
from clipdiff_jax.weights.layouts.clip import FILES
from clipdiff_jax.weights.layouts.clip import LAYOUTS as CLIP_LAYOUTS
from clipdiff_jax.weights.loading import read_first
from clipdiff_jax.weights.params import fingerprint

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
# The kind of a model folder; parts that differ in size only share it.
_KINDS = {config: name.removesuffix("_1024") for name, config in FOLDERS.items()}
_BESIDE = ("gamma",)  # of a prior, beside its networks: see `unclip.priors.diffusion`
_STORED = "stage"  # what the config is called in config.json


def write_part(
    path: str | Path,
    config: AnyPart,
    params: Params,
    *,
    clip: str = "",
    dtype: DType | None = None,
) -> None:
    """Writes a part's model folder. clip: the fingerprint of the CLIP it was trained with."""
    document = {"kind": _KINDS[type(config)], _STORED: to_dict(config), CLIP: clip}
    save_folder(path, document, params, dtype)


def read_part_folder(
    path: str | Path, name: str, param_dtype: DType | None = jnp.float32
) -> tuple[Any, Params, str]:
    """A part's model folder (or its run's) -> (config, parameters, CLIP's fingerprint or "").

    Raises `WeightsError` where it holds something else than a part `name`.
    """
    folder, wanted = model_folder(path), FOLDERS[name]
    document, params = load_folder(folder, param_dtype)
    if document["kind"] != _KINDS[wanted]:
        raise WeightsError(
            f"'{folder}' holds a model of kind '{document['kind']}', not '{_KINDS[wanted]}'"
        )
    of = document.get(CLIP, "")
    if not isinstance(of, str):
        raise WeightsError(f"in '{folder}': {CLIP} is a {type(of).__name__}, expected a text")
    with untrusted(folder):
        config: AnyPart = from_dict(wanted, document.get(_STORED))
        networks = {key: value for key, value in params.items() if key not in _BESIDE}
        check_params(folder, networks, functools.partial(_init_part, config, _components(params)))
    return config, jax.tree.map(jnp.asarray, params), of


def _init_part(config: AnyPart, components: int, key: Array) -> Params:
    """What the folder of a part holds beside `_BESIDE`; components: of the PCA of an AR prior."""
    if isinstance(config, DirectPriorConfig):
        return direct_prior.init_params(config, key)
    if not isinstance(config, ARPriorConfig):
        return init_params(config, key)
    width, dims = config.embedding_width, config.dims
    if components < dims:
        raise WeightsError(f"the PCA has {components} components, the config {dims} of them")
    fitted: dict[str, dict[str, Any]] = {
        "pca": {"mean": width, "directions": (components, width), "variances": components},
        "quantiser": {"low": dims, "high": dims, "dot_edges": config.dot_buckets - 1},
    }
    zeros = {of: {name: jnp.zeros(n) for name, n in fitted[of].items()} for of in fitted}
    return ar_prior.init_params(config, key) | zeros


def _components(params: Params) -> int:
    found = params.get("pca")
    variances = found.get("variances") if isinstance(found, dict) else None
    return len(variances) if isinstance(variances, np.ndarray) and variances.ndim == 1 else 0


def is_part_folder(path: str | Path) -> bool:
    """Whether `path` is the model folder of a part, or its run."""
    folder = model_folder(path)
    return is_our_folder(folder) and read_config(folder)["kind"] in _KINDS.values()


def found_parts(root: Path) -> list[str]:
    """Which parts lie in a folder, beside those of its CLIP."""
    return [name for name in FOLDERS if is_our_folder(model_folder(root / name))]


def check_parts(folder: Path, there: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises `WeightsError` for one of the `wanted` that is not among those in the folder."""
    there = list(there)
    for part in wanted:
        if part not in there:
            raise WeightsError(
                f"'{folder}' has no stage '{part}', it has: {', '.join(there)}."
                f"{nearest(part, there)}"
            )


def towers_of(config: CLIPConfig) -> tuple[TextEncoder, ImageEncoder]:
    """A CLIP's two towers as parts of an unCLIP."""
    text = TextEncoder(config.text, config.projection_dim)
    mean, std = config.image_mean, config.image_std
    return text, ImageEncoder(config.vision, config.projection_dim, mean, std)


def _matches(path: Path) -> bool:
    return bool(found_parts(path))


def _read(path: Path, reading: Reading) -> UnClipWeights:
    config, params, tokenizer = _read_clip(path, reading.param_dtype)
    text, image = towers_of(config)
    parts: dict[str, tuple[AnyPart, Params]] = {
        "text": (text, {"text": params["text"]}),
        "image": (image, {"vision": params["vision"]}),
    }
    there = [*parts, *found_parts(path)]
    check_parts(path, there, reading.parts or ())
    wanted = ""
    asked = [name for name in there if reading.parts is None or name in reading.parts]
    for name in asked:
        if name in parts:
            continue
        part, of_part, of = read_part_folder(path / name, name, reading.param_dtype)
        if of and not wanted:  # once for all parts: it takes reading all of CLIP
            wanted = _stored_fingerprint(path, params, reading.param_dtype)
        if of and of != wanted:
            raise WeightsError(
                f"'{path / name}' was trained with the CLIP {of}, but '{path / CLIP}' is {wanted}"
            )
        parts[name] = part, of_part
    return UnClipWeights({name: parts[name] for name in asked}, tokenizer)


def _read_clip(root: Path, param_dtype: DType | None) -> ClipWeights:
    """CLIP may lie in any of its layouts."""
    path = model_folder(locate(root / CLIP, FILES))
    return read_first(CLIP_LAYOUTS, path, Reading(param_dtype=param_dtype))


def _stored_fingerprint(root: Path, params: Params, param_dtype: DType | None) -> str:
    """The hash of CLIP's parameters as they are stored."""
    if jnp.dtype(param_dtype) != jnp.float32:
        params = _read_clip(root, jnp.float32).params
    return fingerprint(params)


LAYOUT: Layout[PartConfig, UnClipWeights] = Layout(
    "ours", "folder of a part of ours ('prior', 'decoder', ...)", _matches, _read
)
