"""Loads and saves latent diffusion models, from and into whichever layout they lie in."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.core.devices import AnyMesh, MeshConfig, param_sharding
from clipdiff_jax.core.types import DType
from clipdiff_jax.data.tokenize import Tokenizer, load_tokenizer
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import model_folder
from clipdiff_jax.weights.hub import DEMO, locate, locate_configs, locate_files
from clipdiff_jax.weights.latent_reading import LatentReading, Lora
from clipdiff_jax.weights.layout import LatentWeights, Layout, Reading
from clipdiff_jax.weights.layouts.latent import LAYOUTS
from clipdiff_jax.weights.loading import check_part, find_model, read_first
from clipdiff_jax.weights.params import on_device

AnyLora = str | Path | tuple[str | Path, float | int]


class LatentOptions(TypedDict, total=False):
    """What else `load_latent` takes; see there."""

    prediction: Literal["eps", "v"] | None
    heads: int | tuple[int, ...] | None
    text_heads: int | None
    image_size: int | None
    tokenizer: Tokenizer | str | Path | Sequence[Tokenizer | str | Path] | None
    autoencoder: str | Path | None
    preview: str | Path | None
    loras: AnyLora | Sequence[AnyLora]
    clip_skip: int
    mesh: AnyMesh | None
    revision: str | None
    part: str | None


def load_latent(
    source: str | Path,
    *,
    dtype: DType = jnp.float32,
    param_dtype: DType | None = None,
    layouts: Sequence[Layout[LatentConfig, LatentWeights]] = LAYOUTS,
    **options: Unpack[LatentOptions],
) -> LatentDiffusion:
    """Loads a latent diffusion model.

    Args:
      source: "demo"; one of our model folders or the work folder of a run; the folder of a pipeline
        of diffusers (Stable Diffusion 1, 2, XL, inpainting, InstructPix2Pix); a single file of the
        original names (`.safetensors`, `.ckpt`); or a repository of the Hugging Face Hub with such
        a folder.
      dtype: what the networks compute in.
      param_dtype: what parameters are kept in; None for `dtype`.
      layouts: which are tried, in this order; add one of your own, see `weights.layout`.
      prediction: what the network predicts, in place of what the source says. Of a single file of
        Stable Diffusion 2 nothing tells it: "v" is taken.
      heads, text_heads, image_size: of a single file, which does not tell them, where they are not
        as published.
      tokenizer: a tokenizer or its folder, in place of the source's own, for all text towers or one
        for each. A single file has none: without, the model takes no prompts.
      autoencoder: another one in place of the source's: a diffusers folder or a single file.
      preview: a tiny autoencoder (TAESD) for `show`: its diffusers folder, or that of its author's
        two files.
      loras: files or folders of LoRAs (kohya's or peft's), each alone or with its strength. Several
        add up.
      clip_skip: how many blocks earlier than the model was trained with the text states are taken.
      mesh: devices over whose axis `fsdp` parameters are split as they are read.
      revision: of a repository on the Hub.
      part: which of several state dicts a file holds, see `load_diffusion`.

    Parameters are read one at a time and placed at once. Raises `WeightsError` if there is no such
    model, it is incomplete, of another kind, or its parts or LoRAs do not fit each other;
    `ValueError` for an option that the model cannot have.
    """
    if unknown := sorted(options.keys() - LatentOptions.__annotations__.keys()):
        raise TypeError(
            f"load_latent takes no '{unknown[0]}', but {', '.join(LatentOptions.__annotations__)}"
        )
    path = find_model(source, "latent", revision=options.get("revision"))
    part, mesh = options.get("part"), options.get("mesh")
    check_part(path, part)
    autoencoder, preview = options.get("autoencoder"), options.get("preview")
    asked = LatentReading(
        prediction=options.get("prediction"),
        heads=options.get("heads"),
        text_heads=options.get("text_heads"),
        image_size=options.get("image_size"),
        tokenizers=_tokenizers(options.get("tokenizer")),
        autoencoder=None if autoencoder is None else locate(autoencoder),
        preview=None if preview is None else locate(preview),
        loras=_loras(options.get("loras", ())),
        place=on_device if mesh is None else _split_over(mesh),
    )
    kept = dtype if param_dtype is None else param_dtype
    reading = Reading(param_dtype=kept, part=part, latent=asked)
    config, params, tokenizers, _ = read_first(layouts, path, reading)
    if skip := options.get("clip_skip", 0):
        texts = tuple(replace(tower, skip=tower.skip + skip) for tower in config.texts)
        config = replace(config, texts=texts)
    return LatentDiffusion(
        config,
        params["unet"],
        params["autoencoder"],
        tuple(params["texts"]),
        tokenizers,
        params.get("preview"),
        dtype,
    )


def is_latent(source: str | Path) -> bool:
    """Whether `source` is a file, folder or repository that holds a latent diffusion model; of a
    repository its configs alone are downloaded. "demo" is none, nor is what is not there."""
    found = None if source == DEMO else locate_configs(source)
    if found is None:
        return False
    path = model_folder(found)
    return any(layout.matches(path) for layout in LAYOUTS)


def save_latent(path: str | Path, model: LatentDiffusion, *, dtype: DType | None = None) -> None:
    """Writes the model folder that `load_latent` reads; floating-point arrays become `dtype`."""
    model.save(path, dtype=dtype)


def _split_over(mesh: AnyMesh) -> Any:
    def place(path: str, array: np.ndarray) -> jax.Array:
        del path
        sharding = param_sharding(mesh, array.shape, MeshConfig.min_split)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return place


def _tokenizers(given: Any) -> tuple[Tokenizer, ...]:
    if given is None:
        return ()
    several = given if isinstance(given, list | tuple) else [given]
    return tuple(
        one
        if isinstance(one, Tokenizer)
        else load_tokenizer(locate_files(one, ("*.json", "*.txt")))
        for one in several
    )


def _loras(given: Any) -> tuple[Lora, ...]:
    """Raises `ValueError` for what is neither a path nor a path and its strength."""
    single = isinstance(given, str | Path) or (
        isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], int | float)
    )
    found = []
    for one in [given] if single else given:
        path, strength = one if isinstance(one, tuple) else (one, 1.0)
        if not isinstance(path, str | Path):
            raise ValueError(f"loras holds {path!r}, expected paths, or pairs of path and strength")
        file = model_folder(Path(path).expanduser())  # or a run that trained one
        if not file.exists():
            raise WeightsError(f"there is no LoRA '{path}'")
        found.append(Lora(path=file, strength=float(strength)))
    return tuple(found)
