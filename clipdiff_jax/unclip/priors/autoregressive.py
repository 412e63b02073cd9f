"""The autoregressive prior with what it was fitted to, and its sampling.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2. Parameters by name: "network" of
`models.ar_prior`; "pca", the principal components of CLIP's image embeddings, of which it predicts
the first; "quantiser", the bounds `low` and `high` of their buckets and the `dot_edges` of those of
the dot product z_i . z_t.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.request import Number
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.sampler import Steps, scanned
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.models import pca, quantiser
from clipdiff_jax.models.ar_prior import NETWORK, ARPrior, ARPriorConfig
from clipdiff_jax.models.clip import unit
from clipdiff_jax.models.pca import PCA
from clipdiff_jax.models.unclip import TextFeatures

COMPONENTS, QUANTISER = "pca", "quantiser"


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ARPriorModel:
    """An autoregressive prior.

    Attributes:
      config: the network, and how many components and buckets there are.
      params: of the network, by `NETWORK`, and what it was fitted to, by `COMPONENTS` and
        `QUANTISER`.
      dtype: what the network computes in.
      remat: recompute its blocks in the backward pass.
    """

    config: ARPriorConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})
    remat: bool = field(default=False, metadata={"static": True})

    @property
    def components(self) -> PCA:
        """The principal components of CLIP's image embeddings."""
        return PCA(**self.params[COMPONENTS])

    def apply(
        self, text: TextFeatures, dot: Int[Array, " b"], codes: Int[Array, "b k"]
    ) -> tuple[Float[Array, "b q"], Float[Array, "b k n"]]:
        """The raw network output: logits of the dot product's bucket and of every code."""
        embedding, hidden, mask, _ = text
        return run(self._network(), self.params[NETWORK], embedding, hidden, mask, dot, codes)

    def to_codes(
        self, image: Float[Array, "b d"], text: Float[Array, "b d"]
    ) -> tuple[Int[Array, " b"], Int[Array, "b k"]]:
        """Image embeddings, beside those of their texts -> (bucket of the dot product, codes)."""
        q, config = self.params[QUANTISER], self.config
        coefficients = pca.project(self.components, image)[:, : config.dims]
        dot = quantiser.to_equal_mass_codes(dot_products(image, text), q["dot_edges"])
        return dot, quantiser.to_codes(coefficients, q["low"], q["high"], config.buckets)

    def from_codes(self, codes: Int[Array, "b k"]) -> Float[Array, "b d"]:
        """The image embeddings, not normalised, at the centres of the codes' buckets."""
        q = self.params[QUANTISER]
        coefficients = quantiser.from_codes(codes, q["low"], q["high"], self.config.buckets)
        return pca.restore(self.components, coefficients)

    def draw(
        self,
        text: TextFeatures,
        empty: TextFeatures,
        guidance: Float[Array, "..."],
        temperature: Float[Array, "..."],
        keys: Key[Array, " b"],
    ) -> Float[Array, "b d"]:
        """Texts -> CLIP image embeddings, not normalised, drawn code by code.

        empty: of the text "", as many. guidance, temperature: scalars or one for each text. Each
        code is drawn from

            softmax((l_empty + guidance (l_text - l_empty)) / temperature)

        by adding `temperature` times Gumbel noise, so 0 takes the likeliest. The bucket of the dot
        product is drawn from the upper half of those of the training data, and the same for the
        empty text. Picture i is drawn with `keys[i]` alone.
        """
        return _draw(self, text, empty, guidance, temperature, keys)

    def draw_codes(
        self,
        text: TextFeatures,
        empty: TextFeatures,
        guidance: Float[Array, "..."],
        temperature: Float[Array, "..."],
        keys: Key[Array, " b"],
    ) -> Int[Array, "b k"]:
        """The codes that `draw` draws: one evaluation for the prefix, then one per code."""
        return scanned(self.codes(text, empty, guidance, temperature, keys), keep=True)

    def codes(
        self,
        text: TextFeatures,
        empty: TextFeatures,
        guidance: Float[Array, "..."],
        temperature: Float[Array, "..."],
        keys: Key[Array, " b"],
    ) -> Steps:
        """The drawing of `draw_codes` taken apart."""
        config = self.config
        apply = functools.partial(self._network().apply, {"params": self.params[NETWORK]})
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), text, empty)
        dot = upper_half(config, keys)
        column = lambda scale: jnp.asarray(scale, jnp.float32)[..., None]

        def draw(logits: Array, index: Int[Array, ""] | int) -> Int[Array, " b"]:
            of_text, of_empty = jnp.split(logits, 2)
            guided = of_empty + column(guidance) * (of_text - of_empty)
            gumbel = lambda key: jax.random.gumbel(
                _fold(key, index), (config.buckets,), jnp.float32
            )
            noise = jax.vmap(gumbel)(keys)
            return jnp.argmax(guided + column(temperature) * noise, axis=-1).astype(jnp.int32)

        def step(carry: tuple[Array, Any], index: Array) -> tuple[tuple[Array, Any], Array]:
            logits, cache = carry
            code = draw(logits, index)
            return apply(_twice(code), both.mask, cache, method="extend"), code

        def end(carry: tuple[Array, Any], codes: Array) -> Array:
            last = draw(carry[0], config.dims - 1)
            return jnp.concatenate([codes, last[None]]).T

        carry = apply(both.embedding, both.hidden, both.mask, _twice(dot), method="begin")
        return Steps(carry, step, jnp.arange(config.dims - 1), end)

    def _network(self) -> ARPrior:
        return ARPrior(self.config, remat=self.remat, dtype=self.dtype)


def fitted_params(
    config: ARPriorConfig, components: PCA, dots: Float[np.ndarray, " n"], deviations: Number
) -> Params:
    """The parameters that data gives: components and buckets.

    components: of the image embeddings. dots: the dot products (`dot_products`) of training pairs.
    deviations: the codes' buckets reach so many standard deviations from the mean.
    """
    low, high = quantiser.symmetric_range(
        np.asarray(components.variances)[: config.dims], deviations
    )
    edges = quantiser.equal_mass_edges(dots, config.dot_buckets)
    return {
        COMPONENTS: {
            name: np.asarray(array, np.float32) for name, array in components._asdict().items()
        },
        QUANTISER: {"low": low, "high": high, "dot_edges": edges},
    }


def dot_products(image: Float[Array, "b d"], text: Float[Array, "b d"]) -> Float[Array, " b"]:
    """z_i . z_t, of embeddings brought to unit length: CLIP's cosine."""
    return jnp.sum(unit(image) * unit(text), axis=-1)


def upper_half(config: ARPriorConfig, keys: Key[Array, " b"]) -> Int[Array, " b"]:
    """A bucket of the dot product for each key, from the upper half of the training data's."""
    count = config.dot_buckets

    def draw(key: Array) -> Array:
        return jax.random.randint(_fold(key, config.dims), (), count // 2, count, jnp.int32)

    return jax.vmap(draw)(keys)


@stepping("drawing embeddings", keep=True, donate=True)
def _draw(
    prior: ARPriorModel,
    text: TextFeatures,
    empty: TextFeatures,
    guidance: Array,
    temperature: Array,
    keys: Array,
) -> Steps:
    return prior.codes(text, empty, guidance, temperature, keys).then(prior.from_codes)


def _fold(key: Array, index: Int[Array, ""] | int) -> Array:
    return jax.random.fold_in(key, index)


def _twice(x: Array) -> Array:
    """With the text and without it."""
    return jnp.concatenate([x, x])
