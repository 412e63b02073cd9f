"""Stage `latent`: learn to denoise latents given texts, from nothing or from a latent model.

Rombach et al. 2022, arXiv 2112.10752, eq. 3: the noise loss (`diffusion.losses`) on latents, with
the states of a frozen text tower as context; some texts are left out, for guidance. The whole UNet
learns, or changes of low rank in its kernels (`models.lora`).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.clip.outline import outline_clip
from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.blank import Blank
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source, require_captions
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.data.transforms import draw_caption, prepare
from clipdiff_jax.diffusion.losses import NoiseLoss, Weighting
from clipdiff_jax.diffusion.prediction import Cond
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.load import load_latent, save_latent
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.latent.outline import outline_latent
from clipdiff_jax.latent.stages.latents import stored_latents
from clipdiff_jax.latent.texts import Embedded, encode
from clipdiff_jax.models import autoencoder
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.latent import SCALED_LINEAR, WALK, LatentConfig, TextTower, init_unet
from clipdiff_jax.models.lora import init_lora, merged
from clipdiff_jax.models.pixel import OwnSampling
from clipdiff_jax.models.unet_config import UNetConfig
from clipdiff_jax.training.left_out import check_share, leave_out
from clipdiff_jax.training.stage import Aux, Batch, Captioned, Stage, StageConfig
from clipdiff_jax.weights.layouts.latent_ours import read_autoencoder
from clipdiff_jax.weights.layouts.latent_parts import save_lora
from clipdiff_jax.weights.params import blank_of

ATTENTION = "attn.*/blocks/(self|cross)_(q|k|v|out)/kernel"


@dataclass(frozen=True, kw_only=True)
class LatentStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: pictures with captions.
      start: the latent model to fine-tune, as `load_latent` takes it; None starts from random
        parameters, and then the next eight say of what.
      unet: the network.
      autoencoder: a folder of ours (or its run) with an autoencoder or a latent model.
      clip: the model whose text tower is taken, as `load_clip` takes it.
      image_size: side of the pictures in pixels.
      schedule, prediction, guidance, sampling: see `LatentConfig`.
      lora: rank of the changes of low rank that are trained in place of `start`'s UNet; None trains
        that itself.
      lora_kernels: which kernels they change, a regex over paths; by default those of attention.
      latents: folder of the data's latents, computed and written where it is not there yet; None
        encodes the pictures in each step.
      drop_text: the share of captions that is left out.
      weighting: of the noise loss over time, see `diffusion.losses`.
      dtype: what the networks compute in; trained parameters stay float32.
      export_dtype: what the exported parameters are stored in.
      preview_count, preview_steps: of the samples in the log, of the data's first captions.
    """

    data: DataConfig
    start: str | None = None
    unet: UNetConfig | None = None
    autoencoder: str | None = None
    clip: str = "demo"
    image_size: int = 512
    schedule: DiscreteSchedule = SCALED_LINEAR
    prediction: Literal["eps", "v"] = "eps"
    guidance: float = 7.5
    sampling: OwnSampling = WALK
    lora: int | None = None
    lora_kernels: str = ATTENTION
    latents: str | None = None
    drop_text: float = 0.1
    weighting: Weighting = "uniform"
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"
    preview_count: int = 8
    preview_steps: int = 25

    def __post_init__(self) -> None:
        check_share("drop_text", self.drop_text)
        new = [name for name in ("unet", "autoencoder") if getattr(self, name) is not None]
        if self.start is not None and new:
            raise ValueError(f"start '{self.start}' and {new[0]} are both given, expected one")
        if self.start is None and len(new) < 2:
            raise ValueError("give `start`, or both `unet` and `autoencoder`")
        if self.lora is not None:
            whole_number("lora", self.lora, low=1)
            if self.start is None:
                raise ValueError(f"lora={self.lora} changes a model: give `start`")

    def build(self, *, only_shapes: bool = False) -> Stage:
        source, model = open_source(self.data), initial_model(self)
        if self.latents is None or only_shapes:
            return make_stage(self, source, model)
        stored = stored_latents(self.latents, source, model.codec, model.config.image_size)
        return make_stage(self, stored, model)

    def outline(self) -> Stage:
        model = _outlined(self)
        side, channels = model.config.latent_size, model.config.autoencoder.latent_channels
        latent = None if self.latents is None else (side, side, channels)
        return make_stage(self, Blank(model.config.image_size, latent=latent), model)


def initial_model(config: LatentStage) -> LatentDiffusion:
    """What is trained, before it is; `unet` is None where it starts from random parameters.

    Raises `ValueError` where the parts do not fit, and what loading them raises.
    """
    dtype = as_dtype(config.dtype)
    if config.start is not None:
        return load_latent(config.start, dtype=dtype, param_dtype=jnp.float32)
    assert config.autoencoder is not None
    network, params = read_autoencoder(config.autoencoder)
    return _described(config, network, params, load_clip(config.clip))


def _outlined(config: LatentStage) -> LatentDiffusion:
    """`initial_model` where neither `start` nor CLIP nor the autoencoder need be here; of an
    autoencoder that is not, the published shape with as many channels is taken. Parameters are
    shapes."""
    if config.start is not None:
        return outline_latent(config.start, dtype=as_dtype(config.dtype))
    assert config.unet is not None
    wanted = config.unet.context_width
    clip = outline_clip(config.clip, lambda one: one.text.width == wanted, as_dtype(config.dtype))
    if config.autoencoder is not None and Path(config.autoencoder).exists():
        network = read_autoencoder(config.autoencoder)[0]
    else:
        network = AutoencoderConfig(latent_channels=config.unet.out_channels)
    shapes = jax.eval_shape(partial(autoencoder.init_params, network), jax.random.key(0))
    return _described(config, network, blank_of(shapes), clip)


