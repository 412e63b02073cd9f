"""The prior without diffusion: a CLIP image embedding of a text in one evaluation.

ECLIPSE (Patel et al. 2024, arXiv 2312.04655, section 3.2). Nothing is drawn.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.direct_prior import NETWORK, DirectPrior, DirectPriorConfig
from clipdiff_jax.models.unclip import TextFeatures


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DirectPriorModel:
    """A direct prior.

    Attributes:
      config: the network.
      params: its parameters, by `NETWORK`.
      dtype: what it computes in.
      remat: recompute its blocks in the backward pass.
    """

    config: DirectPriorConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})
    remat: bool = field(default=False, metadata={"static": True})

    def apply(self, text: TextFeatures) -> Float[Array, "b d"]:
        """The raw network output: embeddings at mean 0 and deviation 1."""
        inputs = (text.embedding, text.hidden, text.mask)
        return run(self._network(), self.params[NETWORK], *inputs)

    def restore(self, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """From mean 0 and deviation 1 to CLIP's units."""
        return run(self._network(), self.params[NETWORK], z, method="restore")

    def draw(self, text: TextFeatures) -> Float[Array, "b d"]:
        """Texts -> CLIP image embeddings, not normalised."""
        return _draw(self, text)

    def _network(self) -> DirectPrior:
        return DirectPrior(self.config, remat=self.remat, dtype=self.dtype)


@jax.jit
def _draw(prior: DirectPriorModel, text: TextFeatures) -> Float[Array, "b d"]:
    return prior.restore(prior.apply(text))
