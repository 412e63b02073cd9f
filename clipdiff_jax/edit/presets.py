"""Settings for each kind of edit: how far to noise, what to weigh, how fast to learn.

What changes decides the settings. A part of the face keeps its surroundings (t0 500, strong L1 and
noise loss); a colour has to leave the flat areas it fills, which survive in the latents of less
noise (t0 600, a weaker hold); a shape wants both; an art style is everything at once (t0 700). The
hinge on the length of the change makes edits strong enough to be counted. Where an edit tints what
it should leave alone, training only the levels below the finest (`INNER`) keeps more; it takes a
higher learning rate. See docs/results.md for what was measured with them, and `edit.t0` for a t0
from the pictures and texts themselves.

`published` is what there is to compare with: DiffusionCLIP (Kim et al. 2022, arXiv 2110.02711) as
its code was released.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from clipdiff_jax.core.config import ConfigError, nearest
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.avatars.styles import MAIN_STYLE
from clipdiff_jax.edit.objective import EditObjective, Mode
from clipdiff_jax.edit.stage import EditStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig

FALLING = OptimConfig(learning_rate=2e-4, schedule="linear")
PUBLISHED_RATE = 8e-6
STEEPER = dataclasses.replace(FALLING, learning_rate=3e-4)
INNER = "^(mid|(down|up)_[1-9])_"  # a UNet's parameters at less than its full resolution
# The learning rate of each mode beside the unrolled one's: "single_step" makes six updates per
# batch, "noised" learns from rougher guesses, and the small network of "h_space" starts from
# nothing.
MODE_RATES: dict[Mode, float] = {
    "unrolled": 1.0,
    "single_step": 0.4,
    "noised": 0.25,
    "h_space": 14.0,
}
# The learning rate of changes of low rank beside the whole model's; 10 learned the smile less well.
LOW_RANK_RATE = 25.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What edits of one kind have in common; `weights` are fields of `EditObjective`."""

    t0: int
    weights: dict[str, Any]
    optim: OptimConfig
    passes: int


KINDS = {
    "part": Kind(
        t0=500,
        weights={"l1": 3.0, "noise": 3.0, "length": 1.5, "wanted_length": 0.75},
        optim=FALLING,
        passes=8,
    ),
    "shape": Kind(
        t0=600,
        weights={"l1": 3.0, "noise": 3.0, "length": 1.5, "wanted_length": 0.75},
        optim=FALLING,
        passes=8,
    ),
    "colour": Kind(
        t0=600,
        weights={"l1": 2.0, "noise": 2.0, "length": 1.0, "wanted_length": 0.65},
        optim=OptimConfig(learning_rate=2e-4),
        passes=5,
    ),
    "style": Kind(
        t0=700,
        weights={"l1": 1.0, "noise": 0.0},
        optim=OptimConfig(learning_rate=2.5e-4),
        passes=5,
    ),
}
VIEWS = {"augmentations": 4}
# Of any edit, unless more is known of it: a part of the face, at the t0 that the texts ask for.
DEFAULT: dict[str, Any] = {"t0": None, **VIEWS, **KINDS["part"].weights}
WITH = ("a face with {}", "a person with {}", "a portrait with {}", "a character with {}")
WEARING = ("a face with {}", "a person with {}", "a face wearing {}", "a character wearing {}")
BEFORE = ("a {} face", "a {} person", "a {} portrait", "a {} character")
OF = ("{} of a face", "{} of a person", "{} of a character")


@dataclass(frozen=True, kw_only=True)
class EditPreset:
    """Describes how an edit of avatars is learned, and what it should change.

    Attributes:
      attribute, target, sources: what changes, in the data's own words: the training pictures and
        the held-out faces that judge have one of `sources`.
      objective: what is learned.
      optim: how fast.
      images, batch_size, passes: pictures, pictures per step, and times each picture is seen.
    """

    attribute: str
    target: str
    sources: tuple[str, ...]
    objective: EditObjective
    optim: OptimConfig
    images: int = 32
    batch_size: int = 4
    passes: int = 5

    @property
    def only(self) -> tuple[str, ...]:
        """The condition on training pictures, as `EditStage.only` has it."""
        main = (f"style={MAIN_STYLE}",)
        if self.attribute == "style":
            return main
        return (*main, f"{self.attribute}={'|'.join(self.sources)}")

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.passes * self.images // self.batch_size

    def run_config(self) -> RunConfig:
        """The recipe for `clipdiff train`."""
        return RunConfig(
            stage=EditStage(
                data=AvatarsData(size=64, count=2000),
                only=self.only,
                images=self.images,
                objective=self.objective,
            ),
            train=TrainConfig(
                steps=self.steps,
                batch_size=self.batch_size,
                log_every=5,
                preview_every=self.steps,
                optim=self.optim,
                checkpoint=CheckpointConfig(every=self.steps, keep=1),
            ),
        )


