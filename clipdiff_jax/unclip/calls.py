"""The stages of a loaded unCLIP, each as one call.

Ramesh et al. 2022, arXiv 2204.06125: a prior makes a CLIP image embedding of a text, a decoder a
small image of the embedding, upsamplers large images of the small one. What can be made of the
stages together is in `unclip.py`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from clipdiff_jax.core.checks import check_floats
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.keys import picture_keys
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.diffusion.grids import Steps, step_grid
from clipdiff_jax.diffusion.sampler import step_noise
from clipdiff_jax.models.unclip import Decoder, Noise, Prior, TextFeatures
from clipdiff_jax.unclip import networks
from clipdiff_jax.unclip.ar_prior import dot_products, run_ar_prior
from clipdiff_jax.unclip.direct_prior import run_direct_prior
from clipdiff_jax.unclip.networks import Sampler
from clipdiff_jax.unclip.parts import PRIORS

Images = Float[Array | np.ndarray, "b h w 3"]
Scale = float | Float[Array | np.ndarray, "..."]
Dropped = Literal["both", "image", "text"]  # what guidance is away from
# The stages that draw noise; a picture's noise of a stage depends on its place in here.
NOISES = ("prior", "decoder", "upsampler", "upsampler_1024")


@dataclass(frozen=True, eq=False)
class StageCalls:
    """The stages of an unCLIP.

    Attributes:
      configs, params: of the loaded stages, by name: "text", "image", "prior", "ar_prior",
        "direct_prior", "decoder", "upsampler", "upsampler_1024". A method that needs another
        raises `ValueError`.
      tokenizer: that of the text tower.
      dtype: what the networks compute in; samplers are float32, and so are results.

    Randomness: `key` is a typed key, then picture i uses `fold_in(key, i)`; or one key for each
    picture, which then depends on its own key alone and not on the batch it is in. A `Noise` given
    instead is used as it is. Prompts, keys, guidance and eta are traced: changing them compiles
    nothing new; the numbers of steps and of pictures are not, nor is the sampler: "ancestral" (of
    DDPM; with the learned variance where there is one), "ddim" (`eta` 0 is deterministic),
    "dpm_solver" (DPM-Solver++ 2M) or, for a diffusion prior that has Gamma stored, "analytic"
    (Analytic-DPM). A guidance of None is the model's own.
    """

    configs: Mapping[str, Any]
    params: Mapping[str, Any]
    tokenizer: Tokenizer
    dtype: Any = jnp.float32

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        """CLIP's text embedding, last hidden states after the final norm, and which tokens count.

        A text longer than the context is cut, with a warning that names it.
        """
        config, params = self._stage("text")
        return networks.encode_texts(config, self.dtype, params, jnp.asarray(self.tokenizer(texts)))

    def embed_images(self, images: Images) -> Float[Array, "b d"]:
        """Images in [-1, 1] of any size -> CLIP image embeddings, not normalised.

        Raises `TypeError` for integer images: theirs is another range.
        """
        check_floats(images)
        config, params = self._stage("image")
        return networks.encode_images(config, self.dtype, params, jnp.asarray(images))

    def embed_prompts(
        self,
        prompts: Sequence[str],
        *,
        key: Key[Array, "..."] | None = None,
        guidance: Scale | None = None,
        steps: Steps = 25,
        sampler: Sampler = "ancestral",
        eta: Scale = 0.0,
        temperature: Scale = 1.0,
        candidates: int = 1,
        prior: str | None = None,
        noise: Noise | None = None,
    ) -> Float[Array, "b d"]:
        """Prompts -> CLIP image embeddings, not normalised, drawn by a prior.

        prior: the stage that draws: "prior" (by diffusion), "ar_prior" or "direct_prior"; None for
            the first of them that is loaded. steps, sampler and eta are of diffusion, temperature
            is of the autoregressive prior (0 takes the likeliest), guidance of both; the direct
            prior has none of them and draws nothing.
        candidates: embeddings drawn for each prompt, of which the one most like the prompt's text
            embedding is kept (section 2.2 draws 2). With `noise` that is for all of them: those of
            one prompt follow each other.
        """
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        stage = self.prior_stage(prior)
        config, params = self._stage(stage)
        if stage == "direct_prior":
            return run_direct_prior(config, self.dtype, params, self.encode_texts(prompts))
        count = len(prompts)
        text, empty = self._with_empty([p for p in prompts for _ in range(candidates)])
        if key is not None and candidates > 1:
            key = _candidate_keys(picture_keys(key, jnp.arange(count)), candidates)
        scale = _for_each(self.guidance_of(stage, guidance), candidates)
        if stage == "ar_prior":
            if key is None or noise is not None:
                raise ValueError("'ar_prior' draws codes: give a key, and no noise")
            keys = picture_keys(key, jnp.arange(count * candidates))
            heat = _for_each(temperature, candidates)
            z = run_ar_prior(config, self.dtype, params, text, empty, scale, heat, keys)
        else:
            shape = (count * candidates, config.network.embedding_width)
            times, noise = _start(config, "prior", key, steps, shape, noise)
            z = networks.run_prior(
                config, self.dtype, sampler, params, text, empty, scale, jnp.float32(eta), times,
                noise,
            )  # fmt: skip
        return z if candidates == 1 else _most_alike(z, text.embedding, candidates)

    def decode(
        self,
        embeddings: Float[Array | np.ndarray, "b d"] | None,
        prompts: Sequence[str] | None = None,
        *,
        key: Key[Array, "..."] | None = None,
        guidance: Scale | None = None,
        steps: Steps = 25,
        sampler: Sampler = "ancestral",
        eta: Scale = 0.0,
        dropped: Dropped = "both",
        threshold: Scale | None = None,
        noise: Noise | None = None,
    ) -> Float[Array, "b h w 3"]:
        """CLIP image embeddings, and prompts beside them ("" where None) -> small images.

        embeddings: None decodes the prompts alone.
        dropped: what guidance is away from: neither image nor text, no image, or no text.
        threshold: percentile of dynamic thresholding, such as 99.5, in place of clipping x0 to the
            model's bound (see `diffusion.guidance.dynamic_threshold`); None clips.
        """
        config, params = self._stage("decoder")
        if embeddings is None and prompts is None:
            raise ValueError("nothing to decode: give embeddings, prompts or both")
        count = len(prompts) if embeddings is None else len(embeddings)  # type: ignore[arg-type]
        z, shown = self._shown(embeddings, count)
        text, empty = self._texts(prompts, count)
        if dropped == "image":
            empty = text
        elif dropped not in ("both", "text"):
            raise ValueError(f"dropped must be 'both', 'image' or 'text', got {dropped!r}")
        shape = (count, config.image_size, config.image_size, 3)
        times, noise = _start(config, "decoder", key, steps, shape, noise)
        null_shown = shown if dropped == "text" else jnp.zeros(count, bool)
        return networks.run_decoder(
            config, self.dtype, sampler, params, z, text, empty,
            self.guidance_of("decoder", guidance), jnp.float32(eta), times, noise,
            (shown, null_shown), None if threshold is None else jnp.float32(threshold),
        )  # fmt: skip

    def invert(
        self,
        images: Images,
        embeddings: Float[Array | np.ndarray, "b d"],
        prompts: Sequence[str] | None = None,
        *,
        guidance: Scale = 1.0,
        steps: Steps = 50,
    ) -> Float[Array, "b h w 3"]:
        """Small images -> the x_T from which DDIM in as many steps decodes them again (section 3).

        images: in [-1, 1], of the decoder's size; `small` makes them so. guidance, prompts: of
            that decoding; a scale far from 1 cannot be inverted well.
        """
        config, params = self._stage("decoder")
        wanted = (config.image_size, config.image_size, 3)
        if images.shape[1:] != wanted:
            raise ValueError(f"images are {images.shape[1:]}, the decoder's are {wanted}")
        check_floats(images)
        text, empty = self._texts(prompts, len(images))
        times = step_grid(config.schedule.num_steps, steps)[::-1]
        return networks.invert_decoder(
            config, self.dtype, params, jnp.asarray(images), jnp.asarray(embeddings), text, empty,
            jnp.asarray(guidance, jnp.float32), times,
        )  # fmt: skip

    def small(self, images: Images) -> Float[Array, "b h w 3"]:
        """Square images in [-1, 1] of any size at the decoder's size, bicubic with anti-aliasing"""
        check_floats(images)
        size = self._stage("decoder")[0].image_size
        return jnp.clip(networks.enlarge(jnp.asarray(images), size), -1, 1)

    def upsample(
        self,
        images: Images,
        *,
        key: Key[Array, "..."] | None = None,
        steps: Steps = 7,
        sampler: Sampler = "ancestral",
        eta: Scale = 0.0,
        stage: str = "upsampler",
        noise: Noise | None = None,
    ) -> Float[Array, "b size size 3"]:
        """Small images in [-1, 1] -> large ones, by one upsampler."""
        config, params = self._stage(stage)
        shape = (len(images), config.image_size, config.image_size, 3)
        times, noise = _start(config, stage, key, steps, shape, noise)
        images, eta = jnp.asarray(images), jnp.float32(eta)
        return networks.run_upsampler(
            config, self.dtype, sampler, params, images, eta, times, noise
        )

    def prior_stage(self, name: str | None = None) -> str:
        """The stage that draws embeddings: the named one, or the first that is loaded.

        Raises `ValueError` for another stage, and for one that is not loaded.
        """
        if name is None:
            name = next((stage for stage in PRIORS if stage in self.configs), PRIORS[0])
        if name not in PRIORS:
            raise ValueError(
                f"prior must be one of {', '.join(PRIORS)}, got '{name}'.{nearest(name, PRIORS)}"
            )
        self._stage(name)
        return name

    def guidance_of(self, stage: str, scale: Scale | None = None) -> Float[Array, "..."]:
        """`scale`, or where it is None the one that a prior or the decoder says it is good with."""
        if scale is None:
            config, _ = self._stage(stage)
            scale = config.guidance if isinstance(config, Prior | Decoder) else 1.0
        return jnp.asarray(scale, jnp.float32)

    def without(self, *stages: str) -> "Any":
        """The same without some stages, whose memory is free once nothing else holds them."""
        for stage in stages:
            self._stage(stage)
        kept = [name for name in self.configs if name not in stages]
        return dataclasses.replace(
            self,
            configs={name: self.configs[name] for name in kept},
            params={name: self.params[name] for name in kept},
        )

    def _stage(self, name: str) -> tuple[Any, Any]:
        if name not in self.configs:
            raise ValueError(
                f"this model has no stage '{name}' loaded; it has: {', '.join(self.configs)}."
                f"{nearest(name, self.configs)}"
            )
        return self.configs[name], self.params[name]

    def _with_empty(self, prompts: Sequence[str]) -> tuple[TextFeatures, TextFeatures]:
        """The features of the prompts, and as many times those of ""."""
        both = self.encode_texts([*prompts, ""])
        empty = jax.tree.map(lambda a: jnp.repeat(a[-1:], len(prompts), axis=0), both)
        return jax.tree.map(lambda a: a[:-1], both), empty

    def _texts(
        self, prompts: Sequence[str] | None, count: int
    ) -> tuple[TextFeatures, TextFeatures]:
        prompts = [""] * count if prompts is None else prompts
        if len(prompts) != count:
            raise ValueError(f"{count} embeddings need as many prompts or none, got {len(prompts)}")
        return self._with_empty(prompts)

    def _shown(
        self, embeddings: Array | np.ndarray | None, count: int
    ) -> tuple[Float[Array, "b d"], Bool[Array, " b"]]:
        if embeddings is not None:
            return jnp.asarray(embeddings), jnp.ones(count, bool)
        width = self._stage("decoder")[0].conditioning.embedding_width
        return jnp.zeros((count, width)), jnp.zeros(count, bool)


