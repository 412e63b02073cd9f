"""unCLIP as a thing to hold: pictures from texts, and variations of pictures.

Ramesh et al. 2022, arXiv 2204.06125: a prior makes a CLIP image embedding of a text, a decoder a
small image of the embedding, an upsampler a large image of the small one. The stages can be loaded
and dropped one by one, and called one by one.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.config import nearest
from clipdiff_jax.convert.hub import locate
from clipdiff_jax.data.tokenize import Tokenizer, load_tokenizer
from clipdiff_jax.diffusion.sampler import even_grid, picture_keys, step_noise
from clipdiff_jax.pipelines import unclip_networks as networks
from clipdiff_jax.pipelines.clip import check_floats
from clipdiff_jax.pipelines.unclip_folder import STAGES, read_configs, read_params
from clipdiff_jax.pipelines.unclip_networks import Noise, StageConfig, TextFeatures
from clipdiff_jax.weights import WeightsError

Images = Float[Array | np.ndarray, "b h w 3"]
Scale = float | Float[Array | np.ndarray, "..."]
_FILES = ("*.json", "*.txt")  # what a repository must have beside the weights
_NOISES = ("prior", "decoder", "upsampler")


@dataclass(frozen=True, eq=False)
class UnClip:
    """A loaded unCLIP.

    Attributes:
      configs, params: of the loaded stages, by name: "text", "image", "prior", "decoder",
        "upsampler". A method that needs another raises `ValueError`.
      tokenizer: that of the text tower.
      dtype: what the networks compute in; samplers are float32, and so are results.

    Randomness: `key` is a typed key, then picture i uses `fold_in(key, i)`; or one key for each
    picture, which then depends on its own key alone and not on the batch it is in. A `Noise` given
    instead is used as it is. Prompts, keys and guidance are traced: changing them compiles nothing
    new; the numbers of steps and of pictures are not.
    """

    configs: Mapping[str, StageConfig]
    params: Mapping[str, Any]
    tokenizer: Tokenizer
    dtype: Any = jnp.float32

    def generate(
        self,
        prompts: Sequence[str],
        *,
        key: Key[Array, "..."] | None = None,
        guidance: Scale = 8.0,
        prior_guidance: Scale = 4.0,
        steps: int = 25,
        prior_steps: int = 25,
        upsample_steps: int = 7,
        noise: Mapping[str, Noise] | None = None,
    ) -> Float[Array, "b size size 3"]:
        """One picture in [-1, 1] for each prompt.

        guidance, prior_guidance: classifier-free guidance scales of decoder and prior, scalar or
            one for each picture; 1 is unguided. steps, prior_steps, upsample_steps: evaluations.
        noise: in place of drawing from `key`, by stage: "prior", "decoder", "upsampler".
        """
        noise = _known_noises(noise)
        embedding = self.embed_prompts(
            prompts, key=key, guidance=prior_guidance, steps=prior_steps, noise=noise.get("prior")
        )
        small = self.decode(
            embedding, prompts, key=key, guidance=guidance, steps=steps, noise=noise.get("decoder")
        )
        return self.upsample(small, key=key, steps=upsample_steps, noise=noise.get("upsampler"))

    def variations(
        self,
        images: Images | Float[Array | np.ndarray, "h w 3"],
        *,
        count: int = 1,
        key: Key[Array, "..."] | None = None,
        guidance: Scale = 8.0,
        steps: int = 25,
        upsample_steps: int = 7,
        noise: Mapping[str, Noise] | None = None,
    ) -> Float[Array, "n size size 3"]:
        """`count` pictures for each image in [-1, 1] (or the one image), with its CLIP embedding.

        The variations of an image follow each other. See `generate` for the rest.
        """
        noise = _known_noises(noise)
        images = jnp.asarray(images).reshape(-1, *images.shape[-3:])
        embedding = jnp.repeat(self.embed_images(images), count, axis=0)
        small = self.decode(
            embedding, key=key, guidance=guidance, steps=steps, noise=noise.get("decoder")
        )
        return self.upsample(small, key=key, steps=upsample_steps, noise=noise.get("upsampler"))

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
        guidance: Scale = 4.0,
        steps: int = 25,
        noise: Noise | None = None,
    ) -> Float[Array, "b d"]:
        """Prompts -> CLIP image embeddings, not normalised, drawn by the prior."""
        config, params = self._stage("prior")
        shape = (len(prompts), config.network.embedding_width)
        times, noise = _start(config, "prior", key, steps, shape, noise)
        text, empty = self._with_empty(prompts)
        scale = jnp.asarray(guidance, jnp.float32)
        return networks.run_prior(config, self.dtype, params, text, empty, scale, times, noise)

    def decode(
        self,
        embeddings: Float[Array | np.ndarray, "b d"],
        prompts: Sequence[str] | None = None,
        *,
        key: Key[Array, "..."] | None = None,
        guidance: Scale = 8.0,
        steps: int = 25,
        noise: Noise | None = None,
    ) -> Float[Array, "b h w 3"]:
        """CLIP image embeddings, and prompts beside them ("" where None) -> small images."""
        config, params = self._stage("decoder")
        if prompts is None:
            prompts = [""] * len(embeddings)
        if len(prompts) != len(embeddings):
            raise ValueError(
                f"{len(embeddings)} embeddings need as many prompts or none, got {len(prompts)}"
            )
        shape = (len(embeddings), config.image_size, config.image_size, 3)
        times, noise = _start(config, "decoder", key, steps, shape, noise)
        text, empty = self._with_empty(prompts)
        scale = jnp.asarray(guidance, jnp.float32)
        embeddings = jnp.asarray(embeddings)
        return networks.run_decoder(
            config, self.dtype, params, embeddings, text, empty, scale, times, noise
        )

    def upsample(
        self,
        images: Images,
        *,
        key: Key[Array, "..."] | None = None,
        steps: int = 7,
        noise: Noise | None = None,
    ) -> Float[Array, "b size size 3"]:
        """Small images in [-1, 1] -> large ones."""
        config, params = self._stage("upsampler")
        shape = (len(images), config.image_size, config.image_size, 3)
        times, noise = _start(config, "upsampler", key, steps, shape, noise)
        return networks.run_upsampler(config, self.dtype, params, jnp.asarray(images), times, noise)

    def without(self, *stages: str) -> "UnClip":
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


def load_unclip(
    source: str | Path,
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    stages: Sequence[str] | None = None,
    revision: str | None = None,
) -> UnClip:
    """Loads an unCLIP from diffusers' folder layout.

    Args:
      source: a folder, or a repository of the Hugging Face Hub: "kakaobrain/karlo-v1-alpha" (text
        to image) or "kakaobrain/karlo-v1-alpha-image-variations".
      dtype: what the networks compute in.
      param_dtype: what parameters are kept in. Karlo's are 3.3e9: 13 GB in float32, 6.6 in
        bfloat16.
      stages: which to load, of "text", "image", "prior", "decoder", "upsampler"; None for all that
        are there.
      revision: of a repository on the Hub.

    Raises `WeightsError` if there is no such model, it is incomplete, of another kind, or its
    components do not fit each other, and `TokenizerError` if there is no tokenizer beside it.
    """
    folder = locate(source, _FILES, revision)
    if folder.is_file():
        raise WeightsError(f"'{folder}' is a file, expected a folder in diffusers' layout")
    configs = read_configs(folder)
    for stage in stages or ():
        if stage not in configs:
            raise WeightsError(
                f"'{folder}' has no stage '{stage}', it has: {', '.join(configs)}."
                f"{nearest(stage, STAGES)}"
            )
    chosen = {name: configs[name] for name in configs if stages is None or name in stages}
    text = configs["text"]
    assert isinstance(text, networks.TextEncoder)
    tokenizer = load_tokenizer(folder / "tokenizer", text.tower.context_length)
    params = read_params(folder, configs, chosen, param_dtype)
    return UnClip(chosen, params, tokenizer, dtype)


def _known_noises(noise: Mapping[str, Noise] | None) -> Mapping[str, Noise]:
    for name in noise or {}:
        if name not in _NOISES:
            raise ValueError(
                f"noise for '{name}', not one of {', '.join(_NOISES)}.{nearest(name, _NOISES)}"
            )
    return noise or {}


def _start(
    config: Any,
    stage: str,
    key: Array | None,
    steps: int,
    shape: tuple[int, ...],
    noise: Noise | None,
) -> tuple[np.ndarray, Noise]:
    """The times of a stage and its noise: that given, or drawn for each picture from its key."""
    times = even_grid(config.schedule.num_steps, steps, "linspace")
    if noise is not None:
        found, wanted = tuple(np.shape(a) for a in noise), (shape, (steps, *shape))
        if found != wanted:
            raise ValueError(f"the noise of '{stage}' has shapes {found}, expected {wanted}")
        return times, Noise(*map(jnp.asarray, noise))
    if key is None:
        raise ValueError(f"'{stage}' draws noise: give a key, or noise")
    return times, _draw(_NOISES.index(stage), key, steps, shape)


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _draw(number: int, key: Array, steps: int, shape: tuple[int, ...]) -> Noise:
    keys = picture_keys(key, jnp.arange(shape[0]))
    own = jax.vmap(functools.partial(jax.random.fold_in, data=number))(keys)
    every = jax.vmap(lambda index: step_noise(own, index, shape))(jnp.arange(steps + 1))
    return Noise(every[0], every[1:])
