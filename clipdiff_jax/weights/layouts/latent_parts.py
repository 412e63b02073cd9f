"""The parts of a latent diffusion model, filled from files of whichever names they have.

The parts are "unet", "autoencoder", "texts/0", "texts/1" and "preview". LoRAs are added while a
parameter is read, in float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import Tokenizer, TokenizerError
from clipdiff_jax.models import autoencoder, latent
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.weights import lora
from clipdiff_jax.weights.documents import named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME
from clipdiff_jax.weights.folder import read_config as read_json
from clipdiff_jax.weights.latent_reading import Lora
from clipdiff_jax.weights.layout import Reading
from clipdiff_jax.weights.layouts import (
    latent_autoencoder,
    latent_preview,
    latent_text,
    latent_unet,
)
from clipdiff_jax.weights.lora_writing import write_lora
from clipdiff_jax.weights.params import flatten, unflatten
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import Changes, Place, Table, import_params, places

UNET, AUTOENCODER, PREVIEW = "unet", "autoencoder", "preview"
# Stable Diffusion's own padding of the towers that are OpenCLIP's.
_PADDING = "!"


class Source(NamedTuple):
    """Where a part is read from."""

    path: Path
    tensors: Mapping[str, np.ndarray]
    table: Table


def part_shapes(config: LatentConfig) -> dict[str, Params]:
    """The parameters of each part, but for the preview, as `ShapeDtypeStruct`s."""
    inits = {
        UNET: partial(latent.init_unet, config),
        AUTOENCODER: partial(autoencoder.init_params, config.autoencoder),
    }
    for i, tower in enumerate(config.texts):
        inits[f"texts/{i}"] = partial(latent.init_text, tower)
    key = jax.random.key(0)
    return {name: jax.eval_shape(init, key) for name, init in inits.items()}


def fill_parts(config: LatentConfig, sources: Mapping[str, Source], reading: Reading) -> Params:
    """The parameters of all parts, `LatentWeights.params`, with the LoRAs that are asked for.

    Raises `WeightsError` for a file that does not fit, and a LoRA that does not.
    """
    asked, shapes = reading.latent, part_shapes(config)
    changes = lora.read_changes(asked.loras, lora_places(config, shapes)) if asked.loras else {}
    flat: dict[str, Params] = {}
    for part, (path, tensors, table) in sources.items():
        with named(path):
            tree = import_params(
                table, tensors, shapes[part], dtype=reading.param_dtype, place=asked.place,
                changes=changes.get(part),
            )  # fmt: skip
        flat |= {f"{part}/{name}": leaf for name, leaf in flatten(tree).items()}
    params = unflatten(flat)
    return {**params, "texts": tuple(params["texts"][str(i)] for i in range(len(config.texts)))}


def add_loras(config: LatentConfig, params: Params, loras: Sequence[Lora]) -> Params:
    """The same parameters with LoRAs added to them, in float32; "texts" by their number.

    Raises as `lora.read_changes` does.
    """
    changes = lora.read_changes(loras, lora_places(config, part_shapes(config)))
    return with_changes(params, changes)


def with_changes(params: Params, changes: Mapping[str, Changes]) -> Params:
    """Parameters with what LoRAs add to each part, computed in float32."""
    flat = flatten(params)
    for part, of_part in changes.items():
        for path, found in of_part.items():
            old = flat[f"{part}/{path}"]
            new = np.array(old, np.float32)
            for change in found:
                new[change.index] += change.delta()
            flat[f"{part}/{path}"] = new.astype(old.dtype)
    return unflatten(flat)


def lora_places(config: LatentConfig, shapes: Mapping[str, Params]) -> dict[str, dict[str, Place]]:
    """Where the tensors of each part are among its parameters, by all names that a LoRA may use."""
    both = [latent_unet.table(config.unet, naming) for naming in ("diffusers", "original")]
    found = {UNET: places(both[0], shapes[UNET]) | places(both[1], shapes[UNET])}
    for i in range(len(config.texts)):
        name = f"texts/{i}"
        found[name] = places(latent_text.transformers_table(), shapes[name])
    return found


def save_lora(
    path: str | Path, config: LatentConfig, change: Params, base: str, dtype: DType | None = None
) -> Path:
    """Writes a LoRA (`models.lora`) of the UNet, by diffusers' names; base: what it was trained
    from. `load_latent(base, loras=path)` and diffusers' `load_lora_weights` read it."""
    table = latent_unet.table(config.unet, "diffusers")
    found = places(table, part_shapes(config)[UNET])
    return write_lora(path, {"base": base}, change, found, dtype)


def read_other_autoencoder(
    config: LatentConfig, reading: Reading
) -> tuple[AutoencoderConfig, Params]:
    """The autoencoder that is asked for in place of a model's own."""
    assert reading.latent.autoencoder is not None
    other, source = open_autoencoder(reading.latent.autoencoder, config.autoencoder.scaling)
    shapes = jax.eval_shape(partial(autoencoder.init_params, other), jax.random.key(0))
    with named(source.path):
        return other, import_params(
            source.table, source.tensors, shapes, dtype=reading.param_dtype,
            place=reading.latent.place,
        )  # fmt: skip


def read_preview(config: LatentConfig, reading: Reading) -> tuple[LatentConfig, Params | None]:
    """The config with the tiny autoencoder that is asked for, and its parameters."""
    path = reading.latent.preview
    if path is None:
        return config, None
    tiny, params = latent_preview.read(path, reading.param_dtype)
    with named(path):
        return replace(config, preview=tiny), params


def open_autoencoder(path: Path, scaling: float) -> tuple[AutoencoderConfig, Source]:
    """An autoencoder alone: diffusers' folder (or that of a pipeline), or a file of it.

    scaling: of the latents, where the source does not tell.

    Raises `WeightsError` for what is neither.
    """
    folder = path / "vae" if (path / "vae").is_dir() else path
    if folder.is_dir():
        document = read_json(folder)
        with named(folder):
            config = latent_autoencoder.read_config(document)
        table = latent_autoencoder.table(config, "diffusers")
        return config, Source(folder / CONFIG_NAME, open_tensors(folder), table)
    tensors = latent_autoencoder.without_training(open_tensors(path, strip=False))
    inside = latent_autoencoder.PREFIX
    if any(name.startswith(inside) for name in tensors):
        tensors = below(tensors, inside)
    with named(path):
        config = latent_autoencoder.read_shapes(tensors, scaling)
    return config, Source(path, tensors, latent_autoencoder.table(config, "original"))


def below(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The tensors whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def choose_tokenizers(config: LatentConfig, given: tuple[Tokenizer, ...]) -> tuple[Tokenizer, ...]:
    """The given tokenizers, one for each tower; where there is but one, with each tower's padding.

    OpenCLIP's towers were trained with "!" for padding, OpenAI's with the end mark. Raises
    `WeightsError` for another number of them, and for one whose vocabulary has no such token.
    """
    if len(given) == len(config.texts):
        return given
    if len(given) != 1:
        raise WeightsError(
            f"{len(given)} tokenizers for {len(config.texts)} text towers: expected one or as many"
        )
    (one,) = given
    bang = one.backend.token_to_id(_PADDING)
    if bang is None:
        raise TokenizerError(f"not a CLIP tokenizer: its vocabulary lacks '{_PADDING}'")
    pads = [one.end_id if t.tower.activation == "quick_gelu" else bang for t in config.texts]
    return tuple(
        replace(one, pad_id=pad, context_length=tower.tower.context_length)
        for pad, tower in zip(pads, config.texts, strict=True)
    )
