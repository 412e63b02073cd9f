"""Stage `puzzles`: learn to denoise the poses of pieces.

The network predicts the clean poses x0 of eq. 1 in `data.puzzles`, and the loss is Huber's, without
weights over time (DiffAssemble, arXiv 2402.19302, section 3.2 and its release):

    L = mean over the pieces that are there of huber(x0_hat - x0)                          (1)
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key

from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.blank import Blank
from clipdiff_jax.data.puzzles import Puzzles, Size, joined, puzzle_transform
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.transforms import first_examples, to_float
from clipdiff_jax.diffusion.losses import NoiseLoss
from clipdiff_jax.diffusion.prediction import q_sample
from clipdiff_jax.models.poses import PosesConfig, init_params
from clipdiff_jax.reassembly.answer import assign, read_turns
from clipdiff_jax.reassembly.model import (
    DEFAULT,
    Reassembly,
    load_reassembly,
    save_reassembly,
    walk,
)
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig


@dataclass(frozen=True, kw_only=True)
class PuzzleStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: the pictures.
      puzzles: how they are cut.
      model: the network and its schedule.
      start: the model to train on from, as `load_reassembly` takes it; it may have had room for
        another number of pieces. None starts from random parameters.
      dtype: what the network computes in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
      preview_count, preview_steps: puzzles whose answers are in the log, and DDIM steps of those.
    """

    data: DataConfig
    puzzles: Puzzles = field(default_factory=Puzzles)
    model: PosesConfig = field(default_factory=PosesConfig)
    start: str | None = None
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "bfloat16"
    preview_count: int = 16
    preview_steps: int = 30

    def __post_init__(self) -> None:
        if self.puzzles.turns != self.model.squares.turns:
            raise ValueError(
                f"puzzles.turns is {self.puzzles.turns} and model.encoder.turns is "
                f"{self.model.squares.turns}: expected the same"
            )

    def build(self, *, only_shapes: bool = False) -> Stage:
        return make_stage(self, open_source(self.data))

    def outline(self) -> Stage:
        return make_stage(replace(self, start=None), Blank(self.model.squares.piece))


def make_stage(config: PuzzleStage, source: DataSource) -> Stage:
    """The stage over a given source; `config.data` is not looked at.

    Raises `ValueError` if `start` holds another network than `model`, and where the puzzles have
    more pieces than the model takes.
    """
    model, dtype = config.model, as_dtype(config.dtype)
    transform = puzzle_transform(config.puzzles, model.squares.piece, model.max_pieces)
    start = None if config.start is None else _read_start(config.start, model)

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        del frozen
        reassembly = Reassembly(model, params, dtype)
        x0, mask = batch["pose"], batch["mask"]
        t, eps = NoiseLoss(model.schedule, "x0").draw(x0, *jax.random.split(key))
        graph = reassembly.graph(batch["pieces"], mask, batch["size"], batch.get("edges"))
        guess = reassembly.apply(q_sample(model.schedule, x0, t, eps), t, graph)
        errors = jnp.square(guess - x0)
        metrics = {"position_mse": masked_mean(errors[..., :2], mask)}
        if model.squares.turns:
            metrics["turn_mse"] = masked_mean(errors[..., 2:], mask)
        return masked_mean(optax.huber_loss(guess, x0), mask), Aux(metrics)

    def preview(params: Params, frozen: Params, key: Key[Array, ""]) -> dict[str, Array]:
        del frozen, key
        sampling = DEFAULT.replace(steps=config.preview_steps)
        puzzles = first_examples(source, transform, config.preview_count)
        x = np.asarray(walk(Reassembly(model, params, dtype), puzzles, sampling)[0])
        answers = []
        for i, pose in enumerate(x):
            if puzzles["size"][i].tolist() != puzzles["size"][0].tolist():
                continue  # pictures of one size
            pieces = puzzles["pieces"][i][puzzles["mask"][i]]
            size, pose = Size(*map(int, puzzles["size"][i])), pose[: len(pieces)]
            answers.append(joined(pieces, assign(pose[:, :2], size), read_turns(pose), size))
        return {"answers": jnp.asarray(to_float(np.stack(answers)))}

    def export(path: Path, params: Params) -> None:
        trained = replace(model, grids=config.puzzles.grids)
        save_reassembly(path, trained, params, dtype=as_dtype(config.export_dtype))

    return Stage(
        init=partial(init_params, model),
        loss=loss,
        source=source,
        transform=transform,
        start=start,
        preview=preview,
        export=export,
    )


def masked_mean(values: Float[Array, "b p d"], mask: Bool[Array, "b p"]) -> Float[Array, ""]:
    """The mean over the pieces that are there, of all puzzles together."""
    return jnp.sum(values * mask[..., None]) / (values.shape[-1] * jnp.sum(mask))


def _read_start(source: str, model: PosesConfig) -> Params:
    start = load_reassembly(source)
    if replace(start.config, max_pieces=model.max_pieces, grids=model.grids) != model:
        raise ValueError(f"'{source}' has the network {start.config}, not {model}")
    return start.params
