"""Everything that a run needs to resume: one pytree, created on the devices it will live on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from clipdiff_jax.core.devices import AnyMesh, tree_sharding
from clipdiff_jax.core.types import Params
from clipdiff_jax.training.stage import Stage


class TrainState(NamedTuple):
    """Attributes:
    step: batches seen, int32.
    params: what is trained.
    opt: the optimiser's state.
    ema: moving average of the parameters, or None.
    key: the run's random key; step s uses `fold_in(key, s)`.
    """

    step: Array
    params: Params
    opt: optax.OptState
    ema: Params
    key: Array


def new_state(
    stage: Stage,
    optimizer: optax.GradientTransformation,
    seed: int | Int[Array, ""],
    with_ema: bool,
    params: Params = None,
) -> TrainState:
    """The state of step 0; a pure function of `seed`, to be traced under `jit` or `eval_shape`.

    params: those to start from, in place of new ones.
    """
    init_key, key = jax.random.split(jax.random.key(seed))
    params = stage.init(init_key) if params is None else params
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if with_ema else None,
        key=key,
    )


def state_sharding(mesh: AnyMesh, state: TrainState, min_split: int) -> TrainState:
    """Shardings of a state (arrays or shapes); the optimiser's moments lie with their parameters
    because they have their shapes."""
    return tree_sharding(mesh, state, min_split)
