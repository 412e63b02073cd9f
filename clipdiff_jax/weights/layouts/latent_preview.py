"""TAESD, the tiny autoencoder of previews: diffusers' `AutoencoderTiny`, and its author's files.

Both number the layers of each half in a row, activations and resizings included. The author's are
two files, `taesd_encoder` and `taesd_decoder`, whose decoder begins with one layer more.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.taesd import TinyAutoencoderConfig, init_params
from clipdiff_jax.weights.documents import check_class, check_options, named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME
from clipdiff_jax.weights.folder import read_config as read_json
from clipdiff_jax.weights.layout import fill_params
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import CONV, Rule, Table, affine

TINY = "AutoencoderTiny"
_FIXED: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "act_fn": "relu",
    "upsample_fn": "nearest",
    "upsampling_scaling_factor": 2,
    "latent_magnitude": 3,
    "latent_shift": 0.5,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
}
_ENDINGS = (".safetensors", ".pth")


def table(config: TinyAutoencoderConfig) -> Table:
    """diffusers' names of the tiny autoencoder that `config` describes."""
    rules: list[Rule] = []

    def block(half: str, at: int, ours: str) -> None:
        for i in range(3):
            theirs = f"{half}.layers.{at}.conv.{2 * i}"
            rules.extend(affine(theirs, f"{half}/{ours}/conv_{i}", CONV))

    rules += affine("encoder.layers.0", "encoder/conv_in", CONV)
    at = 1
    for level, blocks in enumerate(config.encoder_blocks):
        if level > 0:
            rules.append(_bare(f"encoder.layers.{at}", f"encoder/level_{level}_downsample"))
            at += 1
        for i in range(blocks):
            block("encoder", at + i, f"level_{level}_block_{i}")
        at += blocks
    rules += affine(f"encoder.layers.{at}", "encoder/conv_out", CONV)
    rules += affine("decoder.layers.0", "decoder/conv_in", CONV)
    at = 2  # an activation
    for level, blocks in enumerate(config.decoder_blocks):
        for i in range(blocks):
            block("decoder", at + i, f"level_{level}_block_{i}")
        at += blocks
        if level < len(config.decoder_blocks) - 1:
            rules.append(_bare(f"decoder.layers.{at + 1}", f"decoder/level_{level}_upsample"))
            at += 2  # a resizing and its convolution
    rules += affine(f"decoder.layers.{at}", "decoder/conv_out", CONV)
    return Table(f"{TINY} of diffusers", tuple(rules))


def _bare(theirs: str, ours: str) -> Rule:
    """Of a convolution without biases."""
    return Rule(f"{theirs}.weight", f"{ours}/kernel", CONV)


def read(path: Path, param_dtype: DType | None) -> tuple[TinyAutoencoderConfig, Params]:
    """A tiny autoencoder in diffusers' folder, or in its author's two files.

    path: the folder of either, or one of the two files.

    Raises `WeightsError` for what is neither, and where one of the two files is not there.
    """
    if path.is_dir() and (path / CONFIG_NAME).is_file():
        with named(path):
            config = read_config(read_json(path))
        tensors = open_tensors(path)
    else:
        tensors, config = _halves(path), TinyAutoencoderConfig()
    with named(path):
        params = fill_params(
            table(config), tensors, lambda key: init_params(config, key), param_dtype
        )
    return config, params


def _halves(path: Path) -> dict[str, np.ndarray]:
    """The tensors of the author's two files, under diffusers' names."""
    tensors: dict[str, np.ndarray] = {}
    for half, shift in (("encoder", 0), ("decoder", 1)):
        file = _half(path, half)
        for name, tensor in open_tensors(file).items():
            number, _, rest = name.partition(".")
            if not number.isdigit() or not rest:
                raise WeightsError(f"'{file}' has a tensor '{name}', expected numbered layers")
            tensors[f"{half}.layers.{int(number) - shift}.{rest}"] = tensor
    return tensors


def _half(path: Path, half: str) -> Path:
    """The file of one half: in the folder `path`, or `path` itself or the one beside it."""
    if path.is_dir():
        found = [one for one in sorted(path.glob(f"*{half}.*")) if one.suffix in _ENDINGS]
    else:
        stem = path.stem.replace("encoder", half).replace("decoder", half)
        found = [path.with_name(stem + ending) for ending in (path.suffix, *_ENDINGS)]
        found = [one for one in dict.fromkeys(found) if one.is_file()][:1]
    if len({one.stem for one in found}) != 1:
        names = ", ".join(one.name for one in found) or "nothing"
        raise WeightsError(
            f"'{path}' is no tiny autoencoder: expected the folder of an {TINY} of diffusers, or "
            f"one file such as 'taesd_{half}.safetensors' or '.pth', found {names}"
        )
    return found[0]


def read_config(document: Mapping[str, Any]) -> TinyAutoencoderConfig:
    """`config.json` of an `AutoencoderTiny` -> `TinyAutoencoderConfig`.

    Raises `WeightsError` for another class, an unsupported option and levels of several widths.
    """
    check_class(document, TINY)
    check_options(document, _FIXED)
    widths = {
        *document.get("encoder_block_out_channels", (64,)),
        *document.get("decoder_block_out_channels", (64,)),
    }
    if len(widths) != 1:
        raise WeightsError(f"config.json has levels of {sorted(widths)} channels, expected one")
    return TinyAutoencoderConfig(
        latent_channels=document.get("latent_channels", 4),
        width=widths.pop(),
        encoder_blocks=tuple(document.get("num_encoder_blocks", (1, 3, 3, 3))),
        decoder_blocks=tuple(document.get("num_decoder_blocks", (3, 3, 3, 1))),
    )


def write_config(config: TinyAutoencoderConfig) -> dict[str, Any]:
    """The inverse of `read_config`."""
    return {
        "_class_name": TINY,
        **_FIXED,
        "latent_channels": config.latent_channels,
        "encoder_block_out_channels": [config.width] * len(config.encoder_blocks),
        "decoder_block_out_channels": [config.width] * len(config.decoder_blocks),
        "num_encoder_blocks": list(config.encoder_blocks),
        "num_decoder_blocks": list(config.decoder_blocks),
    }
