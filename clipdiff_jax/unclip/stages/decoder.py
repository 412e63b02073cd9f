"""Stage `decoder`: learn to draw small images of CLIP image embeddings and captions.

Ramesh et al. 2022, arXiv 2204.06125, section 2.1: the noise loss of an image given its own CLIP
image embedding, which is left out of some examples, and its caption, which is left out of more.
The network can start from an unconditional model of the same UNet: what looks at the conditioning
is then new.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.clip.outline import outline_clip
from clipdiff_jax.core.compilation import jit_once
from clipdiff_jax.core.config import formerly
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.blank import Blank
from clipdiff_jax.data.embeddings import Embeddings, EmbeddingsData, open_embeddings
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source, require_captions
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.data.transforms import draw_caption, first_examples, prepare
from clipdiff_jax.diffusion.losses import Weighting
from clipdiff_jax.models.clip import CLIPConfig
from clipdiff_jax.models.unclip import Decoder, init_params
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.training.left_out import check_share, leave_out
from clipdiff_jax.training.stage import Aux, Batch, Captioned, Stage, StageConfig
from clipdiff_jax.unclip.decoder import DecoderModel, Shown
from clipdiff_jax.unclip.load import read_part
from clipdiff_jax.unclip.stages.noise import noise_loss_of, preview_walk
from clipdiff_jax.unclip.towers import towers
from clipdiff_jax.weights.layouts.unclip_ours import write_part
from clipdiff_jax.weights.params import fingerprint, take_fitting

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DecoderStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: images with captions.
      clip: the model whose embeddings are decoded, as `load_clip` takes it.
      embeddings: folder of embeddings of the same data, see `clipdiff embed`; None
        computes them in each step, of the images as the network sees them.
      model: network, conditioning and schedule.
      start: unCLIP to start from, as `load_unclip` takes it; its network may lack the last stage at
        full resolution (`refine_channels`), which then starts from random parameters. None starts
        from random parameters.
      start_base: unconditional diffusion model to start the network from, as `load_diffusion`
        takes it; parameters are taken where path and shape agree.
      flip: mirror half of the images; their stored embeddings stay those of the unmirrored.
      drop_image: the share of images whose embedding is left out.
      drop_text: the share of captions replaced by "".
      weighting: of the noise loss over time, see `diffusion.losses`.
      vlb_weight: of the variational bound, in units of T / 1000; for networks that learn variance.
      dtype: what the networks compute in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
      preview_count, preview_steps, preview_guidance: of the samples in the log, decoded from the
        embeddings of the data's first images, which the log shows too.
    """

    data: DataConfig
    model: Decoder
    clip: str = "demo"
    embeddings: str | None = formerly(None, {"": None})
    start: str | None = formerly(None, {"": None})
    start_base: str | None = formerly(None, {"": None})
    flip: bool = False
    drop_image: float = 0.1
    drop_text: float = 0.5
    weighting: Weighting = "uniform"
    vlb_weight: float = 1.0
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"
    preview_count: int = 8
    preview_steps: int = 50
    preview_guidance: float = 2.0

    def __post_init__(self) -> None:
        check_share("drop_image", self.drop_image)
        check_share("drop_text", self.drop_text)
        if self.start and self.start_base:
            raise ValueError(
                f"start '{self.start}' and start_base '{self.start_base}' are both given, "
                "expected one"
            )

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self)

    def outline(self) -> Stage:
        stored = self.model.conditioning.embedding_width if self.embeddings else None
        clip = outline_clip(self.clip, lambda clip: _fits(self.model, clip), as_dtype(self.dtype))
        source = Blank(self.model.image_size, embedding=stored)
        return make_stage(replace(self, start=None, start_base=None), source, clip)


def build(config: DecoderStage) -> Stage:
    """Opens data and CLIP and joins them with network, schedule and loss.

    Raises `ValueError` where CLIP's widths are not the network's, the data has no captions, the
    embeddings are of other data or another CLIP, or `start` holds another network, and what opening
    the data and loading the models raises.
    """
    source = data = open_source(config.data)
    clip = load_clip(config.clip)
    if config.embeddings:
        stored = open_embeddings(EmbeddingsData(config.embeddings))
        source = _WithEmbeddings(data, stored, fingerprint(clip.params))
    require_captions(data, "train a decoder on", type(config.data).__name__)
    return make_stage(config, source, clip)


