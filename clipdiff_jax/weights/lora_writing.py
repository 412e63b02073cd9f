"""A LoRA of a UNet (`models.lora`) as diffusers and peft write it: alpha is the rank."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipdiff_jax.core.files import json_bytes
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.weights.folder import CONFIG_NAME, FORMAT_VERSION, write_folder
from clipdiff_jax.weights.params import cast, flatten
from clipdiff_jax.weights.tables import Place

FILE = "pytorch_lora_weights.safetensors"
KIND = "lora"


def write_lora(
    path: str | Path,
    described: Mapping[str, Any],
    lora: Params,
    places: Mapping[str, Place],
    dtype: DType | None = None,
) -> Path:
    """Writes the folder `path`: `FILE`, and a config that says that it is a LoRA.

    Args:
      path: the folder, see `weights.folder.write_folder`.
      described: what else the config says.
      lora: `down` and `up` of some kernels.
      places: where the tensors of diffusers' UNet are among the parameters of ours.
      dtype: what the matrices are stored in.
    """
    flat = flatten(lora)
    tensors: dict[str, np.ndarray] = {}
    for name, place in places.items():
        layer = place.path.removesuffix("/kernel")
        if layer == place.path or f"{layer}/down" not in flat:
            continue
        down, up = (np.asarray(cast(flat[f"{layer}/{one}"], dtype)) for one in ("down", "up"))
        module, ones = name.removesuffix(".weight"), (1,) * (len(place.shape) - 2)
        # `up` is a layer of one pixel, whatever the size of the kernel.
        lying = np.ascontiguousarray(up[place.index].T)
        tensors[f"unet.{module}.lora_A.weight"] = np.ascontiguousarray(
            place.axes.to_theirs(down[place.index])
        )
        tensors[f"unet.{module}.lora_B.weight"] = lying.reshape(*lying.shape, *ones)
    config = {"version": FORMAT_VERSION, "kind": KIND, **described}
    files = {CONFIG_NAME: json_bytes(config)}
    return write_folder(path, files, {FILE: tensors}, {"format": "pt"})
