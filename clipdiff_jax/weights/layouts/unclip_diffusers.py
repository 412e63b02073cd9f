"""Reads an unCLIP in diffusers' folder layout: `model_index.json` and one folder a component.

Two pipelines are published so, both by Karlo: text to image (`kakaobrain/karlo-v1-alpha`), and
image variations (`...-image-variations`), which has an image tower in place of the prior. All
configs are read, and compared with each other, before any array is.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Target
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    PartConfig,
    Prior,
    TextEncoder,
    Upsampler,
    init_params,
)
from clipdiff_jax.weights.documents import named, sample_size
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import read_config
from clipdiff_jax.weights.layout import Layout, Reading, Tables, UnClipWeights
from clipdiff_jax.weights.layouts import (
    clip_transformers,
    decoder_diffusers,
    prior_diffusers,
    unet_diffusers,
)
from clipdiff_jax.weights.layouts.image_processor import find_normalisation
from clipdiff_jax.weights.layouts.schedule_diffusers import read_scheduler
from clipdiff_jax.weights.layouts.unclip_ours import check_parts
from clipdiff_jax.weights.params import on_device
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import Table, import_params

INDEX = "model_index.json"
TEXT_TO_IMAGE, VARIATIONS = "UnCLIPPipeline", "UnCLIPImageVariationPipeline"
# The parts that each pipeline consists of; `tables` says which folders theirs are in.
_PARTS_OF = {
    TEXT_TO_IMAGE: ("text", "prior", "decoder", "upsampler"),
    VARIATIONS: ("text", "image", "decoder", "upsampler"),
}
Configs = dict[str, PartConfig]
T = TypeVar("T")


def is_unclip_folder(path: str | Path) -> bool:
    """Whether `path` is a folder of one of these pipelines (and not, say, an unconditional one)."""
    if not (Path(path) / INDEX).is_file():
        return False
    return read_config(path, INDEX).get("_class_name") in _PARTS_OF


def read_configs(folder: Path) -> Configs:
    """The configs of all parts in the folder, by name.

    Raises `WeightsError` that names the file and what was expected of it.
    """
    index = read_config(folder, INDEX)
    kind = index.get("_class_name")
    if kind not in _PARTS_OF:
        raise WeightsError(
            f"'{folder / INDEX}' describes {kind!r}, expected one of {', '.join(_PARTS_OF)}"
        )
    readers: dict[str, Callable[[Path], PartConfig]] = {
        "text": _read_text,
        "image": _read_image,
        "prior": _read_prior,
        "decoder": _read_decoder,
        "upsampler": _read_upsampler,
    }
    configs = {part: readers[part](folder) for part in _PARTS_OF[kind]}
    _check_together(folder, configs)
    return configs


def tables(config: PartConfig) -> dict[str, tuple[str, Table]]:
    """Of each network of a part: the folder its weights are in and the table of their names."""
    if isinstance(config, TextEncoder):
        return {"text": ("text_encoder", clip_transformers.TEXT_TABLE)}
    if isinstance(config, ImageEncoder):
        return {"vision": ("image_encoder", clip_transformers.VISION_TABLE)}
    if isinstance(config, Prior):
        return {"prior": ("prior", prior_diffusers.TABLE)}
    if isinstance(config, Decoder):
        return {
            "conditioning": ("text_proj", decoder_diffusers.CONDITIONING_TABLE),
            "unet": ("decoder", decoder_diffusers.table(config.network)),
        }
    names = unet_diffusers.table(config.network)
    return {"first": ("super_res_first", names), "last": ("super_res_last", names)}


def network_shapes(config: PartConfig) -> dict[str, Params]:
    """The parameters of each network of a part as `ShapeDtypeStruct`s, as its table takes them.

    Towers of CLIP keep their name as a branch: the table is that of both.
    """
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    towers = isinstance(config, (TextEncoder, ImageEncoder))
    return {name: {name: tree} if towers else tree for name, tree in shapes.items()}


def _read_part(folder: Path, config: PartConfig, param_dtype: DType | None) -> Params:
    params: dict[str, Params] = {}
    shapes = network_shapes(config)
    for name, (component, table) in tables(config).items():
        with named(folder / component):
            tensors = open_tensors(folder / component)
            tree = import_params(table, tensors, shapes[name], dtype=param_dtype, place=on_device)
        params |= tree if name in tree else {name: tree}
    return params


def _read_text(folder: Path) -> TextEncoder:
    def read(document: Mapping[str, Any]) -> TextEncoder:
        _check_tower(document, "CLIPTextModelWithProjection")
        tower = clip_transformers.read_text(document)
        return TextEncoder(tower, document.get("projection_dim", 512))

    return _read(folder / "text_encoder", read)


def _read_image(folder: Path) -> ImageEncoder:
    def read(document: Mapping[str, Any]) -> ImageEncoder:
        _check_tower(document, "CLIPVisionModelWithProjection")
        tower = clip_transformers.read_vision(document)
        return ImageEncoder(tower, document.get("projection_dim", 512))

    config = _read(folder / "image_encoder", read)
    pictures, size = folder / "feature_extractor", config.tower.image_size
    mean, std = find_normalisation(pictures, size, required=True)
    return replace(config, mean=mean, std=std)


def _check_tower(document: Mapping[str, Any], name: str) -> None:
    found = document.get("architectures") or [document.get("_class_name")]
    if name not in found:
        raise WeightsError(f"config.json describes {found[0]!r}, expected '{name}'")


def _read_prior(folder: Path) -> Prior:
    network = _read(folder / "prior", prior_diffusers.read_config)
    return Prior(network, *_scheduler(folder / "prior_scheduler", "x0", "small"))


def _read_decoder(folder: Path) -> Decoder:
    network = _read(folder / "decoder", decoder_diffusers.read_config)
    conditioning = _read(folder / "text_proj", decoder_diffusers.read_conditioning)
    size = _read(folder / "decoder", sample_size)
    schedule = _scheduler(folder / "decoder_scheduler", "eps", "learned")
    with named(folder / "decoder"):
        return Decoder(network, conditioning, size, *schedule)


def _read_upsampler(folder: Path) -> Upsampler:
    first, last = folder / "super_res_first", folder / "super_res_last"
    network, other = (_read(path, unet_diffusers.read_config) for path in (first, last))
    if network != other:
        raise WeightsError(f"'{last}' describes another network than '{first}', expected the same")
    schedule = _scheduler(folder / "super_res_scheduler", "eps", "small")
    low_size = _read(folder / "decoder", sample_size)
    with named(first):
        return Upsampler(network, _read(first, sample_size), low_size, *schedule)


def _scheduler(
    folder: Path, prediction: Target, variance: Literal["small", "learned"]
) -> tuple[KarloSchedule, float]:
    read = functools.partial(read_scheduler, prediction=prediction, variance=variance)
    return _read(folder, read, "scheduler_config.json")


def _read(folder: Path, read: Callable[[Mapping[str, Any]], T], name: str = "config.json") -> T:
    document = read_config(folder, name)
    with named(folder):
        return read(document)


def _check_together(folder: Path, configs: Configs) -> None:
    """Raises `WeightsError` where a component does not fit those it is joined with."""
    text, prior, image = configs["text"], configs.get("prior"), configs.get("image")
    decoder = configs["decoder"]
    assert isinstance(text, TextEncoder)
    assert isinstance(decoder, Decoder)
    width, joint = text.embedding_width, decoder.conditioning
    # (component, what of it, its value, what it must be, by what)
    claims: list[tuple[str, str, Any, Any, str]] = [
        ("text_encoder", "hidden_size", text.tower.width, width, "its projection_dim"),
        ("text_proj", "clip_embeddings_dim", joint.embedding_width, width, "text_encoder"),
    ]
    if isinstance(prior, Prior):
        length = text.tower.context_length
        claims += [
            ("prior", "embedding_dim", prior.network.embedding_width, width, "text_encoder"),
            ("prior", "num_embeddings", prior.network.text_length, length, "text_encoder"),
        ]
    if isinstance(image, ImageEncoder):
        claims.append(
            ("image_encoder", "projection_dim", image.embedding_width, width, "text_encoder")
        )
    for component, what, value, wanted, reason in claims:
        if value != wanted:
            raise WeightsError(
                f"'{folder / component}' has {what} {value}, expected {wanted} because of {reason}"
            )


def _matches(path: Path) -> bool:
    return (path / INDEX).is_file()


def _read_all(path: Path, reading: Reading) -> UnClipWeights:
    configs = read_configs(path)
    check_parts(path, configs, reading.parts or ())
    text = configs["text"]
    assert isinstance(text, TextEncoder)
    tokenizer = load_tokenizer(path / "tokenizer", text.tower.context_length)
    wanted = [name for name in configs if reading.parts is None or name in reading.parts]
    return UnClipWeights(
        {
            name: (configs[name], _read_part(path, configs[name], reading.param_dtype))
            for name in wanted
        },
        tokenizer,
    )


def _tables(config: PartConfig) -> Tables:
    return {name: table for name, (_, table) in tables(config).items()}


LAYOUT = Layout("diffusers", f"'{INDEX}'", _matches, _read_all, _tables)
