"""Latent diffusion in a single file of the original names (Rombach et al. 2022, CompVis).

Stable Diffusion 1, 2 and XL are told by the names of their text towers; sizes are read off the
shapes. What no file tells is as published, see `LatentReading`: heads, and whether a network of
Stable Diffusion 2 predicts v or the noise.
"""

import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from clipdiff_jax.core.files import writing
from clipdiff_jax.models.latent import SCALED_LINEAR, WALK, LatentConfig, TextTower
from clipdiff_jax.weights.documents import named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import LatentWeights, Layout, Reading, Tables
from clipdiff_jax.weights.layouts import (
    latent_autoencoder,
    latent_text,
    latent_unet,
    latent_unet_shapes,
)
from clipdiff_jax.weights.layouts.latent_diffusers import task_of
from clipdiff_jax.weights.layouts.latent_parts import (
    AUTOENCODER,
    UNET,
    Source,
    below,
    choose_tokenizers,
    fill_parts,
    open_autoencoder,
    read_preview,
)
from clipdiff_jax.weights.read import Tensors, file_has, open_tensors
from clipdiff_jax.weights.tables import Table, export_params
from clipdiff_jax.weights.torch_file import read_number

logger = logging.getLogger(__name__)

_UNET = "model.diffusion_model."
MARK = f"{_UNET}input_blocks.0.0.weight"
_REFINER = "conditioner.embedders.0.model."
_SD2_BASE_STEP = 875_000  # of the training of 2.1-base, which predicts the noise

# What training and other tools leave in such files, and what says nothing of the network.
_IGNORED = re.compile(
    r"model_ema\..*|betas|alphas_cumprod.*|sqrt_.*|log_.*|posterior_.*|logvar|lvlb_weights"
    r"|global_step|scale_factor|v_pred|ztsnr|denoiser\.sigmas|first_stage_model\.loss\..*"
    r"|.*\.position_ids|optimizer.*|loss\..*"
)


class _Family(NamedTuple):
    """A published family, by where its files keep its text towers."""

    name: str
    towers: tuple[tuple[str, bool], ...]  # (prefix, whether the names are OpenCLIP's)
    image_size: int
    scaling: float
    guidance: float


_SD1 = _Family("Stable Diffusion 1", (("cond_stage_model.transformer.", False),), 512, 0.18215, 7.5)
_SD2 = _Family("Stable Diffusion 2", (("cond_stage_model.model.", True),), 768, 0.18215, 7.5)
_XL = _Family(
    "SDXL",
    (("conditioner.embedders.0.transformer.", False), ("conditioner.embedders.1.model.", True)),
    1024,
    0.13025,
    5.0,
)


def _matches(path: Path) -> bool:
    return file_has(path, MARK, strip=False)


def _read(path: Path, reading: Reading) -> LatentWeights:
    asked, tensors = reading.latent, open_tensors(path, reading.part, strip=False)
    family = _family(path, tensors)
    groups = {prefix: below(tensors, prefix) for prefix in _prefixes(family)}
    with named(path):
        config = _config(path, tensors, family, groups, reading)
    sources = {
        UNET: Source(path, groups[_UNET], latent_unet.table(config.unet, "original")),
        AUTOENCODER: Source(
            path,
            latent_autoencoder.without_training(groups[latent_autoencoder.PREFIX]),
            latent_autoencoder.table(config.autoencoder, "original"),
        ),
    }
    if asked.autoencoder is not None:
        other, sources[AUTOENCODER] = open_autoencoder(
            asked.autoencoder, config.autoencoder.scaling
        )
        with named(asked.autoencoder):
            config = replace(config, autoencoder=other)
    for i, (prefix, openclip) in enumerate(family.towers):
        table, found = _text_table(config.texts[i], openclip), groups[prefix]
        if family is _SD2:
            found = _without_block(found, config.texts[i].tower.depth)
        sources[f"texts/{i}"] = Source(path, found, table)
    tokenizers = choose_tokenizers(config, asked.tokenizers) if asked.tokenizers else ()
    config, preview = read_preview(config, reading)
    params = fill_parts(config, sources, reading)
    if preview is not None:
        params = {**params, "preview": preview}
    return LatentWeights(config, params, tokenizers)


