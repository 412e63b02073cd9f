"""The networks of an unCLIP, each with what it was trained with: configs, shapes and samplers.

Ramesh et al. 2022, arXiv 2204.06125. A stage is a config here and a parameter pytree elsewhere;
the functions below are pure and know nothing of files. Each runs its stage from noise to the end:

    text --encode_texts--> TextFeatures --run_prior--> CLIP image embedding
        --run_decoder--> small image --run_upsampler--> large image
"""

import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.diffusion.guidance import classifier_free, clip_x0
from clipdiff_jax.diffusion.karlo import KarloSchedule, karlo_step
from clipdiff_jax.diffusion.prediction import Denoise, make_denoise
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.models.clip import (
    CLIPConfig,
    TextConfig,
    TextTransformer,
    VisionTransformer,
    VisionTransformerConfig,
    end_of_text,
    normalise,
)
from clipdiff_jax.models.decoder_conditioning import (
    DecoderConditioning,
    DecoderConditioningConfig,
)
from clipdiff_jax.models.diffusion_prior import DiffusionPrior, DiffusionPriorConfig
from clipdiff_jax.models.unet import UNet, UNetConfig
from clipdiff_jax.pipelines.clip import preprocess

Dtype = Any


class Noise(NamedTuple):
    """What a sampler draws: `start` [B, ...] at the noisiest time and `steps` [S, B, ...]."""

    start: Array
    steps: Array


class TextFeatures(NamedTuple):
    """What the text tower of CLIP says of B texts of T tokens."""

    embedding: Float[Array, "b d"]
    hidden: Float[Array, "b t w"]
    mask: Bool[Array, "b t"]  # True up to the end-of-text token


@dataclass(frozen=True)
class TextEncoder:
    """CLIP's text tower and the width of its projected embedding."""

    tower: TextConfig = field(default_factory=TextConfig)
    embedding_width: int = 768


@dataclass(frozen=True)
class ImageEncoder:
    """CLIP's image tower, the width of its projected embedding and how its pixels are normalised"""

    tower: VisionTransformerConfig = field(default_factory=VisionTransformerConfig)
    embedding_width: int = 768
    mean: tuple[float, float, float] = CLIPConfig.image_mean
    std: tuple[float, float, float] = CLIPConfig.image_std


@dataclass(frozen=True)
class Prior:
    """The network predicts x0, a normalised embedding, kept within `bound`."""

    network: DiffusionPriorConfig = field(default_factory=DiffusionPriorConfig)
    schedule: KarloSchedule = field(default_factory=KarloSchedule)
    bound: float = 5.0


@dataclass(frozen=True)
class Decoder:
    """The network predicts eps and its variance for images of side `image_size`."""

    network: UNetConfig
    conditioning: DecoderConditioningConfig = field(default_factory=DecoderConditioningConfig)
    image_size: int = 64
    schedule: KarloSchedule = field(default_factory=KarloSchedule)
    bound: float = 1.0


@dataclass(frozen=True)
class Upsampler:
    """Two networks alike predict eps from [x_t, enlarged image]; the second takes the last step."""

    network: UNetConfig
    image_size: int = 256
    schedule: KarloSchedule = field(default_factory=KarloSchedule)
    bound: float = 1.0


StageConfig = TextEncoder | ImageEncoder | Prior | Decoder | Upsampler

# Configs and dtypes are part of the program; all else is data.
_compiled = functools.partial(jax.jit, static_argnums=(0, 1))


def init_params(config: StageConfig, key: Array) -> dict[str, Any]:
    """New parameters (float32) of one stage, by the name of each of its networks."""
    t = jnp.zeros((1,), jnp.int32)
    if isinstance(config, TextEncoder):
        ids = jnp.zeros((1, config.tower.context_length), jnp.int32)
        return {"text": _text(config).init(key, ids)["params"]}
    if isinstance(config, ImageEncoder):
        size = config.tower.image_size
        return {"vision": _vision(config).init(key, jnp.zeros((1, size, size, 3)))["params"]}
    if isinstance(config, Prior):
        c = config.network
        text = _features(c.text_length, c.embedding_width)._asdict()
        prior = DiffusionPrior(c).init(key, jnp.zeros((1, c.embedding_width)), t, text)
        return {"prior": prior["params"]}
    if isinstance(config, Decoder):
        width = config.conditioning.embedding_width
        conditioning = DecoderConditioning(config.conditioning)
        cond, params = conditioning.init_with_output(
            key, jnp.zeros((1, width)), *_features(1, width)
        )
        x = _image(config.network)
        unet = UNet(config.network).init(jax.random.fold_in(key, 1), x, t, cond)
        return {"conditioning": params["params"], "unet": unet["params"]}
    x = _image(config.network)
    first, last = (UNet(config.network).init(k, x, t)["params"] for k in jax.random.split(key))
    return {"first": first, "last": last}