def _described(
    config: LatentStage, network: AutoencoderConfig, params: Params, clip: Clip
) -> LatentDiffusion:
    """The model that a config describes, of these parts."""
    assert config.unet is not None
    tower = TextTower(clip.config.text, clip.config.projection_dim)
    described = LatentConfig(
        unet=config.unet,
        autoencoder=network,
        texts=(tower,),
        image_size=config.image_size,
        schedule=config.schedule,
        prediction=config.prediction,
        guidance=config.guidance,
        sampling=config.sampling,
    )
    texts, tokenizers = (clip.params["text"],), (clip.tokenizer,)
    dtype = as_dtype(config.dtype)
    return LatentDiffusion(described, None, params, texts, tokenizers, dtype=dtype)


def make_stage(config: LatentStage, source: DataSource, model: LatentDiffusion) -> Stage:
    """The stage over a given source and model; those of `config` are not looked at.

    Examples with a `"latent"` are taken by it; pictures are encoded. Raises `ValueError` where the
    data has no captions, and for a model of another task than text.
    """
    described, dtype = model.config, model.dtype
    first = source[0]
    require_captions(source, "train on", type(config.data).__name__)
    if described.task != "text":
        raise ValueError(f"the model's task is '{described.task}', this stage trains on text alone")
    empty = tuple(_tokens(model.tokenizers, [""]))
    frozen: Params = {"texts": model.texts}
    if "latent" not in first:
        frozen["codec"] = model.codec
    # On the host: what a run starts from is given up to it, and the model is the caller's.
    unet = None if model.unet is None else jax.device_get(model.unet)
    if config.lora is not None:
        frozen["unet"] = unet
    transform = _Transform(described.image_size, model.tokenizers)
    noise_loss = NoiseLoss(described.schedule, described.prediction, config.weighting)

    def texts_of(frozen: Params, batch: Batch, left_out: Array) -> Embedded:
        shown = tuple(batch[f"tokens_{i}"] for i in range(len(empty)))
        ids: Any = leave_out(left_out, shown, empty)
        states = encode(described.texts, frozen["texts"], ids, dtype)
        if not described.zero_null:
            return states
        return leave_out(left_out, states, jax.tree.map(lambda a: jnp.zeros_like(a[:1]), states))

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        x0 = batch["latent"] if "latent" in batch else frozen["codec"].encode(batch["image"])
        time_key, noise_key, text_key, dropout_key = jax.random.split(key, 4)
        left_out = jax.random.bernoulli(text_key, config.drop_text, x0.shape[:1])
        if config.lora is not None:
            params = merged(frozen["unet"], params)
        denoiser = Denoiser(described, params, dtype)
        cond = denoiser.condition(
            texts_of(frozen, batch, left_out), denoiser.time_ids(*x0.shape[:3])
        )
        t, eps = noise_loss.draw(x0, time_key, noise_key)

        def network(x_t: Array, t: Array, cond: Cond) -> Array:
            return denoiser.apply(x_t, t, cond, dropout_key=dropout_key)

        value, metrics = noise_loss(network, x0, t, eps, cond)
        return value, Aux(metrics)

    def trained(params: Params) -> LatentDiffusion:
        if config.lora is not None:
            params = merged(unet, params)
        return LatentDiffusion(
            described, params, model.autoencoder, model.texts, model.tokenizers, model.preview,
            dtype,
        )  # fmt: skip

    def preview(params: Params, frozen: Params, key: Key[Array, ""]) -> dict[str, Captioned]:
        del frozen
        captions = [source[i % len(source)]["captions"][0] for i in range(config.preview_count)]
        options: dict[str, Any] = {"key": key, "steps": config.preview_steps}
        drawn = trained(params).generate(captions, **options)
        return {"samples": Captioned(drawn, captions)}

    def export(path: Path, params: Params) -> None:
        stored = as_dtype(config.export_dtype)
        if config.lora is None:
            save_latent(path, trained(params), dtype=stored)
        else:
            save_lora(path, described, params, config.start or "", stored)

    def init(key: Key[Array, ""]) -> Params:
        if config.lora is None:
            return init_unet(described, key)
        shapes = jax.eval_shape(partial(init_unet, described), key)
        return init_lora(shapes, config.lora, key, config.lora_kernels)

    return Stage(
        init=init,
        loss=loss,
        source=source,
        transform=transform,
        frozen=frozen,
        start=unet if config.lora is None else None,
        preview=preview,
        export=export,
    )


class _Transform:
    """An example -> its latent or image, and the ids of one of its captions for each tower."""

    def __init__(self, size: int, tokenizers: tuple[Tokenizer, ...]) -> None:
        self._image, self._tokenizers = prepare(size), tokenizers

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        ids = _tokens(self._tokenizers, [draw_caption(example, rng)])
        batch = {f"tokens_{i}": rows[0] for i, rows in enumerate(ids)}
        if "latent" in example:
            return batch | {"latent": example["latent"]}
        return batch | self._image(example, rng)


def _tokens(tokenizers: tuple[Tokenizer, ...], texts: list[str]) -> list[np.ndarray]:
    return [tokenizer(texts) for tokenizer in tokenizers]