def _candidate_keys(keys: Key[Array, " b"], candidates: int) -> Key[Array, " n"]:
    """Those of a picture follow each other."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    return jax.vmap(fold, (0, None))(keys, jnp.arange(candidates)).reshape(-1)


def _for_each(scale: Scale, candidates: int) -> Float[Array, "..."]:
    scale = jnp.asarray(scale, jnp.float32)
    return scale if scale.ndim == 0 else jnp.repeat(scale, candidates)


def _most_alike(
    z: Float[Array, "n d"], text: Float[Array, "n d"], candidates: int
) -> Float[Array, "b d"]:
    """Of each picture's candidates the one with the highest cosine to its text."""
    alike = dot_products(z, text).reshape(-1, candidates)
    z = z.reshape(-1, candidates, z.shape[-1])
    return jnp.take_along_axis(z, alike.argmax(axis=1)[:, None, None], axis=1)[:, 0]


def _start(
    config: Any,
    stage: str,
    key: Array | None,
    steps: Steps,
    shape: tuple[int, ...],
    noise: Noise | None,
) -> tuple[np.ndarray, Noise]:
    """The times of a stage and its noise: that given, or drawn for each picture from its key."""
    times = step_grid(config.schedule.num_steps, steps)
    count = len(times) - 1
    if noise is not None:
        found, wanted = tuple(np.shape(a) for a in noise), (shape, (count, *shape))
        if found != wanted:
            raise ValueError(f"the noise of '{stage}' has shapes {found}, expected {wanted}")
        return times, Noise(*map(jnp.asarray, noise))
    if key is None:
        raise ValueError(f"'{stage}' draws noise: give a key, or noise")
    return times, draw_noise(NOISES.index(stage), key, count, shape)


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def draw_noise(number: int, key: Array, steps: int, shape: tuple[int, ...]) -> Noise:
    """The noise [B, ...] of stage `number` of `NOISES`, each picture's from its own key."""
    keys = picture_keys(key, jnp.arange(shape[0]))
    own = jax.vmap(functools.partial(jax.random.fold_in, data=number))(keys)
    every = jax.vmap(lambda index: step_noise(own, index, shape))(jnp.arange(steps + 1))
    return Noise(every[0], every[1:])