def _preset(
    kind: str,
    change: tuple[str, tuple[str, ...], str],
    texts: tuple[str, str],
    templates: tuple[str, ...],
    own: dict[str, Any] | None = None,
    **settings: Any,
) -> EditPreset:
    """`change` is (attribute, sources, target); `own` are fields of the objective that differ from
    the kind's, `settings` those of the preset."""
    common, (attribute, sources, target) = KINDS[kind], change
    objective = EditObjective(
        source_text=texts[0],
        target_text=texts[1],
        templates=templates,
        **{"t0": common.t0, **VIEWS, **common.weights, **(own or {})},
    )
    return EditPreset(
        attribute=attribute,
        target=target,
        sources=sources,
        objective=objective,
        **{"optim": common.optim, "passes": common.passes, **settings},
    )


# Measured in docs/results.md. A beard is a pattern that only CLIP takes for one; dark_skin and
# pixel_art fail.
PRESETS: dict[str, EditPreset] = {
    "smile": _preset(
        "part", ("mouth", ("serious",), "smile"), ("serious", "smiling"), BEFORE, passes=10
    ),
    "glasses": _preset(
        "part",
        ("glasses", ("none",), "glasses"),
        ("no glasses", "glasses"),
        WEARING,
        own={"t0": 400, "l1": 4.0, "negative_texts": ("sunglasses",)},
        images=16,
        passes=7,
    ),
    "beard": _preset(
        "part",
        ("beard", ("none",), "beard"),
        ("no beard", "a beard"),
        WITH,
        own={"l1": 2.0, "noise": 1.0, "length": 2.0, "wanted_length": 0.9, "trainable": INNER},
        optim=STEEPER,
    ),
    "long_hair": _preset(
        "shape",
        ("hair_style", ("short",), "long"),
        ("short hair", "long hair"),
        WITH,
        own={"wanted_length": 0.85, "trainable": INNER},
        optim=STEEPER,
    ),
    "red_hair": _preset(
        "colour", ("hair_color", ("black",), "red"), ("black hair", "red hair"), WITH
    ),
    "red_clothes": _preset(
        "colour",
        ("clothes_color", ("white",), "red"),
        ("white clothes", "red clothes"),
        WITH,
        own={"trainable": INNER},
    ),
    "dark_skin": _preset("colour", ("skin", ("pale",), "dark"), ("pale skin", "dark skin"), WITH),
    "pixel_art": _preset(
        "style", ("style", (MAIN_STYLE,), "pixel-art"), ("a cartoon", "pixel art"), OF
    ),
}
PUBLISHED = "published/"


def preset(name: str) -> EditPreset:
    """The preset of that name, or for "published/NAME" `published` of it.

    Raises `ConfigError`, with the nearest name, where there is none.
    """
    plain = name.removeprefix(PUBLISHED)
    if plain not in PRESETS:
        names = [*PRESETS, *(PUBLISHED + one for one in PRESETS)]
        raise ConfigError(
            f"no edit preset '{name}'; there are {', '.join(PRESETS)}, each also after "
            f"'{PUBLISHED}'.{nearest(name, names)}"
        )
    return published(PRESETS[plain]) if name.startswith(PUBLISHED) else PRESETS[plain]


def default_rate(parameters: int, mode: Mode = "unrolled", *, low_rank: bool = False) -> float:
    """The learning rate for a model of so many parameters.

    Unrolled, 2e-4 at the demo's 6.9M, as the presets have it, and 8e-6 at 114M, as published; else
    by the power law through these two, which nothing has tested. Of the other modes `MODE_RATES`
    times that; in h-space and of low rank, where the model itself stays, times the demo's.
    """
    at_demo = FALLING.learning_rate * MODE_RATES[mode]
    if low_rank:
        return at_demo * LOW_RANK_RATE
    if mode == "h_space":
        return at_demo
    power = math.log(FALLING.learning_rate / PUBLISHED_RATE) / math.log(113.7e6 / 6.9e6)
    return at_demo * (6.9e6 / parameters) ** power


def published(ours: EditPreset) -> EditPreset:
    """The same edit by the recipe that DiffusionCLIP's code was released with.

    Kept: t0 400 (601 for a style); the grid, with an inversion of 39 evaluations that takes the
    clean picture for the sample at index 0, against 40 of generation; 6 unrolled steps in training;
    the loss 3 L_dir in the log form + L1, and no other term; no views before CLIP; 50 pictures, 5
    passes, one picture per step; Adam at 8e-6, multiplied by 1.3 after every pass, without decay
    and without bound on the gradient; all parameters trained.

    Not kept: its 79 templates, which a CLIP of 86 words cannot read (`configs/celebahq/edit.py` has
    them), the order of the pictures (the same in every pass there, drawn anew here), and what
    changes no result, such as CLIP's weights left trainable.
    """
    objective = EditObjective(
        source_text=ours.objective.source_text,
        target_text=ours.objective.target_text,
        templates=ours.objective.templates,
        t0=601 if ours.attribute == "style" else 400,
    )
    images = 50
    optim = OptimConfig(
        learning_rate=PUBLISHED_RATE,
        schedule="passes",
        pass_gain=1.3,
        pass_updates=images,
        clip_norm=None,
    )
    return dataclasses.replace(
        ours, objective=objective, optim=optim, images=images, batch_size=1, passes=5
    )
