"""The contract between a stage (what is learned) and the trainer (how).

A stage is built once from its config; everything that differs between training CLIP, a diffusion
model, a prior or an edit is in here, and the trainer knows nothing else about it. Whatever derives
from `StageConfig` can be trained: a stage of your own needs no entry in a table.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.types import Params
from clipdiff_jax.data.sources import DataSource
from clipdiff_jax.data.transforms import Transform

KeyPath = tuple[Any, ...]  # jax's, of a leaf of a pytree
Batch = dict[str, Array]  # with the batch as leading axis


class Aux(NamedTuple):
    """What a loss returns beside its value.

    Attributes:
      metrics: scalars for the log, averaged over micro-batches.
      batch: what the next round sees of the same batch (stages with `rounds` > 1 only).
    """

    metrics: dict[str, Array]
    batch: Batch | None = None


# (params, frozen, batch, key) -> (scalar, Aux): what a stage minimises. It sees the global batch,
# so that whatever it averages is the mean over all devices.
Loss = Callable[[Params, Params, Batch, Key[Array, ""]], tuple[Float[Array, ""], Aux]]


class Captioned(NamedTuple):
    """Images [N, H, W, 3] in [-1, 1], and a caption for each of the first of them."""

    images: Float[Array | np.ndarray, "n h w 3"]
    captions: Sequence[str] = ()


# (params, frozen, key) -> named images in [-1, 1] for the log. Those of one number are shown as the
# rows of one sheet.
Preview = Callable[
    [Params, Params, Key[Array, ""]],
    Mapping[str, Float[Array | np.ndarray, "n h w 3"] | Captioned],
]


@dataclass(frozen=True)
class Stage:
    """One thing to train.

    Attributes:
      init: key -> params. Runs under `jit` (and `eval_shape`), so parameters are born sharded.
      loss: what is minimised, see `Loss`.
      source: random-access examples.
      transform: (example, numpy Generator) -> dict of arrays of one fixed shape each.
      frozen: pytree of arrays that the loss reads and nothing changes; sharded, never donated.
      start: pytree to start from instead of `init` (fine-tuning), on the host or on devices.
      trainable: regex over parameter paths (`"a/b/kernel"`, `re.search`); "" trains everything.
      rounds: optimiser updates per batch; see `Aux.batch`.
      preview: what it has learned so far in images, see `Preview`.
      export: (folder, params) -> None; writes the model folder that `load_*` reads.
    """

    init: Callable[[Key[Array, ""]], Params]
    loss: Loss
    source: DataSource
    transform: Transform | None = None
    frozen: Params = None
    start: Params = None
    trainable: str = ""
    rounds: int = 1
    preview: Preview | None = None
    export: Callable[[Path, Params], None] | None = None


@dataclass(frozen=True, kw_only=True)
class StageConfig(ABC):
    """Describes a stage: the frozen dataclass that a recipe holds and `config.json` records."""

    @abstractmethod
    def build(self, *, only_shapes: bool = False) -> Stage:
        """Opens the data and the models that are named and joins them into the stage.

        With `only_shapes` costly preparations (an edit's inversion) are left out: enough to compile
        a step and see what it needs, not to train. Raises `ValueError` for what does not fit, and
        what opening data and models raises.
        """

    def outline(self) -> Stage:
        """The stage where neither its data nor its models need be here, to compile a step.

        A stage that does not say how is built with `only_shapes`.
        """
        return self.build(only_shapes=True)


def path_string(path: KeyPath) -> str:
    """A parameter's path as `"a/b/kernel"`, from jax's key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
