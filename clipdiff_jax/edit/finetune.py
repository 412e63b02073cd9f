"""Learning an edit in one call, from pictures, a model, a CLIP and two texts.

The edit stage of `clipdiff train` without files: what is learned is an `EditObjective`, how it is
learned a `Finetuning`.
"""

from dataclasses import dataclass
from typing import TypedDict, Unpack

import jax
import numpy as np

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.batching import for_devices
from clipdiff_jax.core.checks import checked_options
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.keys import HIGHEST_SEED
from clipdiff_jax.core.request import Number, Request, fill, option
from clipdiff_jax.data.images import Pictures
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.objective import EditObjective, ObjectiveOptions
from clipdiff_jax.edit.presets import DEFAULT, default_rate
from clipdiff_jax.edit.run import squares_for
from clipdiff_jax.edit.space import Base, Model, as_base
from clipdiff_jax.edit.stage import make_stage
from clipdiff_jax.edit.t0 import with_t0
from clipdiff_jax.perceptual.identity import FaceEncoder
from clipdiff_jax.pixel.load import is_demo
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig


class FinetuningOptions(TypedDict, total=False):
    """The fields of `Finetuning` as keywords of a call."""

    passes: int
    batch_size: int
    learning_rate: Number | None
    gain: Number | None
    seed: int
    progress: bool | None


class FinetuneOptions(FinetuningOptions, ObjectiveOptions, total=False):
    """The keywords of `finetune_edit`: fields of `Finetuning` and of `EditObjective`."""


@dataclass(frozen=True, kw_only=True)
class Finetuning(Request):
    """How an edit is learned.

    Attributes:
      passes: over the pictures.
      batch_size: pictures per step; fewer where there are fewer.
      learning_rate: falling to zero; None for what `edit.presets.default_rate` says.
      gain: multiply the learning rate by this after each pass, instead of letting it fall.
      seed: of the order of the pictures and the noise.
      progress: whether bars are shown, see `core.progress`.
    """

    passes: int = option(8, "passes over the pictures", low=1)
    batch_size: int = option(4, "pictures per step", low=1)
    learning_rate: Number | None = option(None, "at the start (default: by the size)", above=0)
    gain: Number | None = option(None, "factor of the learning rate after each pass", above=0)
    seed: int = option(0, "of the order of the pictures and the noise", low=0, high=HIGHEST_SEED)
    progress: bool | None = option(None, "show bars, on a terminal or not")

    def train_config(self, base: Base, objective: EditObjective, count: int) -> TrainConfig:
        """The run of the trainer over `count` pictures, on all devices."""
        batch_size = for_devices(min(self.batch_size, count), jax.device_count())
        steps_a_pass = max(count // batch_size, 1)
        rate = self.learning_rate
        if rate is None:
            size = sum(leaf.size for leaf in jax.tree.leaves(base.params))
            low_rank = objective.parameters == "lora"
            rate = default_rate(size, objective.mode, low_rank=low_rank)
        if self.gain is None:
            optim = OptimConfig(learning_rate=rate, schedule="linear")
        else:
            optim = OptimConfig(
                learning_rate=rate,
                schedule="passes",
                pass_gain=self.gain,
                pass_updates=steps_a_pass * objective.rounds,
            )
        return TrainConfig(
            steps=self.passes * steps_a_pass,
            batch_size=batch_size,
            seed=self.seed,
            log_every=steps_a_pass,
            optim=optim,
        )


def finetune_edit(
    images: Pictures,
    base: Model,
    clip: Clip,
    source_text: str,
    target_text: str,
    *,
    face: FaceEncoder | None = None,
    **options: Unpack[FinetuneOptions],
) -> Edit:
    """Learns the edit from `source_text` to `target_text`, without touching the disk but for the
    cache of latents.

    Args:
      images: what to learn from, as of `edit.api.edit`; about 16 to 50.
      base: the model to tune, of pixels or of latents.
      clip: the model that judges.
      source_text: what the pictures show.
      target_text: what they should show.
      face: a face recogniser, for the identity loss; needed where `identity` is not 0.
      options: fields of `Finetuning`, such as passes=5, and of `EditObjective`, such as t0=500,
        l1=3.0 or mode="single_step". Those of the objective that are not given are
        `edit.presets.DEFAULT`, which docs/results.md compares with the published ones (passes=5,
        batch_size=1, learning_rate=8e-6, gain=1.3, t0=400, l1=1, noise=0, length=0,
        augmentations=0).

    Raises `TypeError` for an option that does not exist and `ValueError` for one out of its range.
    """
    _check_names(options)
    how = {k: v for k, v in options.items() if k in FinetuningOptions.__annotations__}
    finetuning = fill(Finetuning(), None, how)
    model = as_base(base)
    pictures = np.asarray(squares_for(images, model))
    objective = with_t0(_objective(source_text, target_text, options), model, clip, pictures)
    progress = finetuning.progress
    stage = make_stage(objective, model, clip, pictures, face=face, progress=progress)
    config = finetuning.train_config(model, objective, len(pictures))
    state = fit(stage, config, progress=progress)
    source = "demo" if is_demo(model) else ""
    return Edit(model.config, state.params, objective, model.fingerprint, source)


def _objective(source_text: str, target_text: str, options: FinetuneOptions) -> EditObjective:
    """`DEFAULT`, with those options that are fields of the objective."""
    fields = ObjectiveOptions.__annotations__
    given = {name: value for name, value in options.items() if name in fields}
    settings = DEFAULT | checked_options(EditObjective, given)
    if settings.get("mode") == "h_space":
        settings["noise"] = options.get("noise", 0.0)  # it has no noise loss
    return EditObjective(source_text=source_text, target_text=target_text, **settings)


def _check_names(options: FinetuneOptions) -> None:
    names = [*FinetuningOptions.__annotations__, *ObjectiveOptions.__annotations__]
    for name in options:
        if name not in names:
            raise TypeError(
                f"no option '{name}'.{nearest(name, names)} Options: {', '.join(names)}"
            )