def make_stage(config: DecoderStage, source: DataSource, clip: Clip) -> Stage:
    """The stage over a given source and CLIP; those of `config` are not looked at.

    Examples with an `"embedding"` are taken by it; of others it is computed.
    """
    model, dtype = config.model, as_dtype(config.dtype)
    first = source[0]
    require_captions(source, "train a decoder on", type(config.data).__name__)
    _check_widths(model, clip)
    empty = clip.tokenizer([""])[0]
    start = _start(config)
    text_tower, image_tower = towers(clip, dtype)
    frozen: Params = {"text": text_tower}
    if "embedding" not in first:
        frozen["image"] = image_tower
    transform = _Transform(model.image_size, config.flip, clip.tokenizer.silent)
    shown = first_examples(source, transform, config.preview_count)
    captions = [  # those that the transform drew
        draw_caption(source[i % len(source)], np.random.default_rng(i))
        for i in range(config.preview_count)
    ]

    def embeddings(frozen: Params, batch: Batch) -> Array:
        if "embedding" in batch:
            return batch["embedding"]
        return frozen["image"].embed(batch["image"])

    noise_loss = noise_loss_of(model, config.weighting, config.vlb_weight)

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        x0 = batch["image"]
        keys = jax.random.split(key, 5)
        with_image = jax.random.bernoulli(keys[0], 1 - config.drop_image, x0.shape[:1])
        with_text = jax.random.bernoulli(keys[1], 1 - config.drop_text, x0.shape[:1])
        tokens = leave_out(~with_text, batch["tokens"], jnp.asarray(empty)[None])
        text, z = frozen["text"].encode(tokens), embeddings(frozen, batch)
        decoder = DecoderModel(model, params, dtype)
        cond = decoder.condition(z, text, with_image)
        t, eps = noise_loss.draw(x0, keys[2], keys[3])
        network = partial(decoder.apply, dropout_key=keys[4])
        value, metrics = noise_loss(network, x0, t, eps, cond)
        return value, Aux(metrics)

    def preview(
        params: Params, frozen: Params, key: Key[Array, ""]
    ) -> dict[str, Array | Captioned]:
        batch = jax.tree.map(jnp.asarray, shown)
        tokens, decoder = batch["tokens"], DecoderModel(model, params, dtype)
        nothing = jnp.broadcast_to(jnp.asarray(empty), tokens.shape)
        texts = [frozen["text"].encode(ids) for ids in (tokens, nothing)]
        shape, steps = batch["image"].shape, config.preview_steps
        walk = preview_walk(model, steps, "linspace", config.preview_guidance, key, shape)
        samples = decoder.draw(Shown(embeddings(frozen, batch), *texts), walk, sampler="ddim")
        return {"samples": Captioned(samples, captions), "originals": batch["image"]}

    def export(path: Path, params: Params) -> None:
        of, stored = fingerprint(clip.params), as_dtype(config.export_dtype)
        write_part(path, model, params, clip=of, dtype=stored)

    return Stage(
        init=partial(init_params, model),
        loss=loss,
        source=source,
        transform=transform,
        frozen=frozen,
        start=start,
        preview=preview,
        export=export,
    )


class _WithEmbeddings:
    """A source whose examples also have their stored `"embedding"`."""

    def __init__(self, source: DataSource, stored: Embeddings, clip: str) -> None:
        found, wanted = (stored.info.data, stored.info.clip), (source.fingerprint, clip)
        if found != wanted:
            raise ValueError(
                "the embeddings are of data {} and CLIP {}, expected {} and {}: embed the data "
                "again".format(*found, *wanted)
            )
        self._source, self._stored = source, stored
        self.fingerprint = stored.fingerprint

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._source[index] | {"embedding": self._stored[index]["embedding"]}


class _Transform:
    """An example -> its image, the token ids of one of its captions, its embedding; pickles."""

    def __init__(self, size: int, flip: bool, tokenizer: Tokenizer) -> None:
        self._image, self._tokenizer = prepare(size, flip), tokenizer

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        tokens = self._tokenizer([draw_caption(example, rng)])[0]
        batch = self._image(example, rng) | {"tokens": tokens}
        return batch | {k: example[k] for k in ("embedding",) if k in example}


def _check_widths(model: Decoder, clip: Clip) -> None:
    for name, (found, wanted) in _widths(model, clip.config).items():
        if found != wanted:
            raise ValueError(f"model.conditioning.{name} is {found}, but CLIP's is {wanted}")


def _fits(model: Decoder, clip: CLIPConfig) -> bool:
    return all(found == wanted for found, wanted in _widths(model, clip).values())


def _widths(model: Decoder, clip: CLIPConfig) -> dict[str, tuple[int, int]]:
    """By name, what the network takes and what CLIP gives."""
    c, text = model.conditioning, clip.text
    claims = {
        "embedding_width": (c.embedding_width, clip.projection_dim),
        "hidden_width": (c.text_width, text.width),
    }
    if c.text_encoder is not None:
        del claims["hidden_width"]
        claims["text_encoder.context_length"] = (
            c.text_encoder.context_length,
            text.context_length,
        )
    return claims


def _start(config: DecoderStage) -> Params | None:
    """The parameters to start from; None for random ones."""
    model = config.model
    if config.start:
        loaded, params = read_part(config.start, "decoder")
        network = model.network
        if loaded.conditioning == model.conditioning:
            if loaded.network == network:
                return params
            if loaded.network == replace(network, refine_channels=None):
                return take_fitting(params, _fresh(model), config.start)[0]
        raise ValueError(f"'{config.start}' has the decoder {loaded}, not {model}")
    if not config.start_base:
        return None
    stored, fresh = load_diffusion(config.start_base).params, _fresh(model)
    unet, new = take_fitting(stored, fresh["unet"], config.start_base)
    logger.info(f"not in '{config.start_base}', so new: {', '.join(new)}")
    return fresh | {"unet": unet}


def _fresh(model: Decoder) -> Params:
    params: Params = jax.device_get(jit_once(partial(init_params, model))(jax.random.key(0)))
    return params
