"""Latent diffusion in diffusers' folder layout: `model_index.json` and one folder a component.

Stable Diffusion 1, 2 and XL, those that fill in masked pictures and InstructPix2Pix. All configs
are read, and compared with each other, before any array is.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.models.latent import LatentConfig, Task, TextTower
from clipdiff_jax.models.pixel import OwnSampling
from clipdiff_jax.weights.documents import named, sample_size
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME, WEIGHTS_NAME, json_bytes, write_folder
from clipdiff_jax.weights.folder import read_config as read_json
from clipdiff_jax.weights.layout import LatentWeights, Layout, Reading, Tables
from clipdiff_jax.weights.layouts import latent_autoencoder, latent_text, latent_unet
from clipdiff_jax.weights.layouts.latent_parts import (
    AUTOENCODER,
    UNET,
    Source,
    choose_tokenizers,
    fill_parts,
    open_autoencoder,
    read_preview,
)
from clipdiff_jax.weights.layouts.schedule_diffusers import (
    SCHEDULER,
    read_own_sampling,
    read_schedule,
    write_schedule,
)
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import Table, export_params

logger = logging.getLogger(__name__)

INDEX, NETWORK = "model_index.json", "diffusion_pytorch_model.safetensors"
TEXT_TO_IMAGE, XL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
INPAINT, INSTRUCT = "StableDiffusionInpaintPipeline", "StableDiffusionInstructPix2PixPipeline"
PIPELINES = (TEXT_TO_IMAGE, "StableDiffusionImg2ImgPipeline", INPAINT, INSTRUCT, XL)
_TEXTS, _TOKENIZERS = ("text_encoder", "text_encoder_2"), ("tokenizer", "tokenizer_2")
# How the channels beside the latents' tell the task.
_TASKS: dict[int, Task] = {4: "text", 8: "instruct", 9: "inpaint"}
_GUIDANCE, _XL_GUIDANCE = 7.5, 5.0
T = TypeVar("T")


def read_configs(folder: Path, reading: Reading) -> tuple[LatentConfig, dict[str, Source]]:
    """The config of the model in a folder, and where each part's parameters are.

    Raises `WeightsError` that names the file and what was expected of it.
    """
    index, asked = read_json(folder, INDEX), reading.latent
    kind = index.get("_class_name")
    if kind not in PIPELINES:
        raise WeightsError(
            f"'{folder / INDEX}' describes {kind!r}, expected one of {', '.join(PIPELINES)}."
            f"{nearest(str(kind), PIPELINES)}"
        )
    is_xl = kind == XL
    texts = _read_texts(folder, is_xl)
    pooled = texts[-1].projection_dim
    unet = _read(folder / "unet", lambda found: latent_unet.read_config(found, pooled))
    if asked.heads is not None:
        unet = replace(unet, heads=asked.heads)
    if asked.text_heads is not None:
        raise WeightsError(f"'{folder}' tells the heads of its towers: give no text_heads")
    vae = _read(folder / "vae", latent_autoencoder.read_config)
    path, table = folder / "vae", latent_autoencoder.table(vae, "diffusers")
    sources = {AUTOENCODER: Source(path, {}, table)}
    if asked.autoencoder is not None:
        vae, sources[AUTOENCODER] = open_autoencoder(asked.autoencoder, vae.scaling)
    schedule = _read(folder / "scheduler", _read_schedule, SCHEDULER)
    size = asked.image_size or _read(folder / "unet", sample_size) * vae.factor
    with named(folder):
        config = LatentConfig(
            unet=unet,
            autoencoder=vae,
            texts=texts,
            image_size=size,
            task=task_of(unet.in_channels),
            schedule=schedule[0],
            prediction=asked.prediction or schedule[1],
            guidance=_XL_GUIDANCE if is_xl else _GUIDANCE,
            zero_null=is_xl and bool(index.get("force_zeros_for_empty_prompt", True)),
            sampling=_walk(schedule[2], is_xl),
        )
    _check_task(folder, kind, config)
    for name in ("safety_checker", "image_encoder"):
        if (index.get(name) or [None])[0] is not None:
            logger.warning("'%s' has a %s, which is not run", folder, name)
    sources |= {UNET: Source(folder / "unet", {}, latent_unet.table(unet, "diffusers"))}
    for i, name in enumerate(_TEXTS[: len(texts)]):
        sources[f"texts/{i}"] = Source(folder / name, {}, latent_text.transformers_table())
    return config, sources


def task_of(channels: int) -> Task:
    """What a UNet of so many channels is for. Raises `WeightsError` for other channels."""
    if channels not in _TASKS:
        raise WeightsError(
            f"the UNet takes {channels} channels, expected 4 (text to image), 8 (InstructPix2Pix) "
            "or 9 (inpainting)"
        )
    return _TASKS[channels]


def _read_texts(folder: Path, is_xl: bool) -> tuple[TextTower, ...]:
    wanted = (latent_text.PLAIN, latent_text.PROJECTED) if is_xl else (latent_text.PLAIN,)
    towers = []
    for name, kind in zip(_TEXTS, wanted, strict=False):
        tower, projection = _read(folder / name, latent_text.read_config)
        if (projection is not None) != (kind == latent_text.PROJECTED):
            raise WeightsError(f"'{folder / name}' is no '{kind}', which this pipeline has there")
        # SDXL reads both towers before the last block, and without the final norm.
        towers.append(TextTower(tower, projection, skip=int(is_xl), final_norm=not is_xl))
    return tuple(towers)


def _read_schedule(document: Mapping[str, Any]) -> tuple[Any, Any, OwnSampling]:
    """The schedule, the target and the walk; latents are never clipped, whatever the file says."""
    schedule, prediction = read_schedule(document)
    if prediction not in ("eps", "v"):
        raise WeightsError(f"{SCHEDULER} predicts {prediction!r}, expected 'epsilon' or 'v'")
    unclipped = {**document, "clip_sample": False, "thresholding": False}
    return schedule, prediction, read_own_sampling(unclipped)


def _walk(own: OwnSampling, is_xl: bool) -> OwnSampling:
    """The walk of the pipeline: those of Stable Diffusion 1 and 2 begin at time 1 in any case."""
    return own if is_xl or own.spacing != "leading" else replace(own, offset=1)


def _check_task(folder: Path, kind: str, config: LatentConfig) -> None:
    if (kind == INSTRUCT) != (config.task == "instruct"):
        raise WeightsError(
            f"'{folder}' is a {kind}, but its UNet takes {config.unet.in_channels} channels: "
            f"expected {8 if kind == INSTRUCT else '4 or 9'}"
        )


def _read(folder: Path, read: Callable[[Mapping[str, Any]], T], name: str = CONFIG_NAME) -> T:
    document = read_json(folder, name)
    with named(folder):
        return read(document)


def write(path: str | Path, weights: LatentWeights) -> Path:
    """Writes the folder of a pipeline, which diffusers opens.

    Raises `WeightsError` for a model that diffusers' classes cannot be, and for one without its
    tokenizers.
    """
    config, params, tokenizers, prefixed = weights
    count = len(config.texts)
    if len(tokenizers) != count:
        raise WeightsError("diffusers' folders hold tokenizers, and this model has none: give one")
    if count > len(_TEXTS) or (count > 1 and config.task != "text"):
        raise WeightsError(
            f"diffusers has no pipeline of {count} text towers for the task '{config.task}'"
        )
    tables = table(config, prefixed)
    documents = {
        INDEX: _index(config),
        f"unet/{CONFIG_NAME}": latent_unet.write_config(config.unet, config.latent_size),
        f"vae/{CONFIG_NAME}": latent_autoencoder.write_config(
            config.autoencoder, config.image_size
        ),
        f"scheduler/{SCHEDULER}": _write_schedule(config),
    }
    tensors: dict[str, dict[str, np.ndarray]] = {
        f"unet/{NETWORK}": export_params(tables["unet"], params["unet"]),
        f"vae/{NETWORK}": export_params(tables["vae"], params["autoencoder"]),
    }
    files: dict[str, bytes] = {}
    for tower, tree, one, folder, beside in zip(
        config.texts, params["texts"], tokenizers, _TEXTS, _TOKENIZERS, strict=False
    ):
        documents[f"{folder}/{CONFIG_NAME}"] = latent_text.write_config(tower)
        tensors[f"{folder}/{WEIGHTS_NAME}"] = export_params(tables[folder], tree)
        files |= {f"{beside}/{name}": content for name, content in one.files().items()}
    files |= {name: json_bytes(document) for name, document in documents.items()}
    # Without the metadata transformers refuses the files.
    return write_folder(path, files, tensors, {"format": "pt"})


def table(config: LatentConfig, prefixed: bool = True) -> dict[str, Table]:
    """The names in each component's folder; prefixed: see `LatentWeights.text_prefix`."""
    texts = {
        folder: latent_text.transformers_table(prefixed or tower.projection_dim is not None)
        for folder, tower in zip(_TEXTS, config.texts, strict=False)
    }
    return {
        "unet": latent_unet.table(config.unet, "diffusers"),
        "vae": latent_autoencoder.table(config.autoencoder, "diffusers"),
        **texts,
    }


