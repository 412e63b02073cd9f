"""Reads Karlo from its own checkpoints: a folder with the five files of its release.

    decoder-ckpt-step=01000000-of-01000000.ckpt     improved-sr-ckpt-step=1.2M.ckpt
    prior-ckpt-step=01000000-of-01000000.ckpt       ViT-L-14_stats.th
    ViT-L-14.pt (OpenAI's CLIP)

and, since the release has its tokenizer in code, a folder `tokenizer/` of that CLIP. Schedules are
those of the pipeline published in diffusers, which bounds the prior's x0 by 5 (Karlo's code by 10).
"""

import functools
from pathlib import Path

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    PartConfig,
    Prior,
    TextEncoder,
    Upsampler,
    init_params,
)
from clipdiff_jax.weights.documents import named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import AnyPart, Layout, Reading, UnClipWeights, fill_params
from clipdiff_jax.weights.layouts import clip_openai, karlo_original, unet_guided
from clipdiff_jax.weights.layouts.unclip_ours import check_parts
from clipdiff_jax.weights.read import Tensors, open_tensors
from clipdiff_jax.weights.tables import Shape, Table

# Browsers keep `%3D` for the `=` of the names, hence patterns.
_FILES = {
    "clip": "ViT-*.pt",
    "prior": "prior-ckpt-*.ckpt",
    "statistics": "ViT-*_stats.th",
    "decoder": "decoder-ckpt-*.ckpt",
    "upsampler": "improved-sr-ckpt-*.ckpt",
}
_FILE_OF = {
    "text": "clip",
    "image": "clip",
    "prior": "prior",
    "decoder": "decoder",
    "upsampler": "upsampler",
}
_UPSAMPLES = 4  # from 64 to 256 px


def is_original_folder(path: str | Path) -> bool:
    """Whether `path` is a folder with Karlo's own decoder."""
    return any(Path(path).glob(_FILES["decoder"]))


def read_configs(folder: Path) -> dict[str, PartConfig]:
    """The configs of all parts, by name, from the shapes in the files.

    Raises `WeightsError` that names the file and what was expected of it.
    """
    files = {name: _find(folder, name) for name in _FILES}
    with named(files["clip"]):
        clip = clip_openai.infer_config(_shapes(files["clip"]))
        width = clip.projection_dim
        image = ImageEncoder(clip.vision, width)
    with named(files["prior"]):
        prior = karlo_original.infer_prior(_shapes(files["prior"]))
    with named(files["decoder"]):
        unet, conditioning = karlo_original.infer_decoder(_shapes(files["decoder"]))
        size = unet_guided.infer_size(unet)
        decoder = Decoder(unet, conditioning, size)
    with named(files["upsampler"]):
        unet = karlo_original.infer_upsampler(_shapes(files["upsampler"]))
        upsampler = Upsampler(unet, _UPSAMPLES * size, size)
    widths = {"prior": prior.embedding_width, "decoder": conditioning.embedding_width}
    for name, found in widths.items():
        if found != width:
            raise WeightsError(
                f"'{files[name]}' is made for embeddings of {found} numbers, "
                f"'{files['clip']}' has {width}"
            )
    return {
        "text": TextEncoder(clip.text, width),
        "image": image,
        "prior": Prior(prior),
        "decoder": decoder,
        "upsampler": upsampler,
    }


def table(config: PartConfig) -> Table:
    """The names of a part in its file."""
    if isinstance(config, Prior):
        return karlo_original.prior_table(config.network)
    if isinstance(config, Decoder):
        return karlo_original.decoder_table(config.network)
    if isinstance(config, Upsampler):
        return karlo_original.upsampler_table(config.network)
    return clip_openai.VISION_TRANSFORMER


def _read_part(folder: Path, name: str, config: PartConfig, param_dtype: DType | None) -> Params:
    file = _find(folder, _FILE_OF[name])
    tensors = _open(file)
    if name in ("text", "image"):  # one file for both, and for what neither has
        wanted = name == "image"
        tensors = {n: a for n, a in tensors.items() if n.startswith("visual.") == wanted}
        tensors.pop("logit_scale", None)
    if name == "prior":
        tensors |= _statistics(folder)
    with named(file):
        init = functools.partial(init_params, config)
        return fill_params(table(config), tensors, init, param_dtype)


def _statistics(folder: Path) -> Tensors:
    file = _find(folder, "statistics")
    tensors = open_tensors(file)
    if len(tensors) != len(karlo_original.STATISTICS):
        raise WeightsError(
            f"'{file}' holds {len(tensors)} tensors, expected a mean and a deviation"
        )
    return dict(zip(karlo_original.STATISTICS, tensors.values(), strict=True))


def _open(file: Path) -> Tensors:
    """Karlo's own files keep their tensors below `state_dict`, OpenAI's does not."""
    return open_tensors(file, "state_dict" if file.suffix == ".ckpt" else None, strip=False)


def _shapes(file: Path) -> dict[str, Shape]:
    return {name: array.shape for name, array in _open(file).items()}


def _find(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(_FILES[name]))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise WeightsError(f"expected one file '{_FILES[name]}' in '{folder}', found {listed}")
    return found[0]


def _read(path: Path, reading: Reading) -> UnClipWeights:
    configs = read_configs(path)
    check_parts(path, configs, reading.parts or ())
    text = configs["text"]
    assert isinstance(text, TextEncoder)
    tokenizer = load_tokenizer(path / "tokenizer", text.tower.context_length)
    wanted = [name for name in configs if reading.parts is None or name in reading.parts]
    dtype = reading.param_dtype
    parts: dict[str, tuple[AnyPart, Params]] = {
        name: (configs[name], _read_part(path, name, configs[name], dtype)) for name in wanted
    }
    return UnClipWeights(parts, tokenizer)


LAYOUT = Layout("karlo", f"'{_FILES['decoder']}'", is_original_folder, _read, table)
