"""Where a run begins: the shape of its state, and the state from which it resumes.

Shapes, shardings and the optimiser are planned once, before anything is allocated. The state is
then the newest checkpoint's, or is born sharded by the plan: no device ever holds more than its
part.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from clipdiff_jax.core.compilation import jit_once
from clipdiff_jax.core.devices import AnyMesh
from clipdiff_jax.training.checkpoint import Checkpoints
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.optim import make_optimizer
from clipdiff_jax.training.run_log import RunLog
from clipdiff_jax.training.stage import Stage
from clipdiff_jax.training.state import TrainState, new_state, state_sharding


@dataclass(frozen=True)
class Plan:
    """A run's state before it exists.

    Attributes:
      abstract: its shapes, dtypes and shardings.
      optimizer: what updates it.
    """

    abstract: TrainState
    optimizer: optax.GradientTransformation

    @property
    def shardings(self) -> TrainState:
        return jax.tree.map(lambda leaf: leaf.sharding, self.abstract)


def plan_state(stage: Stage, config: TrainConfig, mesh: AnyMesh) -> Plan:
    """Shapes and shardings of the state on `mesh`, and its optimiser; allocates nothing."""
    # The key is a shape too: the devices of the mesh may not be here to draw one on.
    params = jax.eval_shape(lambda: stage.init(jax.random.key(config.seed)))
    updates = config.steps * stage.rounds
    optimizer = make_optimizer(config.optim, updates, params, stage.trainable)
    shapes = jax.eval_shape(lambda: new_state(stage, optimizer, config.seed, config.ema > 0))
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_sharding(mesh, shapes, config.mesh.min_split),
    )
    return Plan(abstract, optimizer)


def first_state(
    stage: Stage, config: TrainConfig, plan: Plan, checkpoints: Checkpoints | None, log: RunLog
) -> TrainState:
    """The newest good checkpoint's state, or that of step 0 where there are none."""
    restored = None if checkpoints is None else checkpoints.restore(plan.abstract)
    if restored is not None:
        log.say(f"resuming from step {int(restored.step)}")
        return restored
    shardings = plan.shardings
    create = jit_once(
        lambda seed, params: new_state(stage, plan.optimizer, seed, config.ema > 0, params),
        out_shardings=shardings,
        donate_argnums=1,
    )
    start = None
    if stage.start is not None:
        start = jax.tree.map(jax.device_put, stage.start, shardings.params)
    # The seed is an argument: as a constant it would have the compiler work out the parameters.
    return create(jnp.int32(config.seed), start)
