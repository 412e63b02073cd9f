"""A latent diffusion model as one object: its config, its parts' parameters, what it can do.

Rombach et al. 2022, arXiv 2112.10752. A picture becomes latents (`latent.codec`), and a UNet
(`latent.denoiser`) denoises them, looking at the states of a text. Pictures are NHWC in [-1, 1];
latents are NHWC, float32, always the scaled ones.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.keys import AnyKey
from clipdiff_jax.core.progress import watched_methods
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.images import Pictures, as_images
from clipdiff_jax.data.tokenize import Tokenizer, as_texts
from clipdiff_jax.diffusion.prediction import Cond, Prediction
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.latent import inputs, starts
from clipdiff_jax.latent.codec import Codec, show_small
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.inputs import Mask
from clipdiff_jax.latent.requests import (
    Collage,
    CollageOptions,
    Generation,
    GenerationOptions,
    Inpainting,
    Instruction,
    InstructionOptions,
    Painting,
    PromptEditing,
    Repainting,
    RepaintingOptions,
    filled,
)
from clipdiff_jax.latent.steering import editing, layout
from clipdiff_jax.latent.steering.layout import Region
from clipdiff_jax.latent.steering.phrases import bound
from clipdiff_jax.latent.texts import Embedded, Texts, encode
from clipdiff_jax.latent.walk import Blend, OnStep, Rows, Walk, in_batches
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.weights.layout import LatentWeights
from clipdiff_jax.weights.layouts import latent_ours
from clipdiff_jax.weights.params import fingerprint
from clipdiff_jax.weights.publishing import Pushable

GENERATION, COLLAGE, REPAINTING = Generation(), Collage(), Repainting()
INPAINTING, INSTRUCTION = Inpainting(), Instruction()


@watched_methods("generate", "collage", "img2img", "inpaint", "instruct", "edit")
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LatentDiffusion(Pushable):
    """A latent diffusion model.

    Attributes:
      config: what it is.
      unet, autoencoder: parameters.
      texts: parameters of each text tower, in the order of `config.texts`.
      tokenizers: of each text tower; none of a file without, which then takes no prompts.
      preview: parameters of the tiny autoencoder; None where the model has none.
      dtype: what the networks compute in.
    """

    config: LatentConfig = field(metadata={"static": True})
    unet: Params = field(repr=False)
    autoencoder: Params = field(repr=False)
    texts: tuple[Params, ...] = field(repr=False)
    tokenizers: tuple[Tokenizer, ...] = field(repr=False, metadata={"static": True})
    preview: Params = field(default=None, repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the UNet's parameters, by which an edit knows its base; computed once."""
        return fingerprint(self.unet)

    def save(self, path: str | Path, *, dtype: DType | None = None) -> None:
        """Writes the folder that `load_latent` reads; floating-point arrays become `dtype`."""
        params = {"unet": self.unet, "autoencoder": self.autoencoder, "texts": self.texts}
        params |= {} if self.preview is None else {"preview": self.preview}
        latent_ours.write(path, LatentWeights(self.config, params, self.tokenizers), dtype)

    @property
    def codec(self) -> Codec:
        """The autoencoder."""
        return Codec(self.config.autoencoder, self.autoencoder, self.dtype)

    @property
    def denoiser(self) -> Denoiser:
        """The UNet."""
        return Denoiser(self.config, self.unet, self.dtype)

    def encode(self, images: Pictures) -> Float[Array, "b h w c"]:
        """Pictures of sides that fit -> scaled latents, see `Codec.encode`."""
        return self.codec.encode(images)

    def decode(self, latents: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b i j 3"]:
        """Scaled latents -> pictures, not clipped, see `Codec.decode`."""
        return self.codec.decode(latents)

    def show(self, latents: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b i j 3"]:
        """Latents -> pictures in [-1, 1], in a moment where there is a tiny autoencoder."""
        if self.preview is None:
            return jnp.clip(self.decode(latents), -1, 1)
        return show_small(self.preview, self.codec.check(latents), self.config.preview, self.dtype)

    def embed_texts(self, prompts: Texts) -> Embedded:
        """Texts -> (context [B,T,D], pooled [B,P] or None), as the UNet takes them.

        A text longer than the towers' length is cut, with a warning that names it. Raises
        `ValueError` for no texts, and by a model that was loaded without tokenizers.
        """
        prompts = as_texts(prompts, "prompts")
        inputs.first_tokenizer(self.tokenizers)
        return _embed(self, tuple(jnp.asarray(one(prompts)) for one in self.tokenizers))

    def predict(
        self,
        x_t: Float[Array | np.ndarray, "b h w c"],
        t: Int[Array | np.ndarray, "..."] | int,
        context: Float[Array | np.ndarray, "b s d"],
        *,
        pooled: Float[Array | np.ndarray, "b p"] | None = None,
        time_ids: Float[Array | np.ndarray, "b n"] | None = None,
    ) -> Float[Array, "b h w o"]:
        """The raw network output for latents at time indices t (scalar or [B]).

        x_t: with all channels that the UNet takes, see `LatentConfig.task`.
        context, pooled: as `embed_texts` gives them.
        time_ids: of SDXL, height and width of the original, top and left of the crop, height and
            width of the picture; by default those of x_t, not cut.
        """
        x_t = jnp.asarray(x_t)
        t = jnp.broadcast_to(jnp.asarray(t, jnp.int32), x_t.shape[:1])
        ids = self.denoiser.time_ids(*x_t.shape[:3]) if time_ids is None else jnp.asarray(time_ids)
        shown = Embedded(jnp.asarray(context), None if pooled is None else jnp.asarray(pooled))
        return self.denoiser.predict(x_t, t, self.denoiser.condition(shown, ids))

    def denoise(self, x_t: Float[Array, "b h w c"], t: Int[Array, "..."], cond: Cond) -> Prediction:
        """The model as a `Denoise`, see `Denoiser.denoise`."""
        return self.denoiser.denoise(x_t, t, cond)

    def generate(
        self,
        prompts: Texts,
        *,
        key: AnyKey | None = None,
        negative: Texts | None = None,
        latents: Float[Array | np.ndarray, "n h w c"] | None = None,
        on_step: OnStep | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Float[Array, "n i j d"]:
        """Pictures of texts, `count` of each, in [-1, 1]: those of the first text first.

        Args:
          prompts: what is drawn.
          key: a seed or a key, then picture i uses `fold_in(key, i)`; or a key for each picture.
          negative: what guidance leads away from, one for all prompts or one for each; where none
            is given "", or zeros by a model that was trained so.
          latents: the start, at the noisiest time, in place of noise; `key` is not needed then,
            unless the sampler draws.
          on_step: called after every step with how many there were and with pictures of what the
            model then thinks comes out, see `show`.
          sampling, options: how, see `latent.requests.Generation`.

        Another prompt, negative prompt, key, guidance or rescale compiles nothing new. Raises
        `ValueError` for sides that do not fit, no or another number of texts, and by a model that
        was trained to inpaint or to follow instructions.
        """
        inputs.check_task(self.config, "text")
        request = filled(GENERATION, sampling, options)
        texts = as_texts(prompts, "prompts")
        count = len(texts) * request.count
        start = None if latents is None else self.codec.check(latents, count)
        shape = inputs.latent_shape(self.config, request, count, start)
        times, keys, start = starts.begin(self.config, request, key, shape, start)
        cond, null = starts.conditions(
            self.denoiser, self.embed_texts, texts, negative, request, shape
        )
        rows = starts.rows(self.config, request, start, keys, cond, (null,))
        rows = bound(rows, texts, request, self.tokenizers, self.embed_texts)
        return self._paint(request, starts.walk(times, request, rows), on_step)

    def collage(
        self,
        prompt: str,
        regions: Sequence[Region],
        *,
        key: AnyKey | None = None,
        negative: str | None = None,
        latents: Float[Array | np.ndarray, "n h w c"] | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[CollageOptions],
    ) -> Float[Array, "n i j d"]:
        """`count` pictures of a layout: what is to be where (NoiseCollage, arXiv 2403.03485).

        prompt: the whole scene. regions: see `Region`; they may overlap. sampling, options: how,
        see `latent.requests.Collage`. The rest is as in `generate`. Another number of regions
        compiles anew, another box, mask, weight or prompt does not; a step costs N + 2 evaluations.
        Raises `ValueError`, with the region's number, for what cannot be drawn.
        """
        inputs.check_task(self.config, "text")
        request = filled(COLLAGE, sampling, options)
        start = None if latents is None else self.codec.check(latents, request.count)
        shape = inputs.latent_shape(self.config, request, request.count, start)
        factor = self.config.factor
        layout.check_regions(regions, shape[1] * factor, shape[2] * factor, factor)
        times, keys, start = starts.begin(self.config, request, key, shape, start)
        parts = layout.arrange(
            self.denoiser, self.embed_texts, prompt, regions, request, shape[1:], keys
        )
        _, null = starts.conditions(
            self.denoiser, self.embed_texts, [prompt], negative, request, shape
        )
        rows = starts.rows(self.config, request, start, keys, parts, (layout.null_of(null, parts),))
        return self._paint(request, starts.walk(times, request, rows))

    def img2img(
        self,
        images: Pictures,
        prompts: Texts,
        *,
        key: AnyKey | None = None,
        negative: Texts | None = None,
        on_step: OnStep | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[RepaintingOptions],
    ) -> Float[Array, "n i j d"]:
        """Pictures changed towards texts: noised, then denoised (SDEdit, arXiv 2108.01073).

        images: [B,H,W,3] with sides that fit, one for all prompts or one for each.
        sampling, options: how, see `latent.requests.Repainting`: `strength` first of all.

        The rest is as in `generate`, and another strength compiles nothing new either. The walk
        starts at the first of the times that `strength` leaves, from alpha z + sigma noise. Raises
        `ValueError` also for a strength that leaves no step.
        """
        inputs.check_task(self.config, "text")
        request = filled(REPAINTING, sampling, options)
        x, texts = inputs.picture_and_text(images, prompts)
        known = self._known(x, request)
        walk, _ = starts.repainting(
            self.denoiser, self.embed_texts, request, known, texts, negative, key
        )
        return self._paint(request, walk, on_step)

    def inpaint(
        self,
        images: Pictures,
        mask: Mask,
        prompts: Texts,
        *,
        key: AnyKey | None = None,
        negative: Texts | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[RepaintingOptions],
    ) -> Float[Array, "n i j d"]:
        """Pictures painted anew where the mask is 1, as texts say.

        A model that was trained for it sees the mask and what it leaves; any other is held to the
        picture's own latents, under their noise, outside of the mask after every step.

        mask: [H,W] or one for each picture, 1 where to paint; at least half counts as 1.
        sampling, options: as in `img2img`; `strength` is 1 by default, which starts from noise.

        The rest is as in `img2img`. Raises `ValueError` also for a mask of another size, and one
        that is zero everywhere.
        """
        inputs.check_task(self.config, "text", "inpaint")
        request = filled(INPAINTING, sampling, options)
        x, texts = inputs.picture_and_text(images, prompts)
        of_pixels = inputs.as_mask(mask, x)
        of_latents = inputs.at_latents(of_pixels, self.config.factor)
        of_latents = inputs.repeated(of_latents, request.count)
        known = self._known(x, request)
        walk, noise = starts.repainting(
            self.denoiser, self.embed_texts, request, known, texts, negative, key
        )
        if self.config.task == "text":
            blend = Blend(of_latents, known, noise)
            return self._paint(request, walk._replace(rows=walk.rows._replace(blend=blend)))
        left = inputs.repeated(self.codec.encode_batch(x * (1 - of_pixels)), request.count)
        concat = {"concat": jnp.concatenate([of_latents, left], axis=-1)}
        rows = walk.rows._replace(
            cond=walk.rows.cond | concat, nulls=tuple(one | concat for one in walk.rows.nulls)
        )
        return self._paint(request, walk._replace(rows=rows))

    def instruct(
        self,
        images: Pictures,
        instructions: Texts,
        *,
        key: AnyKey | None = None,
        negative: Texts | None = None,
        latents: Float[Array | np.ndarray, "n h w c"] | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[InstructionOptions],
    ) -> Float[Array, "n i j d"]:
        """Pictures changed as texts say (InstructPix2Pix, arXiv 2211.09800), by a model for that.

        instructions: such as "make it snow", one for all pictures or one for each.
        sampling, options: how, see `latent.requests.Instruction`.

        The rest is as in `generate`. Raises `ValueError` also for an empty instruction.
        """
        inputs.check_task(self.config, "instruct")
        request = filled(INSTRUCTION, sampling, options)
        x, texts = inputs.picture_and_text(images, instructions)
        if not all(one.strip() for one in texts):
            raise ValueError("an instruction is empty: say what is to be changed")
        picture = self.codec.unscaled(self._known(x, request))
        start = None if latents is None else self.codec.check(latents, len(picture))
        times, keys, start = starts.begin(self.config, request, key, picture.shape[:3], start)
        cond, null = starts.conditions(
            self.denoiser, self.embed_texts, texts, negative, request, picture.shape[:3]
        )
        nulls = null | {"concat": picture}, null | {"concat": jnp.zeros_like(picture)}
        rows = starts.rows(self.config, request, start, keys, cond | {"concat": picture}, nulls)
        scale = inputs.each("image_guidance", request.image_guidance, len(picture))
        rows = rows._replace(image_guidance=scale)
        return self._paint(request, starts.walk(times, request, rows))

    def edit(
        self,
        images: Pictures,
        *,
        target: Texts,
        source: Texts | None = None,
        method: str = "p2p",
        key: AnyKey | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[editing.EditOptions],
    ) -> Float[Array, "n i j d"]:
        """Pictures changed by words, nothing trained.

        Args:
          images: [B,H,W,3] with sides that fit.
          target, source: what is to be seen and what is, one for all pictures or one for each. Of
            "ledits" the targets are concepts, each of which acts on every picture, and `source` may
            be left out; of "instruct" `target` is the instruction.
          method: "p2p", prompt-to-prompt; "ledits", LEDITS++; "instruct", see there. key: for the
            last two, which draw.
          sampling, options: how: `latent.requests.PromptEditing` (p2p), `ConceptEditing` (ledits)
            or `Instruction`; and words, see `steering.editing.EditWords`.

        A target that is the source gives the picture back, as the autoencoder has it. Another value
        compiles nothing new. Raises `ValueError` for words that a prompt does not have.
        """
        request, words = editing.edit_request(method, sampling, options)
        if isinstance(request, Instruction):
            if source is not None:
                raise ValueError("source is of p2p and ledits: an instruction says what changes")
            return self.instruct(
                images, target, key=key, negative=words.get("negative"), sampling=request
            )
        inputs.check_task(self.config, "text")
        known = self._known(as_images(images), request)
        keys = inputs.keys_for(key, len(known), request, isinstance(request, PromptEditing))
        texts = editing.EditTexts(source, target, words.get("negative"))
        of_model = self.denoiser, self.embed_texts, inputs.first_tokenizer(self.tokenizers)
        latents = editing.edited(*of_model, known, texts, (request, words), keys)
        return self._shown(request, latents)

    def _known(self, images: Float[Array, "n h w 3"], request: Painting) -> Float[Array, "m i j c"]:
        """The latents of pictures that are checked, `count` of each."""
        inputs.check_size(self.config, *images.shape[1:3])
        return inputs.repeated(self.codec.encode_batch(images), request.count)

    def _paint(
        self, request: Painting, walk: Walk, on_step: OnStep | None = None
    ) -> Float[Array, "n i j d"]:
        """The walk, so many pictures at a time, and what is asked for of its end."""
        denoiser = self.denoiser

        def paint(rows: Rows) -> Array:
            part = walk._replace(rows=rows)
            return self._shown(request, denoiser.walk(part, request.sampler, on_step, self.show))

        return in_batches(paint, walk.rows, request.batch)

    def _shown(self, request: Painting, latents: Array) -> Float[Array, "n i j d"]:
        """What is asked for of latents: themselves, or pictures in [-1, 1]."""
        return latents if request.output == "latents" else jnp.clip(self.decode(latents), -1, 1)


@jax.jit
def _embed(model: LatentDiffusion, ids: tuple[Array, ...]) -> Embedded:
    return encode(model.config.texts, model.texts, ids, model.dtype)
