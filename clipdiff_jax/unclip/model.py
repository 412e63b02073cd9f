"""unCLIP as a thing to hold: pictures from texts, and what can be done with pictures.

Ramesh et al. 2022, arXiv 2204.06125. `generate` is the whole path from a text to a large picture
(section 2). The manipulations of section 3 describe a picture by two latents: its CLIP image
embedding z_i, which says what it shows, and the x_T from which the decoder, as a deterministic
DDIM conditioned on z_i, draws it; so x_T is all else. Variations keep z_i, interpolations go from
one pair to another, and text diffs turn z_i towards the difference of two texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.keys import picture_keys
from clipdiff_jax.diffusion.grids import Steps, step_grid
from clipdiff_jax.diffusion.interpolation import slerp
from clipdiff_jax.models.clip import unit
from clipdiff_jax.models.pca import PCA, reconstruct
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.unclip.ar_prior import COMPONENTS
from clipdiff_jax.unclip.calls import NOISES, Images, Scale, StageCalls, draw_noise
from clipdiff_jax.unclip.networks import Sampler

Image = Float[Array | np.ndarray, "h w 3"]
Keys = Key[Array, "..."]
UPSAMPLERS = ("upsampler", "upsampler_1024")
DIMS = (20, 30, 40, 80, 120, 160, 200, 320)  # the paper's, figure 7
THETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, eq=False)
class UnClip(StageCalls):
    """A loaded unCLIP; see `StageCalls` for its attributes, randomness and samplers.

    Pictures come out as large as the upsamplers that are loaded make them; with none they are the
    decoder's.
    """

    def generate(
        self,
        prompts: Sequence[str],
        *,
        key: Keys | None = None,
        guidance: Scale | None = None,
        prior_guidance: Scale | None = None,
        steps: Steps = 25,
        prior_steps: Steps = 25,
        upsample_steps: Steps = 7,
        sampler: Sampler = "ancestral",
        eta: Scale = 0.0,
        threshold: Scale | None = None,
        candidates: int = 1,
        prior: str | None = None,
        temperature: Scale = 1.0,
        noise: Mapping[str, Noise] | None = None,
    ) -> Float[Array, "b size size 3"]:
        """One picture in [-1, 1] for each prompt.

        guidance, prior_guidance: classifier-free guidance scales of decoder and prior, scalar or
            one for each picture; 1 is unguided, None the model's own.
        steps, prior_steps, upsample_steps: evaluations, evenly spread; or how many in each of
            equal sections of the schedule, the least noise first, or "glide", see `step_grid`.
        sampler, eta, threshold: of the decoder, see `decode`.
        candidates, prior, temperature: see `embed_prompts`.
        noise: in place of drawing from `key`, by stage: "prior", "decoder", "upsampler".
        """
        noise = _known_noises(noise)
        embedding = self.embed_prompts(
            prompts,
            key=key,
            guidance=prior_guidance,
            steps=prior_steps,
            candidates=candidates,
            prior=prior,
            temperature=temperature,
            noise=noise.get("prior"),
        )
        small = self.decode(
            embedding, prompts, key=key, guidance=guidance, steps=steps, sampler=sampler, eta=eta,
            threshold=threshold, noise=noise.get("decoder"),
        )  # fmt: skip
        return self.enlarge(small, key=key, steps=upsample_steps, noise=noise)

    def enlarge(
        self,
        images: Images,
        *,
        key: Keys | None = None,
        steps: Steps = 7,
        noise: Mapping[str, Noise] | None = None,
    ) -> Float[Array, "b size size 3"]:
        """Small images through all upsamplers that are loaded, one after another."""
        noise = _known_noises(noise)
        images = jnp.asarray(images)
        for stage in UPSAMPLERS:
            if stage in self.configs:
                given = noise.get(stage)
                images = self.upsample(images, key=key, steps=steps, stage=stage, noise=given)
        return images

    def variations(
        self,
        images: Images | Image,
        *,
        count: int = 1,
        key: Keys | None = None,
        guidance: Scale | None = None,
        steps: Steps = 25,
        upsample_steps: Steps = 7,
        inverted: bool = False,
        eta: Scale = 1.0,
        noise: Mapping[str, Noise] | None = None,
    ) -> Float[Array, "n size size 3"]:
        """`count` pictures for each image in [-1, 1] (or the one image), with its CLIP embedding.

        The variations of an image follow each other.

        inverted: start from the image's own x_T and add noise by DDIM with `eta` (section 3.1):
            0 gives the image back, and the larger eta, the more is drawn anew. Otherwise, as in
            Karlo, all but the embedding is, by ancestral sampling.
        guidance: None is the model's own, or 1 for `inverted`, since a scale far from 1 cannot be
            inverted well.
            See `generate` for the rest.
        """
        noise = _known_noises(noise)
        images = jnp.asarray(images).reshape(-1, *images.shape[-3:])
        embedding = jnp.repeat(self.embed_images(images), count, axis=0)
        if guidance is None and inverted:
            guidance = 1.0
        options: dict[str, Any] = {"guidance": guidance, "steps": steps}
        if not inverted:
            given = noise.get("decoder")
            small = self.decode(embedding, key=key, noise=given, **options)
        else:
            if "decoder" in noise:
                raise ValueError("inverted variations start from x_T: noise of 'decoder' is unused")
            if key is None:
                raise ValueError("variations draw noise: give a key")
            x_t = self.invert(self.small(images), embedding[::count], **options)
            x_t = jnp.repeat(x_t, count, axis=0)
            drawn = draw_noise(NOISES.index("decoder"), key, self._count(steps), x_t.shape).steps
            start = Noise(x_t, drawn)
            small = self.decode(embedding, sampler="ddim", eta=eta, noise=start, **options)
        return self.enlarge(small, key=key, steps=upsample_steps, noise=noise)

    def interpolate(
        self,
        first: Image,
        second: Image,
        thetas: int | Sequence[float] | Float[Array, " n"] = 8,
        *,
        key: Keys | None = None,
        latents: Literal["slerp", "fixed"] = "slerp",
        guidance: Scale = 1.0,
        steps: Steps = 50,
        upsample_steps: Steps = 7,
    ) -> Float[Array, "n size size 3"]:
        """Pictures on the way from one image in [-1, 1], at theta 0, to another, at 1.

        thetas: where on the way, or how many pictures, evenly spread from end to end.

        The embedding goes along the great circle (section 3.2), and so does x_T from one image's
        own to the other's ("slerp"), or it stays one that is drawn from `key` ("fixed"), and then
        the ends are variations of the images.
        """
        if latents not in ("slerp", "fixed"):
            raise ValueError(f"latents must be 'slerp' or 'fixed', got {latents!r}")
        key = jax.random.key(0) if key is None else key
        options: dict[str, Any] = {"guidance": guidance, "steps": steps}
        ends = jnp.stack([self.small(jnp.asarray(i)[None])[0] for i in (first, second)])
        z = jnp.concatenate([self.embed_images(jnp.asarray(i)[None]) for i in (first, second)])
        theta = jnp.linspace(0, 1, thetas) if isinstance(thetas, int) else jnp.asarray(thetas)
        if latents == "slerp":
            x_t = _path(self.invert(ends, z, **options), theta)
        else:
            x_t = self._one_latent(key, len(theta))
        return self._redraw(x_t, _path(z, theta), key, upsample_steps, **options)

    def text_diff(
        self,
        image: Image,
        source: str,
        target: str,
        *,
        thetas: Sequence[float] | Float[Array, " n"] = THETAS,
        key: Keys | None = None,
        guidance: Scale = 1.0,
        steps: Steps = 50,
        upsample_steps: Steps = 7,
    ) -> Float[Array, "n size size 3"]:
        """The image in [-1, 1] turned from what one text says to what another says.

        With z_t, z_t0 the embeddings of `target` and `source`, z_d the direction of z_t - z_t0 and
        x_T the image's own, one picture for each theta is decoded from slerp(z_i, z_d, theta)
        (section 3.3). `source` may be the image's own caption, "a photo" or "".
        """
        key = jax.random.key(0) if key is None else key
        options: dict[str, Any] = {"guidance": guidance, "steps": steps}
        images = jnp.asarray(image)[None]
        z = self.embed_images(images)
        x_t = self.invert(self.small(images), z, **options)
        before, after = unit(self.encode_texts([source, target]).embedding)
        difference = after - before
        if float(jnp.linalg.norm(difference)) < 1e-6:
            raise ValueError(f"'{source}' and '{target}' have the same embedding: no direction")
        turned = jnp.linalg.norm(z) * unit(difference)[None]
        theta = jnp.asarray(thetas, jnp.float32)
        z = slerp(jnp.repeat(z, len(theta), axis=0), jnp.repeat(turned, len(theta), axis=0), theta)
        x_t = jnp.repeat(x_t, len(theta), axis=0)
        return self._redraw(x_t, z, key, upsample_steps, **options)

    def pca_reconstructions(
        self,
        image: Image,
        dims: Sequence[int] | None = None,
        *,
        key: Keys | None = None,
        guidance: Scale = 1.0,
        steps: Steps = 50,
        upsample_steps: Steps = 7,
    ) -> Float[Array, "n size size 3"]:
        """The image in [-1, 1] decoded from the first `dims` principal components of its embedding.

        All with one x_T, drawn from `key` (section 4). dims: None takes those of the paper that the
        embedding has. The components are those that the autoregressive prior was fitted to, so it
        has to be loaded. Raises `ValueError` for more dimensions than the embedding has.
        """
        dims = self.reconstruction_dims(dims)
        components = PCA(**self._stage("ar_prior")[1][COMPONENTS])
        key = jax.random.key(0) if key is None else key
        z = jnp.repeat(self.embed_images(jnp.asarray(image)[None]), len(dims), axis=0)
        z = reconstruct(components, z, jnp.asarray(dims))
        x_t = self._one_latent(key, len(dims))
        return self._redraw(x_t, z, key, upsample_steps, guidance=guidance, steps=steps)

    def reconstruction_dims(self, dims: Sequence[int] | None = None) -> list[int]:
        """The dimensions of `pca_reconstructions`; raises its errors."""
        _, params = self._stage("ar_prior")
        most = len(params[COMPONENTS]["variances"])
        if dims is None:
            # An embedding narrower than the paper's fewest dimensions is shown whole.
            return [d for d in DIMS if d <= most] or [most]
        if wrong := [d for d in dims if not 0 <= d <= most]:
            raise ValueError(f"dims {wrong[0]}, expected 0 to {most}, the embedding's width")
        return list(dims)

    def ablate_prior(
        self,
        prompts: Sequence[str],
        *,
        key: Keys,
        guidance: Scale | None = None,
        prior_guidance: Scale | None = None,
        steps: Steps = 25,
        prior_steps: Steps = 25,
        upsample_steps: Steps = 7,
    ) -> dict[str, Float[Array, "b size size 3"]]:
        """What the prior is good for (section 5.1): the prompts decoded in three ways, one noise.

        "caption": from the text alone, without an embedding; "text embedding": with the text's own
        in place of an image's; "prior": with the prior's.
        """
        ways: dict[str, Array | None] = {
            "caption": None,
            "text embedding": self.encode_texts(prompts).embedding,
            "prior": self.embed_prompts(
                prompts, key=key, guidance=prior_guidance, steps=prior_steps
            ),
        }
        pictures = {}
        for name, z in ways.items():
            small = self.decode(z, prompts, key=key, guidance=guidance, steps=steps)
            pictures[name] = self.enlarge(small, key=key, steps=upsample_steps)
        return pictures

    def _count(self, steps: Steps) -> int:
        """How often `steps` has the decoder evaluated."""
        return len(step_grid(self._stage("decoder")[0].schedule.num_steps, steps)) - 1

    def _one_latent(self, key: Keys, count: int) -> Float[Array, "n h w 3"]:
        """One x_T, drawn from the key, `count` times."""
        size = self._stage("decoder")[0].image_size
        x_t = draw_noise(NOISES.index("decoder"), key, 1, (1, size, size, 3)).start
        return jnp.repeat(x_t, count, axis=0)

    def _redraw(
        self,
        x_t: Float[Array, "b h w 3"],
        z: Float[Array, "b d"],
        key: Keys,
        upsample_steps: Steps,
        *,
        guidance: Scale,
        steps: Steps,
    ) -> Float[Array, "b size size 3"]:
        """Decodes pairs (z, x_T), all enlarged with the same noise, so that they differ in these
        only."""
        start = Noise(x_t, jnp.zeros((self._count(steps), *x_t.shape)))
        small = self.decode(z, guidance=guidance, steps=steps, sampler="ddim", noise=start)
        one = picture_keys(key, jnp.zeros(1, int))[0]
        keys = jnp.stack([one] * len(x_t))
        return self.enlarge(small, key=keys, steps=upsample_steps)


def _path(ends: Float[Array, "2 ..."], theta: Float[Array, " n"]) -> Float[Array, "n ..."]:
    """From the first to the second along the great circle."""
    first, second = (jnp.repeat(end[None], len(theta), axis=0) for end in ends)
    return slerp(first, second, theta)


def _known_noises(noise: Mapping[str, Noise] | None) -> Mapping[str, Noise]:
    for name in noise or {}:
        if name not in NOISES:
            raise ValueError(
                f"noise for '{name}', not one of {', '.join(NOISES)}.{nearest(name, NOISES)}"
            )
    return noise or {}
