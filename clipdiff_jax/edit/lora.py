"""Edits of low rank (`models.lora`) of a model: their parameters, and the model with them."""

from collections.abc import Sequence
from functools import partial

import jax
from jaxtyping import Array, Key

from clipdiff_jax.core.types import Params
from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.space import Base, Config, init_network
from clipdiff_jax.models.lora import Strength, beside, init_lora


def init_low_rank(objective: EditObjective, config: Config, key: Key[Array, ""]) -> Params:
    """New parameters for an edit of a model of this config."""
    shapes = jax.eval_shape(partial(init_network, config), key)
    return init_lora(shapes, objective.rank, key, objective.trainable)


def adapted_denoiser(base: Base, loras: Sequence[Params], strengths: Sequence[Strength]) -> Denoise:
    """The base model with all of these changes at once, each at its strength (scalar or [B]).

    Costs one evaluation of the network, however many they are.
    """
    changes = list(zip(loras, strengths, strict=True))

    def denoise(x_t: Array, t: Array, cond: Cond) -> Prediction:
        with beside(changes):
            return base.denoise(x_t, t, cond)

    return denoise
