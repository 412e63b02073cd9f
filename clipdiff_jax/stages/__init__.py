"""What can be trained: one file a stage, each a config dataclass and `build(config) -> Stage`."""

from dataclasses import dataclass, field
from typing import assert_never

from clipdiff_jax.stages import (
    ar_prior,
    base,
    clip,
    decoder,
    diffusion_prior,
    direct_prior,
    edit,
    upsampler,
)
from clipdiff_jax.stages.ar_prior import ARPriorStage
from clipdiff_jax.stages.base import BaseStage
from clipdiff_jax.stages.clip import ClipStage
from clipdiff_jax.stages.decoder import DecoderStage
from clipdiff_jax.stages.diffusion_prior import DiffusionPriorStage
from clipdiff_jax.stages.direct_prior import DirectPriorStage
from clipdiff_jax.stages.edit import EditStage
from clipdiff_jax.stages.upsampler import UpsamplerStage
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.stage import Stage

StageConfig = (
    BaseStage
    | ClipStage
    | EditStage
    | DiffusionPriorStage
    | ARPriorStage
    | DirectPriorStage
    | DecoderStage
    | UpsamplerStage
)


@dataclass(frozen=True)
class RunConfig:
    """What `train.py` runs: a stage, and how to train it."""

    stage: StageConfig
    train: TrainConfig = field(default_factory=TrainConfig)


def build(config: StageConfig, *, only_shapes: bool = False) -> Stage:
    """Builds the stage that the config describes.

    With `only_shapes` costly preparations (an edit's inversion) are left out: enough to compile a
    step and see what it needs, not to train.
    """
    if isinstance(config, BaseStage):
        return base.build(config)
    if isinstance(config, ClipStage):
        return clip.build(config)
    if isinstance(config, EditStage):
        return edit.build(config, invert=not only_shapes)
    if isinstance(config, DiffusionPriorStage):
        return diffusion_prior.build(config)
    if isinstance(config, ARPriorStage):
        return ar_prior.build(config, fit=not only_shapes)
    if isinstance(config, DirectPriorStage):
        return direct_prior.build(config)
    if isinstance(config, DecoderStage):
        return decoder.build(config)
    if isinstance(config, UpsamplerStage):
        return upsampler.build(config)
    assert_never(config)