def _index(config: LatentConfig) -> dict[str, Any]:
    is_xl = len(config.texts) > 1
    of_task = {"text": TEXT_TO_IMAGE, "inpaint": INPAINT, "instruct": INSTRUCT}
    document: dict[str, Any] = {
        "_class_name": XL if is_xl else of_task[config.task],
        "unet": ["diffusers", latent_unet.UNET],
        "vae": ["diffusers", latent_autoencoder.AUTOENCODER],
        "scheduler": ["diffusers", _write_schedule(config)["_class_name"]],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    for tower, folder, beside in zip(config.texts, _TEXTS, _TOKENIZERS, strict=False):
        kind = latent_text.PLAIN if tower.projection_dim is None else latent_text.PROJECTED
        document |= {folder: ["transformers", kind], beside: ["transformers", "CLIPTokenizer"]}
    if is_xl:
        return document | {"force_zeros_for_empty_prompt": config.zero_null}
    return document | {"safety_checker": [None, None], "requires_safety_checker": False}


def _write_schedule(config: LatentConfig) -> dict[str, Any]:
    """A scheduler that walks as the model does: DDIM to time 0, Euler's to the clean latents."""
    document = write_schedule(config.schedule, config.prediction, False, config.sampling)
    if config.sampling.ends_clean:
        for name in ("clip_sample", "clip_sample_range", "variance_type"):
            document.pop(name)
        document["_class_name"] = "EulerDiscreteScheduler"
    return document


def _matches(path: Path) -> bool:
    return (path / INDEX).is_file() and "vae" in read_json(path, INDEX)


def _read_all(path: Path, reading: Reading) -> LatentWeights:
    config, sources = read_configs(path, reading)
    opened = {
        part: source if source.tensors else source._replace(tensors=open_tensors(source.path))
        for part, source in sources.items()
    }
    if reading.latent.tokenizers:
        tokenizers = choose_tokenizers(config, reading.latent.tokenizers)
    else:
        tokenizers = tuple(
            load_tokenizer(path / name, tower.tower.context_length)
            for name, tower in zip(_TOKENIZERS, config.texts, strict=False)
        )
    config, preview = read_preview(config, reading)
    params = fill_parts(config, opened, reading)
    if preview is not None:
        params = {**params, "preview": preview}
    return LatentWeights(
        config, params, tokenizers, latent_text.is_prefixed(opened["texts/0"].tensors)
    )


def _tables(config: LatentConfig) -> Tables:
    return table(config)


LAYOUT: Layout[LatentConfig, LatentWeights] = Layout(
    "diffusers", f"'{INDEX}' with a 'vae'", _matches, _read_all, _tables, write
)
