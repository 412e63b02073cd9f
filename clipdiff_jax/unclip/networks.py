"""What the stages of an unCLIP compute: parameters, conditioning and sampling.

Ramesh et al. 2022, arXiv 2204.06125. A stage is a config of `unclip_configs.py` and a parameter
pytree; the functions below are pure and know nothing of files. Each runs its stage from noise to
the end:

    text --encode_texts--> TextFeatures --run_prior--> CLIP image embedding
        --run_decoder--> small image --run_upsampler--> large image
"""

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from clipdiff_jax.clip.model import preprocess
from clipdiff_jax.diffusion.guidance import classifier_free, clip_x0, dynamic_threshold
from clipdiff_jax.diffusion.inversion import invert
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Denoise, make_denoise
from clipdiff_jax.diffusion.sampler import Multistep, Step, sample
from clipdiff_jax.diffusion.steps.analytic import analytic
from clipdiff_jax.diffusion.steps.ancestral import ancestral
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.diffusion.steps.dpm_solver import dpm_solver
from clipdiff_jax.diffusion.steps.karlo import karlo_step
from clipdiff_jax.models.clip import (
    CLIPConfig,
    end_of_text,
    normalise,
)
from clipdiff_jax.models.decoder_conditioning import DecoderConditioning
from clipdiff_jax.models.diffusion_prior import DiffusionPrior
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    Noise,
    Prior,
    Schedule,
    TextEncoder,
    TextFeatures,
    Upsampler,
    image_tower,
    networks_of,
    text_tower,
)
from clipdiff_jax.models.unet import UNet

Dtype = Any

Sampler = Literal["ancestral", "ddim", "dpm_solver", "analytic"]
GAMMA = "gamma"  # parameters beside a prior's network: what `analytic` sampling was estimated as
SAMPLERS = get_args(Sampler)
FIXED_POINT = 2  # iterations a step of inversion, see `diffusion.inversion`

# Configs, dtypes and samplers are part of the program; all else is data.
_compiled = functools.partial(jax.jit, static_argnums=(0, 1))
_sampled = functools.partial(jax.jit, static_argnums=(0, 1, 2))


@_compiled
def encode_texts(
    config: TextEncoder, dtype: Dtype, params: Any, ids: Int[Array, "b t"]
) -> TextFeatures:
    """Token ids -> the features of the texts."""
    embedding, hidden = text_tower(config, dtype).apply({"params": params["text"]}, ids)
    end = end_of_text(ids, config.tower.eos_token_id)
    mask = jnp.arange(ids.shape[1]) <= end[:, None]
    return TextFeatures(embedding.astype(jnp.float32), hidden.astype(jnp.float32), mask, ids)


@_compiled
def encode_images(
    config: ImageEncoder, dtype: Dtype, params: Any, images: Float[Array, "b h w 3"]
) -> Float[Array, "b d"]:
    """Images in [-1, 1] of any size -> embeddings as projected, not normalised."""
    clip = CLIPConfig(config.tower, image_mean=config.mean, image_std=config.std)
    pixels = normalise(preprocess(images, config.tower.image_size), clip)
    return (
        image_tower(config, dtype).apply({"params": params["vision"]}, pixels).astype(jnp.float32)
    )


