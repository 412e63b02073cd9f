"""The diffusion prior: CLIP image embeddings of texts, drawn from noise.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2. Its network predicts x0, the embedding at mean 0
and deviation 1. Beside the network's parameters it may have stored what Analytic-DPM needs.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.guidance import classifier_free
from clipdiff_jax.diffusion.prediction import Cond, Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.diffusion.steps import Gamma, Sampler, StepOptions, make_step
from clipdiff_jax.models.diffusion_prior import DiffusionPrior
from clipdiff_jax.models.unclip import Prior, TextFeatures
from clipdiff_jax.unclip.walk import Walk, steps_of_walk

NETWORK = "prior"
GAMMA = "gamma"  # {"times", "values"}: what `analytic` sampling was estimated as


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DiffusionPriorModel:
    """A diffusion prior.

    Attributes:
      config: network, schedule, bound and guidance.
      params: of the network, by `NETWORK`, and where it is stored `GAMMA`.
      dtype: what the network computes in.
      remat: recompute the network's blocks in the backward pass.
    """

    config: Prior = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})
    remat: bool = field(default=False, metadata={"static": True})

    @property
    def gamma(self) -> Gamma | None:
        """Gamma of Analytic-DPM, where it is stored."""
        stored = self.params.get(GAMMA)
        return None if stored is None else (stored["times"], stored["values"])

    def shape(self, count: int) -> tuple[int, int]:
        """Of the noise of `count` embeddings."""
        return count, self.config.network.embedding_width

    def apply(
        self, z_t: Float[Array, "b d"], t: Int[Array, " b"], cond: Cond
    ) -> Float[Array, "b d"]:
        """The raw network output; cond: `TextFeatures` as a dictionary."""
        network = DiffusionPrior(self.config.network, remat=self.remat, dtype=self.dtype)
        return run(network, self.params[NETWORK], z_t, t, cond)

    def denoise(self, z_t: Float[Array, "b d"], t: Int[Array, "..."], cond: Cond) -> Prediction:
        """The prior as a `Denoise`."""
        return make_denoise(self.apply, self.config.schedule, "x0")(z_t, t, cond)

    def restore(self, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """From mean 0 and deviation 1 to CLIP's units."""
        network = DiffusionPrior(self.config.network, dtype=self.dtype)
        return run(network, self.params[NETWORK], z, method="restore")

    def draw(
        self, text: TextFeatures, empty: TextFeatures, walk: Walk, *, sampler: Sampler
    ) -> Float[Array, "b d"]:
        """Texts -> CLIP image embeddings, not normalised. empty: of the text "", as many.

        Raises `ValueError` for the sampler "analytic" where there is no Gamma.
        """
        return _draw(self, text, empty, walk, sampler=sampler)


@stepping("drawing embeddings", static_argnames="sampler")
def _draw(
    prior: DiffusionPriorModel,
    text: TextFeatures,
    empty: TextFeatures,
    walk: Walk,
    *,
    sampler: Sampler,
) -> Steps:
    guided = classifier_free(prior.denoise, empty._asdict(), walk.guidance)
    step = make_step(sampler, prior.config.schedule, StepOptions(walk.eta, gamma=prior.gamma))
    return steps_of_walk(prior.config, guided, step, walk, text._asdict()).then(prior.restore)
