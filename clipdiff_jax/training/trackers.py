"""Where a run is followed from outside: TensorBoard, Weights & Biases, through one adapter.

A tracker takes the scalars of a log line and the pictures of a preview. `trackers_of` makes those
that a config asks for; another service is one more class here.
"""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from clipdiff_jax.core.checks import Number
from clipdiff_jax.core.config import ConfigError, to_dict
from clipdiff_jax.core.files import json_bytes, write_whole
from clipdiff_jax.training.config import TrainConfig

TENSORBOARD, WANDB = "tensorboard", "wandb.json"  # what they leave in the folder of the run


@runtime_checkable
class Tracker(Protocol):
    """What follows a run."""

    def scalars(self, step: int, values: dict[str, Number]) -> None:
        """The values of a log line."""

    def picture(self, step: int, name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        """The sheet of a preview."""

    def close(self) -> None:
        """The run is over, or stopped."""


class TensorBoard:
    """Events in `tensorboard/` of the folder. Raises `ConfigError` where it is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "train.tensorboard=true needs the extra: pip install 'clipdiff-jax[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder / TENSORBOARD))

    def scalars(self, step: int, values: dict[str, Number]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of a project there; one that is resumed here goes on there.

    Where nobody is logged in, the service's own rules apply: `WANDB_MODE=offline` keeps everything
    in the folder. Raises `ConfigError` where it is not installed.
    """

    def __init__(self, folder: Path, project: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigError(
                f"train.wandb={project!r} needs the extra: pip install 'clipdiff-jax[wandb]'"
            ) from error
        self._wandb = wandb
        known = folder / WANDB
        self._run = wandb.init(
            project=project,
            name=folder.resolve().name,
            id=json.loads(known.read_text())["id"] if known.is_file() else None,
            resume="allow",
            dir=str(folder),
            config=config,
        )
        write_whole(known, json_bytes({"id": self._run.id, "project": project}))

    def scalars(self, step: int, values: dict[str, Number]) -> None:
        self._run.log(values, step=step)

    def picture(self, step: int, name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        self._run.log({name: self._wandb.Image(pixels, caption=f"step {step}")}, step=step)

    def close(self) -> None:
        self._run.finish()


def trackers_of(config: TrainConfig, folder: Path) -> list[Tracker]:
    """Those that the config asks for. Raises `ConfigError` for one that is not installed."""
    found: list[Tracker] = []
    if config.tensorboard:
        found.append(TensorBoard(folder))
    if config.wandb is not None:
        found.append(WeightsAndBiases(folder, config.wandb, to_dict(config)))
    return found
