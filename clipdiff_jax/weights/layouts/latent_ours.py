"""A latent diffusion model, or an autoencoder alone, in our own layout: a model folder.

A latent model's folder holds the UNet, the autoencoder, the text towers and, where there is one,
the tiny autoencoder for previews, as `unet/...`, `autoencoder/...`, `texts/0/...`, `preview/...` of
one file; beside it each tower's tokenizer.
"""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import Tokenizer, load_tokenizer
from clipdiff_jax.models import autoencoder, latent
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.weights.documents import named
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
from clipdiff_jax.weights.layout import LatentWeights, Layout, Reading
from clipdiff_jax.weights.layouts.latent_parts import (
    add_loras,
    choose_tokenizers,
    read_other_autoencoder,
    read_preview,
)
from clipdiff_jax.weights.params import flatten, unflatten

KIND, AUTOENCODER = "latent", "autoencoder"


def write(path: str | Path, weights: LatentWeights, dtype: DType | None = None) -> Path:
    """Writes the folder; floating-point arrays become `dtype`, None keeps their own."""
    config, params, tokenizers, _ = weights
    document = {"kind": KIND, "model": to_dict(config)}
    named_texts = {str(i): one for i, one in enumerate(params["texts"])}
    return save_folder(
        path, document, {**params, "texts": named_texts}, dtype, _tokenizer_files(tokenizers)
    )


def write_autoencoder(
    path: str | Path, config: AutoencoderConfig, params: Params, dtype: DType | None = None
) -> Path:
    """Writes the folder of an autoencoder alone."""
    return save_folder(path, {"kind": AUTOENCODER, "model": to_dict(config)}, params, dtype)


def read_autoencoder(source: str | Path) -> tuple[AutoencoderConfig, Params]:
    """The autoencoder of a folder of ours (or its run): one alone, or a latent model's, float32.

    Raises `WeightsError` where it holds something else.
    """
    path = model_folder(locate(source))
    document, params = load_folder(path, jnp.float32)
    kind = document["kind"]
    if kind not in (KIND, AUTOENCODER):
        raise WeightsError(f"'{path}' holds a model of kind '{kind}', not '{AUTOENCODER}'")
    with named(path):
        if kind == KIND:
            config = from_dict(LatentConfig, document.get("model")).autoencoder
            params = params["autoencoder"]
        else:
            config = from_dict(AutoencoderConfig, document.get("model"))
    check_params(path, params, functools.partial(autoencoder.init_params, config))
    return config, jax.tree.map(jnp.asarray, params)


def _matches(path: Path) -> bool:
    return is_our_folder(path) and read_config(path)["kind"] == KIND


def _read(path: Path, reading: Reading) -> LatentWeights:
    asked = reading.latent
    document, params = load_folder(path, reading.param_dtype)
    with named(path):
        config = from_dict(LatentConfig, document.get("model"))
    check_params(path, params, functools.partial(_init, config))
    if asked.loras:
        params = add_loras(config, params, asked.loras)
    if asked.prediction is not None:
        config = replace(config, prediction=asked.prediction)
    flat = {name: asked.place(name, leaf) for name, leaf in flatten(params).items()}
    params = unflatten(flat)
    params = {**params, "texts": tuple(params["texts"][str(i)] for i in range(len(config.texts)))}
    if asked.autoencoder is not None:
        other, params["autoencoder"] = read_other_autoencoder(config, reading)
        with named(path):
            config = replace(config, autoencoder=other)
    config, preview = read_preview(config, reading)
    if preview is not None:
        params["preview"] = preview
    if asked.tokenizers:
        return LatentWeights(config, params, choose_tokenizers(config, asked.tokenizers))
    tokenizers = tuple(
        _read_tokenizer(path, i, one.tower.context_length) for i, one in enumerate(config.texts)
    )
    return LatentWeights(config, params, tokenizers)


def _init(config: LatentConfig, key: Array) -> Params:
    """New parameters of all parts, towers by their number."""
    texts = {str(i): latent.init_text(one, key) for i, one in enumerate(config.texts)}
    return {**latent.init_params(config, key), "texts": texts}


def _tokenizer_files(tokenizers: tuple[Tokenizer, ...]) -> dict[str, bytes]:
    """The first tower's files under their own names, the next one's with its number."""
    return {
        _numbered(name, i): content
        for i, one in enumerate(tokenizers)
        for name, content in one.files().items()
    }


def _numbered(name: str, i: int) -> str:
    stem, dot, end = name.rpartition(".")
    return name if i == 0 else f"{stem}_{i + 1}{dot}{end}"


def _read_tokenizer(path: Path, i: int, length: int) -> Tokenizer:
    if i == 0:
        return load_tokenizer(path, length)
    with tempfile.TemporaryDirectory() as folder:
        for file in path.glob(f"*_{i + 1}.json"):
            name = file.name.replace(f"_{i + 1}.json", ".json")
            (Path(folder) / name).write_bytes(file.read_bytes())
        return load_tokenizer(folder, length)


LAYOUT: Layout[LatentConfig, LatentWeights] = Layout(
    "ours", f"config.json of kind '{KIND}'", _matches, _read, write=write
)
