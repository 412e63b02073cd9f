"""Stage `base`: pretrain an unconditional pixel diffusion model with the noise loss.

The first half of the editing system (DiffusionCLIP, Kim et al. 2022, section 3.1): a model of faces
whose DDIM inversion keeps the picture and whose fine-tuning changes it.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
from jaxtyping import Array, Key

from clipdiff_jax.core.config import formerly
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.blank import Blank
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.transforms import prepare
from clipdiff_jax.diffusion.losses import NoiseLoss, Weighting
from clipdiff_jax.diffusion.prediction import Cond
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.pixel.load import load_diffusion, save_diffusion
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig


@dataclass(frozen=True, kw_only=True)
class BaseStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: what to train on.
      model: the network, its schedule and its target.
      start: the model to fine-tune, as `load_diffusion` takes it; it may lack the last stage at
        full resolution (`refine_channels`), which then starts from random parameters. None starts
        from random parameters whole, for which older configs wrote "".
      flip: mirror half of the images.
      weighting: of the noise loss over time, see `diffusion.losses`.
      dtype: what the network computes in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
      preview_count, preview_steps: images and DDIM steps of the samples in the log.
    """

    data: DataConfig
    model: DiffusionConfig = field(default_factory=DiffusionConfig)
    start: str | None = formerly(None, {"": None})
    flip: bool = True
    weighting: Weighting = "uniform"
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"
    preview_count: int = 16
    preview_steps: int = 50

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self)

    def outline(self) -> Stage:
        return make_stage(replace(self, start=None), Blank(self.model.image_size))


def build(config: BaseStage) -> Stage:
    """Opens the data and joins network, schedule and loss.

    Raises `ValueError` if `start` holds another architecture than `model`, and what opening the
    data or the folder raises.
    """
    return make_stage(config, open_source(config.data))


def make_stage(config: BaseStage, source: DataSource) -> Stage:
    """The stage over a given source; `config.data` is not looked at."""
    model, dtype = config.model, as_dtype(config.dtype)
    start = None if config.start is None else _read_start(config.start, model)
    noise_loss = NoiseLoss(
        model.schedule, model.prediction, config.weighting, model.learned_variance
    )

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        del frozen
        x0 = batch["image"]
        time_key, noise_key, dropout_key = jax.random.split(key, 3)
        t, eps = noise_loss.draw(x0, time_key, noise_key)

        def network(x_t: Array, t: Array, cond: Cond) -> Array:
            del cond
            return Diffusion(model, params, dtype).apply(x_t, t, dropout_key=dropout_key)

        value, metrics = noise_loss(network, x0, t, eps)
        return value, Aux(metrics)

    def preview(params: Params, frozen: Params, key: Key[Array, ""]) -> dict[str, Array]:
        del frozen
        diffusion = Diffusion(model, params, dtype)
        return {
            "samples": diffusion.generate(config.preview_count, key=key, steps=config.preview_steps)
        }

    def export(path: Path, params: Params) -> None:
        save_diffusion(path, model, params, dtype=as_dtype(config.export_dtype))

    return Stage(
        init=partial(init_params, model),
        loss=loss,
        source=source,
        transform=prepare(model.image_size, config.flip),
        start=start,
        preview=preview,
        export=export,
    )


def _read_start(source: str, model: DiffusionConfig) -> Params:
    """Parameters to train on from; raises `ValueError` for those of another network."""
    base = load_diffusion(source)
    found = base.config.unet
    if found == model.unet:
        return base.params
    if found == replace(model.unet, refine_channels=None):
        return {**init_params(model, jax.random.key(0)), **base.params}
    raise ValueError(f"'{source}' has the network {found}, not {model.unet}")
