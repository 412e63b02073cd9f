"""A stage small enough to run hundreds of steps in a test: least squares with noise."""

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.training.stage import Aux, Stage

CONFIG = TrainConfig(
    steps=12,
    batch_size=8,
    ema=0.9,
    log_every=4,
    optim=OptimConfig(learning_rate=0.01, schedule="cosine"),
    checkpoint=CheckpointConfig(every=4),
)


class Points:
    """Random access to 64 rows of a fixed linear problem."""

    fingerprint = "points"

    def __init__(self, width=8):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(64, width)).astype(np.float32)
        self.y = self.x @ rng.normal(size=(width,)).astype(np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.y[index]}


def keep(example, rng):
    """The transform: the arrays as they are, and a number that the loader's generator drew."""
    return {**example, "drawn": np.float32(rng.normal())}


def toy_stage(width=8, blow_up_at=None, **options) -> Stage:
    """Weights and a bias under noisy inputs; from step `blow_up_at` on the loss is infinite."""

    def init(key):
        return {
            "dense": {"kernel": jax.random.normal(key, (width, width)), "bias": jnp.zeros(width)},
            "out": jnp.ones((width,)),
        }

    def loss(params, frozen, batch, key):
        x = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
        hidden = x @ params["dense"]["kernel"] + params["dense"]["bias"]
        error = hidden @ params["out"] - batch["y"]
        value = jnp.mean(error**2) + 0.0 * batch["drawn"].mean()
        if blow_up_at is not None:
            value = value * jnp.where(batch["x"][0, 0] > blow_up_at, jnp.inf, 1.0)
        return value, Aux({"drawn": batch["drawn"].mean()}, batch)

    return Stage(init=init, loss=loss, source=Points(width), transform=keep, **options)
