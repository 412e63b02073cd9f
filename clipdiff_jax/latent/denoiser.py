"""The UNet of a latent diffusion model as an object: noisy latents and a text to a prediction."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.networks import dropout, run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.prediction import Cond, Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.diffusion.steps import Sampler
from clipdiff_jax.latent.steering.attention import Watched, map_sides, mean_map
from clipdiff_jax.latent.texts import Embedded
from clipdiff_jax.latent.walk import OnStep, Show, Walk, steps
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.models.unet import UNet

_NOT_THE_UNETS = ("concat", "attention")
SIZES = 6  # SDXL's numbers: height and width, top and left of the crop, height and width


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Denoiser:
    """A UNet with its schedule and its target; `dtype` is what it computes in."""

    config: LatentConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def apply(
        self,
        x_t: Float[Array, "b h w c"],
        t: Int[Array, " b"],
        cond: dict[str, Any],
        *,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b h w o"]:
        """The raw network output, to be traced; dropout acts where a `dropout_key` is given.

        cond: as `condition` makes it; with "concat" [B,H,W,C], further channels that the UNet sees
            after those of x_t, and with "attention", a `Steering` of its attention.
        """
        return self._applied(x_t, t, cond, dropout_key, False)

    def apply_kept(
        self, x_t: Float[Array, "b h w c"], t: Int[Array, " b"], cond: dict[str, Any]
    ) -> tuple[Float[Array, "b h w o"], Any]:
        """`apply`, and what the steering kept of its attention: the collection "maps"."""
        return self._applied(x_t, t, cond, None, "maps")

    def maps(
        self, x_t: Float[Array, "b h w c"], t: Int[Array, " b"], cond: dict[str, Any]
    ) -> Float[Array, "b i j s"]:
        """Where each token of the context is seen: the mean over heads and layers of the
        cross-attention maps that say it best, see `steering.attention.map_sides`; differentiable,
        with blocks recomputed in the backward pass."""
        sides = map_sides(self.config.unet, *x_t.shape[1:3])
        unet = replace(self.config.unet, remat=True)
        recomputed = replace(self, config=replace(self.config, unet=unet))
        _, kept = recomputed.apply_kept(x_t, t, cond | {"attention": Watched(sides)})
        return mean_map(kept).reshape(len(x_t), *sides, -1)

    def _applied(
        self, x_t: Array, t: Array, cond: dict[str, Any], dropout_key: Any, mutable: str | bool
    ) -> Any:
        known = {name: value for name, value in cond.items() if name not in _NOT_THE_UNETS}
        if "concat" in cond:
            x_t = jnp.concatenate([x_t, cond["concat"]], axis=-1)
        steering = cond.get("attention")
        found = run(
            UNet(self.config.unet, dtype=self.dtype),
            self.params,
            x_t,
            t,
            known,
            attention=None if steering is None else steering.at(t),
            mutable=mutable,
            **dropout(dropout_key),
        )
        return (found[0], found[1].get(mutable, {})) if mutable else found

    def denoise(self, x_t: Float[Array, "b h w c"], t: Int[Array, "..."], cond: Cond) -> Prediction:
        """The model as a `Denoise`; x0 is never clipped. cond: as of `apply`."""
        return make_denoise(self.apply, self.config.schedule, self.config.prediction)(x_t, t, cond)

    def predict(
        self, x_t: Float[Array, "b h w c"], t: Int[Array, " b"], cond: dict[str, Array]
    ) -> Float[Array, "b h w o"]:
        """The raw network output, compiled."""
        return _predict(self, x_t, t, cond)

    def condition(self, texts: Embedded, time_ids: Float[Array, "b n"] | None) -> dict[str, Array]:
        """What the UNet takes beside x_t and t, of what it has a use for.

        Raises `ValueError` where a pooled embedding or numbers are missing.
        """
        cond: dict[str, Array] = {"context": texts.context}
        unet = self.config.unet
        if unet.pooled_width is None:
            return cond
        if texts.pooled is None:
            raise ValueError("this model needs `pooled`, the second value of `embed_texts`")
        if unet.time_ids is None:
            return cond | {"pooled": texts.pooled}
        if time_ids is None:
            raise ValueError(f"this model needs {unet.time_ids} numbers a picture as `time_ids`")
        return cond | {"pooled": texts.pooled, "time_ids": time_ids}

    def time_ids(self, batch: int, height: int, width: int) -> Float[Array, "b n"] | None:
        """SDXL's six numbers of uncut pictures of latents' size; None where a model has others."""
        if self.config.unet.time_ids != SIZES:
            return None
        sides = height * self.config.factor, width * self.config.factor
        return jnp.tile(jnp.array([*sides, 0, 0, *sides], jnp.float32), (batch, 1))

    def walk(
        self, walk: Walk, sampler: Sampler, on_step: OnStep | None, show: Show
    ) -> Float[Array, "b h w c"]:
        """The latents at the end of a walk.

        show: what makes the pictures that `on_step` is given of latents.
        """
        look = None if on_step is None else lambda done, trace: on_step(done, show(trace.x0))
        return _walk(self, walk, first=walk.first, on_step=look, sampler=sampler)


@jax.jit
def _predict(denoiser: Denoiser, x_t: Array, t: Array, cond: dict[str, Array]) -> Array:
    return denoiser.apply(x_t, t, cond)


@stepping("drawing", static_argnames="sampler")
def _walk(denoiser: Denoiser, walk: Walk, *, sampler: Sampler) -> Steps:
    config = denoiser.config
    return steps(denoiser.denoise, config.schedule, config.prediction, walk, sampler, denoiser.maps)