def _family(path: Path, tensors: Tensors) -> _Family:
    """Raises `WeightsError` for a file of none, and for names that are of no part."""
    if any(name.startswith(_REFINER) for name in tensors):
        raise WeightsError(f"'{path}' is SDXL's refiner, which is not supported")
    has = lambda prefix: any(name.startswith(prefix) for name in tensors)
    found = [one for one in (_SD1, _SD2, _XL) if all(has(prefix) for prefix, _ in one.towers)]
    if len(found) != 1:
        wanted = ", ".join(
            f"'{p}' ({one.name})" for one in (_SD1, _SD2, _XL) for p, _ in one.towers
        )
        raise WeightsError(f"'{path}' has the text towers of no known model: expected {wanted}")
    if not has(latent_autoencoder.PREFIX):
        raise WeightsError(f"'{path}' has no autoencoder under '{latent_autoencoder.PREFIX}'")
    known = _prefixes(found[0])
    unknown = sorted(n for n in tensors if not n.startswith(known) and not _IGNORED.fullmatch(n))
    if unknown:
        more = ", ..." if len(unknown) > 6 else ""
        raise WeightsError(
            f"'{path}' has tensors of no part of {found[0].name}: {', '.join(unknown[:6])}{more}"
        )
    return found[0]


def _prefixes(family: _Family) -> tuple[str, ...]:
    return (_UNET, latent_autoencoder.PREFIX, *(prefix for prefix, _ in family.towers))


def _config(
    path: Path,
    tensors: Tensors,
    family: _Family,
    groups: Mapping[str, Tensors],
    reading: Reading,
) -> LatentConfig:
    asked, is_xl = reading.latent, family is _XL
    texts = []
    for prefix, openclip in family.towers:
        tower = latent_text.read_shapes(groups[prefix], asked.text_heads, openclip)
        projection = None
        if family is _SD2:  # the last block of its network is not used
            tower = replace(tower, depth=tower.depth - 1)
        elif openclip:
            projection = _projection(groups[prefix])
        texts.append(TextTower(tower, projection, skip=int(is_xl), final_norm=not is_xl))
    unet = latent_unet_shapes.read_shapes(
        groups[_UNET], texts[-1].projection_dim, asked.heads, family is _SD1
    )
    scale = tensors.get("scale_factor")
    scaling = family.scaling if scale is None else float(np.asarray(scale).reshape(-1)[0])
    autoencoder = latent_autoencoder.read_shapes(groups[latent_autoencoder.PREFIX], scaling)
    prediction = asked.prediction or _prediction(path, tensors, family, unet.in_channels)
    published = 512 if family is _SD2 and prediction == "eps" else family.image_size
    return LatentConfig(
        unet=unet,
        autoencoder=autoencoder,
        texts=tuple(texts),
        image_size=asked.image_size or published,
        task=task_of(unet.in_channels),
        prediction=prediction,
        guidance=family.guidance,
        zero_null=is_xl,
        sampling=replace(WALK, ends_clean=is_xl),
    )


def _projection(tensors: Tensors) -> int:
    if "text_projection" not in tensors or tensors["text_projection"].ndim != 2:
        raise WeightsError("the second text tower lacks the matrix 'text_projection'")
    return int(tensors["text_projection"].shape[1])


def _prediction(
    path: Path, tensors: Tensors, family: _Family, channels: int
) -> Literal["eps", "v"]:
    """What the network predicts, where the caller does not say it."""
    if family is _XL:
        return "v" if "v_pred" in tensors or "ztsnr" in tensors else "eps"
    if family is _SD1 or channels != 4:
        return "eps"
    if (step := tensors.get("global_step")) is not None:
        steps: int | None = int(np.asarray(step).reshape(-1)[0])
    else:
        steps = read_number(path, "global_step")
    if steps == _SD2_BASE_STEP:
        return "eps"
    logger.warning(
        "nothing in '%s' tells what it predicts: taking v, as the 768 px models of Stable "
        "Diffusion 2 do; give prediction='eps' for the 512 px ones", path,
    )  # fmt: skip
    return "v"


def _text_table(tower: TextTower, openclip: bool) -> Table:
    if openclip:
        return latent_text.openclip_table(tower.projection_dim is not None)
    return latent_text.transformers_table()


def _without_block(tensors: Tensors, block: int) -> Tensors:
    unused = f"transformer.resblocks.{block}."
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}