@_sampled
def run_prior(
    config: Prior,
    dtype: Dtype,
    sampler: Sampler,
    params: Any,
    text: TextFeatures,
    empty: TextFeatures,
    guidance: Float[Array, "..."],
    eta: Float[Array, ""],
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
    if sampler == "analytic":
        step: Step | Multistep = _analytic(config.schedule, params)
    else:
        step = step_rule(config.schedule, sampler, eta)
    z = _walk(config, denoise, step, times, text._asdict(), noise)
    return network.apply(variables, z, method="restore")


@_sampled
def run_decoder(
    config: Decoder,
    dtype: Dtype,
    sampler: Sampler,
    params: Any,
    embedding: Float[Array, "b d"],
    text: TextFeatures,
    empty: TextFeatures,
    guidance: Float[Array, "..."],
    eta: Float[Array, ""],
    times: Int[Array, " steps_plus_1"],
    noise: Noise,
    shown: tuple[Bool[Array, " b"], Bool[Array, " b"]] | None = None,
    threshold: Float[Array, ""] | None = None,
) -> Float[Array, "b h w 3"]:
    """CLIP image embeddings, and texts beside them -> small images in [-1, 1] (section 2.1).

    Guidance is away from no image and the text `empty`. shown: whether the embedding is seen (it
    is), and whether it is in what guidance is away from (it is not). threshold: percentile of
    dynamic thresholding, in place of the bound on x0.
    """
    denoise, cond, null = _decoder(config, dtype, params, embedding, text, empty, shown)
    step = step_rule(config.schedule, sampler, eta, config.learned_variance)
    guided = classifier_free(denoise, null, guidance)
    x = _walk(config, guided, step, times, cond, noise, threshold)
    return jnp.clip(x, -1, 1)


@_compiled
def invert_decoder(
    config: Decoder,
    dtype: Dtype,
    params: Any,
    images: Float[Array, "b h w 3"],
    embedding: Float[Array, "b d"],
    text: TextFeatures,
    empty: TextFeatures,
    guidance: Float[Array, "..."],
    times: Int[Array, " steps"],
) -> Float[Array, "b h w 3"]:
    """Small images and their embeddings -> the x_T that DDIM decodes to them (section 3)."""
    denoise, cond, null = _decoder(config, dtype, params, embedding, text, empty)
    guided = classifier_free(denoise, null, guidance)
    return invert(guided, config.schedule, times, images, cond, fixed_point=FIXED_POINT)


def _decoder(
    config: Decoder, dtype: Dtype, params: Any, embedding: Array, text: TextFeatures,
    empty: TextFeatures, shown: tuple[Array, Array] | None = None,
) -> tuple[Denoise, dict[str, Array], dict[str, Array]]:  # fmt: skip
    """The decoder as a `Denoise`, its conditioning, and that of no image and the text `empty`."""
    always = jnp.ones(len(embedding), bool)
    with_image, null_with_image = (always, ~always) if shown is None else shown
    cond = condition(config, dtype, params, embedding, text, with_image)
    null = condition(config, dtype, params, embedding, empty, null_with_image)

    unet: Any = UNet(config.network, dtype=dtype)

    def network(x_t: Array, t: Array, cond: dict[str, Array]) -> Array:
        return unet.apply({"params": params["unet"]}, x_t, t, cond)

    schedule, target = config.schedule, config.prediction
    return make_denoise(network, schedule, target, config.learned_variance), cond, null


def condition(
    config: Decoder,
    dtype: Dtype,
    params: Any,
    embedding: Float[Array, "b d"],
    text: TextFeatures,
    shown: Bool[Array, " b"] | None = None,
) -> dict[str, Array]:
    """What the decoder's network is given; without the image where `shown` is False."""
    network: Any = DecoderConditioning(config.conditioning, dtype=dtype)
    return network.apply({"params": params["conditioning"]}, embedding, *text, shown)


@_sampled
def run_upsampler(
    config: Upsampler,
    dtype: Dtype,
    sampler: Sampler,
    params: Any,
    images: Float[Array, "b h w 3"],
    eta: Float[Array, ""],
    times: Int[Array, " steps_plus_1"],
    noise: Noise,
) -> Float[Array, "b size size 3"]:
    """Small images in [-1, 1] -> large ones, no guidance; the last step is the last network's."""
    enlarged = enlarge(images, config.image_size)
    step = step_rule(config.schedule, sampler, eta, config.learned_variance)

    def denoise_by(name: str) -> Denoise:
        def network(x_t: Array, t: Array, low: Array) -> Array:
            return upsampler_output(config, dtype, params[name], x_t, t, low)

        return make_denoise(network, config.schedule, config.prediction, config.learned_variance)

    x, steps = noise
    if config.last:
        before = Noise(x, steps[:-1])
        x = _walk(config, denoise_by("first"), step, times[:-1], enlarged, before)
        times, steps = times[-2:], steps[-1:]
    name = networks_of(config)[-1]
    x = _walk(config, denoise_by(name), step, times, enlarged, Noise(x, steps))
    return jnp.clip(x, -1, 1)


def enlarge(images: Float[Array, "b h w 3"], size: int) -> Float[Array, "b size size 3"]:
    """The small images as the upsampler's network sees them: bicubic."""
    return jax.image.resize(images, (len(images), size, size, 3), "cubic", antialias=True)


def upsampler_output(
    config: Upsampler,
    dtype: Dtype,
    params: Any,
    x_t: Float[Array, "b h w 3"],
    t: Int[Array, " b"],
    low: Float[Array, "b h w 3"],
    dropout_key: Key[Array, ""] | None = None,
) -> Float[Array, "b h w o"]:
    """The raw output of one of an upsampler's networks; `low` is an enlarged small image.

    Dropout acts where a `dropout_key` is given.
    """
    x = jnp.concatenate([x_t, low.astype(x_t.dtype)], axis=-1)
    unet: Any = UNet(config.network, dtype=dtype)
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    return unet.apply({"params": params}, x, t, train=dropout_key is not None, rngs=rngs)


def step_rule(
    schedule: Schedule, sampler: Sampler, eta: Float[Array, ""], learned_variance: bool = False
) -> Step | Multistep:
    """The step of a sampler; ancestral on Karlo's schedule is in Karlo's arithmetic.

    Raises `ValueError` for an unknown sampler.
    """
    if sampler == "ddim":
        return ddim(schedule, eta)
    if sampler == "dpm_solver":
        return dpm_solver(schedule)
    if sampler == "analytic":
        raise ValueError("sampler 'analytic' is a diffusion prior's, which has Gamma stored")
    if sampler != "ancestral":
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    variance: Any = "learned" if learned_variance else "small"
    if isinstance(schedule, KarloSchedule):
        return karlo_step(schedule, variance)
    return ancestral(schedule, variance)


def _analytic(schedule: Schedule, params: Any) -> Step:
    if GAMMA not in params:
        raise ValueError(
            "this prior has no Gamma stored, which sampler 'analytic' needs: train or export it "
            "with stage.gamma_times above 0"
        )
    return analytic(schedule, params[GAMMA]["times"], params[GAMMA]["values"])


def _walk(
    config: Prior | Decoder | Upsampler,
    denoise: Denoise,
    step: Step | Multistep,
    times: Array,
    cond: Any,
    noise: Noise,
    threshold: Float[Array, ""] | None = None,
) -> Array:
    if threshold is None:
        bounded = clip_x0(denoise, config.schedule, config.bound)
    else:
        bounded = dynamic_threshold(denoise, config.schedule, threshold)
    return sample(bounded, step, times, noise.start, cond, noise.steps)
