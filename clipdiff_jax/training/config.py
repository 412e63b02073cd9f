"""How a run of the trainer is described."""

import dataclasses
from dataclasses import dataclass, field

from clipdiff_jax.core.batching import for_devices
from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.core.keys import HIGHEST_SEED
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.training.stage import StageConfig

_BOUNDS: dict[str, tuple[int, int | None]] = {
    "steps": (1, None), "batch_size": (1, None), "accumulate": (1, None),
    "seed": (0, HIGHEST_SEED), "workers": (0, None), "log_every": (1, None),
    "preview_every": (0, None), "export_every": (0, None),
}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """Describes a run of the trainer.

    Attributes:
      steps: batches to train on.
      batch_size: examples per step, over all devices and hosts; rounded up to what they can share.
      accumulate: micro-batches per step; must divide the batch.
      seed: of initialisation, data order and noise.
      ema: decay of the moving average of the parameters, which is what is exported; 0 for none.
      workers: processes that read data; 0 reads in this one.
      log_every: steps between log lines.
      preview_every: steps between image previews; 0 for none.
      export_every: steps between exports of the model folder; 0 for only at the end.
      tensorboard: also write TensorBoard events (needs the extra `[tensorboard]`).
      wandb: a project of Weights & Biases that also follows the run (needs the extra `[wandb]`).
      optim, mesh, checkpoint: see their classes.
    """

    steps: int = 1000
    batch_size: int = 32
    accumulate: int = 1
    seed: int = 0
    ema: float = 0.0
    workers: int = 0
    log_every: int = 50
    preview_every: int = 0
    export_every: int = 0
    tensorboard: bool = False
    wandb: str | None = None
    optim: OptimConfig = field(default_factory=OptimConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            try:
                whole_number(name, getattr(self, name), low=low, high=high)
            except ValueError as error:
                raise ConfigError(f"train.{error}") from error
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"train.accumulate={self.accumulate} does not divide "
                f"train.batch_size={self.batch_size}"
            )
        if self.wandb is not None and not self.wandb.strip():
            raise ConfigError(f"train.wandb={self.wandb!r}: expected the name of a project")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"train.ema={self.ema} is not in [0, 1)")


def on_devices(config: TrainConfig, devices: int) -> TrainConfig:
    """The config with a batch that these devices can share, see `core.batching.for_devices`."""
    size = for_devices(config.batch_size, devices, config.accumulate)
    return dataclasses.replace(config, batch_size=size)


@dataclass(frozen=True)
class RunConfig:
    """What `clipdiff train` runs: a stage, and how to train it."""

    stage: StageConfig
    train: TrainConfig = field(default_factory=TrainConfig)