def write(path: str | Path, weights: LatentWeights) -> Path:
    """Writes the file, a `.safetensors`, whole or not at all.

    Of the last block of Stable Diffusion 2's text tower, which nothing uses and our models have
    not, zeros are written. Raises `WeightsError` for a model that is of no family, and for a path
    that exists.
    """
    config, params = weights.config, weights.params
    path, family = Path(path), _family_of(config)
    if path.exists() or path.is_symlink():
        raise WeightsError(f"'{path}' exists: nothing was written")
    if path.suffix != ".safetensors":
        raise WeightsError(f"'{path}' must end in .safetensors")
    tables = table(config)
    trees = [params["unet"], params["autoencoder"], *params["texts"]]
    tensors: Tensors = {}
    for prefix, tree in zip(_prefixes(family), trees, strict=True):
        found = export_params(tables[prefix], tree)
        if family is _SD2 and prefix == family.towers[0][0]:
            found |= _unused(found, config.texts[0].tower.depth)
        tensors |= {prefix + name: np.ascontiguousarray(array) for name, array in found.items()}
    _check_told(config, family, tensors)
    tensors |= _notes(config, family)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
        try:
            save_file(tensors, temporary, {"format": "pt"})
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return path


def _check_told(config: LatentConfig, family: _Family, tensors: Tensors) -> None:
    """Raises `WeightsError` for a config that cannot be read off a file of it."""
    pooled, unet = config.texts[-1].projection_dim, config.unet
    unread = {"heads", "head_width", "remat", "dropout", "wide_range"}
    pairs = [
        (unet, latent_unet_shapes.read_shapes(below(tensors, _UNET), pooled, _heads(config))),
        (
            config.autoencoder,
            latent_autoencoder.read_shapes(
                below(tensors, latent_autoencoder.PREFIX), config.autoencoder.scaling
            ),
        ),
    ]
    for ours, read in pairs:
        names = vars(read).keys() - unread
        if other := sorted(n for n in names if getattr(read, n) != getattr(ours, n)):
            raise WeightsError(
                f"a file of the original names cannot tell the {', '.join(other)} of this "
                f"{type(ours).__name__.removesuffix('Config')}"
            )
    if config.schedule != SCALED_LINEAR or (family is _SD1 and config.prediction != "eps"):
        raise WeightsError(
            f"a file of the original names cannot tell that this model predicts "
            f"{config.prediction} on {config.schedule}"
        )


def _heads(config: LatentConfig) -> int | tuple[int, ...]:
    unet = config.unet
    return tuple(1 for _ in unet.channels) if unet.heads is None else unet.heads


def _notes(config: LatentConfig, family: _Family) -> Tensors:
    """What beside the weights tells the scale of the latents, and what the network predicts."""
    notes: Tensors = {}
    if config.autoencoder.scaling != family.scaling:
        notes["scale_factor"] = np.array(config.autoencoder.scaling, np.float64)
    if family is _XL and config.prediction == "v":
        notes["v_pred"] = np.zeros(0, np.float32)
    if family is _SD2 and config.prediction == "eps" and config.task == "text":
        notes["global_step"] = np.array(_SD2_BASE_STEP, np.int64)
    return notes


def table(config: LatentConfig) -> dict[str, Table]:
    """The names under each prefix."""
    family = _family_of(config)
    tables = {
        _UNET: latent_unet.table(config.unet, "original"),
        latent_autoencoder.PREFIX: latent_autoencoder.table(config.autoencoder, "original"),
    }
    for tower, (prefix, openclip) in zip(config.texts, family.towers, strict=True):
        tables[prefix] = _text_table(tower, openclip)
    return tables


def _family_of(config: LatentConfig) -> _Family:
    """Raises `WeightsError` for a model of none."""
    activations = tuple(one.tower.activation for one in config.texts)
    families = {("quick_gelu",): _SD1, ("gelu",): _SD2, ("quick_gelu", "gelu"): _XL}
    if activations not in families:
        raise WeightsError(
            f"no file of the original names holds text towers with {', '.join(activations)}: "
            "expected those of Stable Diffusion 1, 2 or XL"
        )
    return families[activations]


def _unused(found: Tensors, depth: int) -> Tensors:
    """The block after the last, the projection and the temperature, as zeros."""
    first, width = "transformer.resblocks.0.", found["positional_embedding"].shape[1]
    kind = found["positional_embedding"].dtype
    block = {
        name.replace(first, f"transformer.resblocks.{depth}."): np.zeros_like(array)
        for name, array in found.items()
        if name.startswith(first)
    }
    rest = {"text_projection": (width, width), "logit_scale": ()}
    return block | {name: np.zeros(shape, kind) for name, shape in rest.items()}


def _tables(config: LatentConfig) -> Tables:
    return table(config)


LAYOUT: Layout[LatentConfig, LatentWeights] = Layout(
    "original", f"file with '{MARK}'", _matches, _read, _tables, write
)
