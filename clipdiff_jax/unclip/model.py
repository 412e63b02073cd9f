"""unCLIP as one object: pictures from texts, and what can be done with pictures.

Ramesh et al. 2022, arXiv 2204.06125. A prior makes a CLIP image embedding of a text, a decoder a
small image of the embedding, upsamplers large images of the small one:

    text --TextTower--> TextFeatures --prior--> CLIP image embedding
        --DecoderModel--> small image --UpsamplerModel--> large image

`UnClip` holds these parts and is a pytree as they are. What is done with pictures (section 3) is in
`manipulations.py`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.checks import Whole, check_number
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.keys import AnyKey
from clipdiff_jax.core.progress import watched_methods
from clipdiff_jax.core.request import Scale, fill
from clipdiff_jax.data.avatars.photographs import are_photographs, warn_of_photographs
from clipdiff_jax.data.images import Batch, Picture, Pictures, as_images, as_squares, read_pictures
from clipdiff_jax.data.tokenize import Tokenizer, as_texts
from clipdiff_jax.diffusion.sampling import Sampling, SamplingOptions
from clipdiff_jax.models.unclip import Noise, TextFeatures
from clipdiff_jax.unclip import candidates, manipulations, small
from clipdiff_jax.unclip.decoder import DecoderModel, Shown
from clipdiff_jax.unclip.drawing import (
    PRIORS,
    Drawing,
    DrawingOptions,
    PriorSampling,
    PriorSamplingOptions,
    check_prior,
)
from clipdiff_jax.unclip.manipulations import THETAS, Latents, Thetas
from clipdiff_jax.unclip.priors.autoregressive import ARPriorModel
from clipdiff_jax.unclip.priors.diffusion import DiffusionPriorModel
from clipdiff_jax.unclip.priors.direct import DirectPriorModel
from clipdiff_jax.unclip.small import UPSAMPLERS as UPSAMPLERS
from clipdiff_jax.unclip.small import UpsamplerName
from clipdiff_jax.unclip.towers import ImageTower, TextTower
from clipdiff_jax.unclip.upsampler import UpsamplerModel
from clipdiff_jax.unclip.walk import given_or_drawn, known_noises, make_walk

Texts = str | Sequence[str]
Dropped = Literal["both", "image", "text"]  # what guidance moves away from
PARTS: dict[str, type] = {
    "text": TextTower,
    "image": ImageTower,
    "prior": DiffusionPriorModel,
    "ar_prior": ARPriorModel,
    "direct_prior": DirectPriorModel,
    "decoder": DecoderModel,
    "upsampler": UpsamplerModel,
    "upsampler_1024": UpsamplerModel,
}
DECODING = Sampling(steps=25, sampler="ancestral", spacing="linspace")
INVERTING = Sampling(steps=50, guidance=1.0, spacing="linspace")
UPSAMPLING = Sampling(steps=7, sampler="ancestral", spacing="linspace")


@watched_methods(
    "generate", "embed_prompts", "decode", "invert", "upsample", "upsample_all", "variations",
    "interpolate", "text_diff", "pca_reconstructions", "ablate_prior",
)  # fmt: skip
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, kw_only=True)
class UnClip:
    """An unCLIP; of its parts those that are not loaded are None. `tokenizer` is the text tower's.

    A method that needs a part which is not there raises `ValueError`. Pictures come out as large as
    the upsamplers that are loaded make them; with none they are the decoder's.

    Randomness: `key` is a seed or a key, then picture i uses `fold_in(key, i)`; or one key for each
    picture, which then depends on its own key alone and not on the batch it is in. A `Noise` given
    instead is used as it is. Prompts, keys, guidance, eta, threshold and temperature are traced:
    changing them compiles nothing new; the numbers of steps and of pictures are not, nor is the
    sampler. A guidance of None is the model's own.
    """

    tokenizer: Tokenizer = field(metadata={"static": True}, repr=False)
    text: TextTower | None = None
    image: ImageTower | None = None
    prior: DiffusionPriorModel | None = None
    ar_prior: ARPriorModel | None = None
    direct_prior: DirectPriorModel | None = None
    decoder: DecoderModel | None = None
    upsampler: UpsamplerModel | None = None
    upsampler_1024: UpsamplerModel | None = None
    negative: str = field(default="", metadata={"static": True})

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of the parts that are there."""
        return tuple(name for name in PARTS if getattr(self, name) is not None)

    def part(self, name: str) -> Any:
        """One part. Raises `ValueError`, with what is there, for one that is not."""
        found = getattr(self, name) if name in PARTS else None
        if found is None:
            raise ValueError(
                f"this model has no part '{name}' loaded; it has: {', '.join(self.loaded)}."
                f"{nearest(name, self.loaded)}"
            )
        return found

    def without(self, *names: str) -> "UnClip":
        """The same without some parts, whose memory is free once nothing else holds them."""
        for name in names:
            self.part(name)
        nothing: dict[str, Any] = dict.fromkeys(names)
        return dataclasses.replace(self, **nothing)

    def away_from(self, text: str) -> "UnClip":
        """The same, whose guidance leads away from what a text says, in place of from no text."""
        return dataclasses.replace(self, negative=text)

    def prior_name(self, name: str | None = None) -> str:
        """The part that draws embeddings: the named one, or the first that is loaded.

        Raises `ValueError` for another part, and for one that is not loaded.
        """
        check_prior(name)
        chosen = name or next((prior for prior in PRIORS if prior in self.loaded), PRIORS[0])
        self.part(chosen)
        return chosen

    def guidance_of(self, part: str, scale: Scale | None = None) -> Float[Array, "..."]:
        """`scale`, or where it is None the one stored with the prior or the decoder."""
        if scale is None:
            scale = getattr(self.part(part).config, "guidance", 1.0)
        return jnp.asarray(scale, jnp.float32)

    def encode_texts(self, texts: Texts) -> TextFeatures:
        """CLIP's text embedding, last hidden states after the final norm, and which tokens count.

        A text longer than the context is cut, with a warning that names it.
        """
        return self.part("text").encode(*self.tokenizer.encode(texts))

    def encode_with_empty(self, prompts: Texts) -> tuple[TextFeatures, TextFeatures]:
        """The features of the prompts, and as many times those of no text, or of the negative."""
        prompts = as_texts(prompts)
        both = self.encode_texts([*prompts, self.negative])
        empty = jax.tree.map(lambda a: jnp.repeat(a[-1:], len(prompts), axis=0), both)
        return jax.tree.map(lambda a: a[:-1], both), empty

    def embed_images(self, images: Pictures) -> Float[Array, "b d"]:
        """Images in [-1, 1] (or uint8) of any size -> CLIP image embeddings, not normalised.

        Raises as `data.images.as_images` does.
        """
        return self.embed_batches(read_pictures(images))

    def embed_batches(self, batches: Sequence[Batch]) -> Float[Array, "b d"]:
        """The same of pictures that are checked."""
        tower = self.part("image")
        if self.tokenizer.vocabulary is not None and are_photographs(batches[0]):
            warn_of_photographs()
        return tower.embed_batches(batches)

    def generate(
        self,
        prompts: Texts,
        *,
        key: AnyKey | None = None,
        drawing: Drawing | None = None,
        noise: Mapping[str, Noise] | None = None,
        **options: Unpack[DrawingOptions],
    ) -> Float[Array, "b size size 3"]:
        """One picture in [-1, 1] for each prompt.

        drawing, options: how, see `Drawing`.
        noise: in place of drawing from `key`, by part: "prior", "decoder", "upsampler".
        """
        drawing, noise = fill(Drawing(), drawing, options), known_noises(noise)
        prompts = as_texts(prompts)
        z = self.embed_prompts(
            prompts, key=key, sampling=drawing.of_prior, noise=noise.get("prior")
        )
        made = self.decode(
            z, prompts, key=key, sampling=drawing.of_decoder, noise=noise.get("decoder")
        )
        return small.upsample_all(self, made, key, drawing.of_upsampler, noise)

    def embed_prompts(
        self,
        prompts: Texts,
        *,
        key: AnyKey | None = None,
        sampling: PriorSampling | None = None,
        noise: Noise | None = None,
        **options: Unpack[PriorSamplingOptions],
    ) -> Float[Array, "b d"]:
        """Prompts -> CLIP image embeddings, not normalised, drawn by a prior.

        sampling, options: how, see `PriorSampling`. With several candidates `noise` is for all of
        them: those of one prompt follow each other.
        """
        return candidates.embed_prompts(
            self, as_texts(prompts), key, fill(PriorSampling(), sampling, options), noise
        )

    def decode(
        self,
        embeddings: Float[Array | np.ndarray, "b d"] | None,
        prompts: Texts | None = None,
        *,
        key: AnyKey | None = None,
        sampling: Sampling | None = None,
        dropped: Dropped = "both",
        noise: Noise | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Float[Array, "b h w 3"]:
        """CLIP image embeddings, and prompts beside them ("" where None) -> small images.

        embeddings: None decodes the prompts alone.
        sampling, options: how, see `Sampling`; by default 25 steps of "ancestral".
        dropped: what guidance moves away from: neither image nor text, no image, or no text.
        """
        sampling, decoder = fill(DECODING, sampling, options), self.part("decoder")
        if dropped not in ("both", "image", "text"):
            raise ValueError(f"dropped must be 'both', 'image' or 'text', got {dropped!r}")
        prompts = None if prompts is None else as_texts(prompts)
        shown = self._shown(embeddings, prompts, dropped)
        times, shape = sampling.times(decoder.config.schedule), decoder.shape(len(shown.embedding))
        drawn = given_or_drawn("decoder", noise, key, len(times) - 1, shape)
        guidance = self.guidance_of("decoder", sampling.guidance)
        walk = make_walk(times, drawn, guidance, sampling)
        return decoder.draw(shown, walk, sampler=sampling.sampler)

    def invert(
        self,
        images: Pictures,
        embeddings: Float[Array | np.ndarray, "b d"],
        prompts: Texts | None = None,
        *,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Float[Array, "b h w 3"]:
        """Small images -> the x_T from which DDIM in as many steps decodes them again (section 3).

        images: of the decoder's size; `small` makes them so. sampling, options: guidance and steps
            of that decoding, by default 1 and 50; a scale far from 1 cannot be inverted well.
        """
        sampling = fill(INVERTING, sampling, options)
        return small.invert(self, as_images(images), embeddings, prompts, sampling)

    def small(self, images: Pictures) -> Float[Array, "b h w 3"]:
        """The middle square of each picture at the decoder's size, in [-1, 1]."""
        return as_squares(images, self.part("decoder").config.image_size)

    def upsample(
        self,
        images: Pictures,
        *,
        key: AnyKey | None = None,
        sampling: Sampling | None = None,
        part: UpsamplerName = "upsampler",
        noise: Noise | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Float[Array, "b size size 3"]:
        """Small images -> large ones in [-1, 1], by one upsampler.

        sampling, options: how, see `Sampling`; by default 7 steps of "ancestral". Raises
            `ValueError` for a guidance: there is no text.
        """
        sampling = fill(UPSAMPLING, sampling, options)
        return small.upsample(self, as_images(images), key, sampling, part, noise)

    def upsample_all(
        self,
        images: Pictures,
        *,
        key: AnyKey | None = None,
        sampling: Sampling | None = None,
        noise: Mapping[str, Noise] | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Float[Array, "b size size 3"]:
        """Small images through all upsamplers that are loaded, one after another; see `upsample`.

        noise: by part.
        """
        sampling = fill(UPSAMPLING, sampling, options)
        return small.upsample_all(self, as_images(images), key, sampling, noise)

    def variations(
        self,
        images: Pictures,
        *,
        count: Whole = 1,
        key: AnyKey | None = None,
        inverted: bool = False,
        drawing: Drawing | None = None,
        noise: Mapping[str, Noise] | None = None,
        **options: Unpack[DrawingOptions],
    ) -> Float[Array, "n size size 3"]:
        """`count` pictures for each image, with its CLIP embedding: `manipulations.variations`."""
        drawing = manipulations.drawing_of_variations(inverted, drawing, options)
        return manipulations.variations(
            self, images, count, key, inverted, drawing, known_noises(noise)
        )

    def interpolate(
        self,
        first: Picture,
        second: Picture,
        thetas: Thetas = 8,
        *,
        key: AnyKey = 0,
        latents: Latents = "slerp",
        drawing: Drawing | None = None,
        **options: Unpack[DrawingOptions],
    ) -> Float[Array, "n size size 3"]:
        """Pictures on the way from one image to another: `manipulations.interpolate`."""
        drawing = fill(manipulations.INVERTED, drawing, options)
        ends = [as_images(first), as_images(second)]
        return manipulations.interpolate(self, ends, thetas, key, latents, drawing)

    def text_diff(
        self,
        image: Picture,
        source: str,
        target: str,
        *,
        thetas: Sequence[Any] | Float[Array | np.ndarray, " n"] = THETAS,
        key: AnyKey = 0,
        drawing: Drawing | None = None,
        **options: Unpack[DrawingOptions],
    ) -> Float[Array, "n size size 3"]:
        """The image turned from what one text says to another: `manipulations.text_diff`."""
        drawing = fill(manipulations.INVERTED, drawing, options)
        return manipulations.text_diff(
            self, as_images(image), (source, target), thetas, key, drawing
        )

    def pca_reconstructions(
        self,
        image: Picture,
        dims: Sequence[int] | None = None,
        *,
        key: AnyKey = 0,
        drawing: Drawing | None = None,
        **options: Unpack[DrawingOptions],
    ) -> Float[Array, "n size size 3"]:
        """The image of some dimensions of its embedding: `manipulations.pca_reconstructions`."""
        drawing = fill(manipulations.INVERTED, drawing, options)
        return manipulations.pca_reconstructions(self, as_images(image), dims, key, drawing)

    def reconstruction_dims(self, dims: Sequence[int] | None = None) -> list[int]:
        """The dimensions of `pca_reconstructions`; raises its errors."""
        return manipulations.reconstruction_dims(self, dims)

    def ablate_prior(
        self,
        prompts: Texts,
        *,
        key: AnyKey,
        drawing: Drawing | None = None,
        **options: Unpack[DrawingOptions],
    ) -> dict[str, Float[Array, "b size size 3"]]:
        """What the prior is good for (section 5.1): `manipulations.ablate_prior`."""
        drawing = fill(Drawing(), drawing, options)
        return manipulations.ablate_prior(self, as_texts(prompts), key, drawing)

    def texts_beside(self, prompts: Texts | None, count: int) -> tuple[TextFeatures, TextFeatures]:
        """The features of the prompts beside `count` embeddings ("" where None), and of none."""
        prompts = [""] * count if prompts is None else as_texts(prompts)
        if len(prompts) != count:
            raise ValueError(f"{count} embeddings need as many prompts or none, got {len(prompts)}")
        return self.encode_with_empty(prompts)

    def _shown(
        self,
        embeddings: Float[Array | np.ndarray, "b d"] | None,
        prompts: Sequence[str] | None,
        dropped: Dropped,
    ) -> Shown:
        """What is decoded, and what guidance moves away from."""
        if embeddings is not None:
            check_number("embeddings", embeddings)
            count, z = len(embeddings), jnp.asarray(embeddings)
        elif prompts is not None:
            width = self.part("decoder").config.conditioning.embedding_width
            count, z = len(prompts), jnp.zeros((len(prompts), width))
        else:
            raise ValueError("nothing to decode: give embeddings, prompts or both")
        seen = jnp.full(count, embeddings is not None)
        text, empty = self.texts_beside(prompts, count)
        if dropped == "image":
            empty = text
        return Shown(z, text, empty, seen, seen if dropped == "text" else jnp.zeros(count, bool))
