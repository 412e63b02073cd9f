"""The contract between a stage (what is learned) and the trainer (how).

A stage is built once from its config; everything that differs between training CLIP, a diffusion
model, a prior or an edit is in here, and the trainer knows nothing else about it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

Params = Any  # pytree of arrays
Batch = dict[str, Any]  # arrays with the batch as leading axis


class Aux(NamedTuple):
    """What a loss returns beside its value.

    Attributes:
      metrics: scalars for the log, averaged over micro-batches.
      batch: what the next round sees of the same batch (stages with `rounds` > 1 only).
    """

    metrics: dict[str, Array]
    batch: Batch | None = None


@dataclass(frozen=True)
class Stage:
    """One thing to train.

    Attributes:
      init: key -> params. Runs under `jit` (and `eval_shape`), so parameters are born sharded.
      loss: (params, frozen, batch, key) -> (scalar, Aux). Sees the global batch; whatever it
        averages is the mean over all devices.
      source: random-access examples, see `data.sources.DataSource`.
      transform: (example, numpy Generator) -> dict of arrays of one fixed shape each.
      frozen: pytree of arrays that the loss reads and nothing changes; sharded, never donated.
      start: pytree to start from instead of `init` (fine-tuning), on the host or on devices.
      trainable: regex over parameter paths (`"a/b/kernel"`, `re.search`); "" trains everything.
      rounds: optimiser updates a batch; see `Aux.batch`.
      preview: (params, frozen, key) -> named images [N, H, W, 3] in [-1, 1] for the log.
      export: (folder, params) -> None; writes the model folder that `load_*` reads.
    """

    init: Callable[[Array], Params]
    loss: Callable[[Params, Params, Batch, Array], tuple[Array, Aux]]
    source: Any
    transform: Callable[[dict, np.random.Generator], dict[str, np.ndarray]] | None = None
    frozen: Params = None
    start: Params = None
    trainable: str = ""
    rounds: int = 1
    preview: Callable[[Params, Params, Array], dict[str, Array]] | None = None
    export: Callable[[Path, Params], None] | None = None


def path_string(path: tuple) -> str:
    """A parameter's path as `"a/b/kernel"`, from jax's key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