@_compiled
def encode_texts(
    config: TextEncoder, dtype: Dtype, params: Any, ids: Int[Array, "b t"]
) -> TextFeatures:
    """Token ids -> the features of the texts."""
    embedding, hidden = _text(config, dtype).apply({"params": params["text"]}, ids)
    end = end_of_text(ids, config.tower.eos_token_id)
    mask = jnp.arange(ids.shape[1]) <= end[:, None]
    return TextFeatures(embedding.astype(jnp.float32), hidden.astype(jnp.float32), mask)


@_compiled
def encode_images(
    config: ImageEncoder, dtype: Dtype, params: Any, images: Float[Array, "b h w 3"]
) -> Float[Array, "b d"]:
    """Images in [-1, 1] of any size -> embeddings as projected, not normalised."""
    clip = CLIPConfig(config.tower, image_mean=config.mean, image_std=config.std)
    pixels = normalise(preprocess(images, config.tower.image_size), clip)
    return _vision(config, dtype).apply({"params": params["vision"]}, pixels).astype(jnp.float32)


@_compiled
def run_prior(
    config: Prior,
    dtype: Dtype,
    params: Any,
    text: TextFeatures,
    empty: TextFeatures,
    guidance: Float[Array, "..."],
    times: Int[Array, " steps_plus_1"],
    noise: Noise,
) -> Float[Array, "b d"]:
    """Texts -> CLIP image embeddings, not normalised (section 2.2). `empty`: of the text ""."""
    network: Any = DiffusionPrior(config.network, dtype=dtype)
    variables = {"params": params["prior"]}
    predict = functools.partial(network.apply, variables)
    denoise = classifier_free(
        make_denoise(predict, config.schedule, "x0"), empty._asdict(), guidance
    )
    z = _walk(config, denoise, "small", times, text._asdict(), noise)
    return network.apply(variables, z, method="restore")


@_compiled
def run_decoder(
    config: Decoder,
    dtype: Dtype,
    params: Any,
    embedding: Float[Array, "b d"],
    text: TextFeatures,
    empty: TextFeatures,
    guidance: Float[Array, "..."],
    times: Int[Array, " steps_plus_1"],
    noise: Noise,
) -> Float[Array, "b h w 3"]:
    """CLIP image embeddings, and texts beside them -> small images in [-1, 1] (section 2.1)."""
    conditioning: Any = DecoderConditioning(config.conditioning, dtype=dtype)
    variables = {"params": params["conditioning"]}
    cond = conditioning.apply(variables, embedding, *text)
    null = conditioning.apply(variables, *empty, method="unconditional")
    unet: Any = UNet(config.network, dtype=dtype)
    network = functools.partial(unet.apply, {"params": params["unet"]})
    denoise = make_denoise(network, config.schedule, "eps", learned_variance=True)
    denoise = classifier_free(denoise, null, guidance)
    return jnp.clip(_walk(config, denoise, "learned", times, cond, noise), -1, 1)


@_compiled
def run_upsampler(
    config: Upsampler,
    dtype: Dtype,
    params: Any,
    images: Float[Array, "b h w 3"],
    times: Int[Array, " steps_plus_1"],
    noise: Noise,
) -> Float[Array, "b size size 3"]:
    """Small images in [-1, 1] -> large ones, no guidance; the last step is the second network's."""
    size = config.image_size
    enlarged = jax.image.resize(images, (len(images), size, size, 3), "cubic", antialias=True)
    unet: Any = UNet(config.network, dtype=dtype)

    def denoise_by(name: str) -> Denoise:
        def network(x_t: Array, t: Array, low: Array) -> Array:
            x = jnp.concatenate([x_t, low.astype(x_t.dtype)], axis=-1)
            return unet.apply({"params": params[name]}, x, t)

        return make_denoise(network, config.schedule, "eps")

    start, steps = noise
    x = _walk(config, denoise_by("first"), "small", times[:-1], enlarged, Noise(start, steps[:-1]))
    x = _walk(config, denoise_by("last"), "small", times[-2:], enlarged, Noise(x, steps[-1:]))
    return jnp.clip(x, -1, 1)


def _walk(
    config: Prior | Decoder | Upsampler,
    denoise: Denoise,
    variance: Any,
    times: Array,
    cond: Any,
    noise: Noise,
) -> Array:
    bounded = clip_x0(denoise, config.schedule, config.bound)
    step = karlo_step(config.schedule, variance)
    return sample(bounded, step, times, noise.start, cond, None, noise=noise.steps)


def _text(config: TextEncoder, dtype: Dtype = None) -> Any:
    return TextTransformer(config.tower, config.embedding_width, dtype=dtype)


def _vision(config: ImageEncoder, dtype: Dtype = None) -> Any:
    return VisionTransformer(config.tower, config.embedding_width, dtype=dtype)


def _features(length: int, width: int) -> TextFeatures:
    shape = (1, length)
    return TextFeatures(jnp.zeros((1, width)), jnp.zeros((*shape, width)), jnp.ones(shape, bool))


def _image(config: UNetConfig) -> Array:
    return jnp.zeros((1, config.stride, config.stride, config.in_channels))
