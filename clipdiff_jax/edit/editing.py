"""How an edit is applied, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from clipdiff_jax.core.checks import check_number
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.progress import Watched
from clipdiff_jax.core.request import Number, Request, Scale, option
from clipdiff_jax.diffusion.steps import Sampler, check_sampler

Method = Literal["ddim", "fixed_point", "edict"]


class EditingOptions(Watched, total=False):
    """The fields of `Editing` as keywords of a call that has a strength of its own."""

    ratios: Sequence[Number] | None
    t0: int | None
    steps: int
    sampler: Sampler
    method: Method | None
    fixed_point: int
    random_inversion: bool
    purify: int


@dataclass(frozen=True, kw_only=True)
class Editing(Request):
    """How pictures are inverted, and generated again by what edits have learned.

    Attributes:
      strength: degree of change, eps = g eps_edited + (1 - g) eps_base, one for all pictures or one
        for each: 0 reconstructs, 1 is as learned, values beyond exaggerate.
      ratios: how much of each edit, where there are several; normalised, None for equal parts. A
        negative one leads away from what its edit does.
      t0: time index to invert to; None for the largest that the edits were trained at.
      steps: times of inversion and of generation.
      sampler: of the generation, see `diffusion.steps`; inversion undoes "ddim".
      method: how to invert: "ddim", the editing paper's walk; "fixed_point", all steps of
        generation, each refined by `fixed_point` iterations; "edict", two coupled samples, exact at
        any number of steps. None is "fixed_point" where iterations are given, else "ddim".
      fixed_point: iterations that refine each inversion step.
      random_inversion: noise the picture at random instead of inverting it: stochastic edits.
      purify: repeat so many times, before anything else: {noise to t0, a few steps of the base
        model}; brings strokes and foreign domains into the model's (about 8 or more).

    Strength, ratios, t0 and purify are traced: changing them compiles nothing new. Raises
    `ValueError` for a number out of its range, an unknown name (with the nearest), ratios without a
    positive sum, iterations that do not go with the method, and a sampler beside "edict".
    """

    strength: Scale = option(1.0, "how much of the edit: 0 none, 1 as learned, more exaggerates")
    ratios: Sequence[Number] | None = option(None, "how much of each edit")
    t0: int | None = option(
        None, "time to invert to; a larger one can change more (default: as trained)", low=1
    )
    steps: int = option(40, "times of inversion and of generation", low=2)
    sampler: Sampler = option("ddim", "sampler of the generation")
    method: Method | None = option(
        None, "how to invert (default: fixed_point where iterations are given, else ddim)"
    )
    fixed_point: int = option(0, "iterations refining each inversion step", low=0)
    random_inversion: bool = option(False, "add random noise instead of inverting")
    purify: int = option(
        0,
        "rounds of noising and denoising with the base model before the edit, for strokes and "
        "foreign domains (8 or more)",
        low=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sampler(self.sampler)
        if self.method is not None and self.method not in get_args(Method):
            raise ValueError(
                f"method must be one of {', '.join(get_args(Method))}, got {self.method!r}."
                f"{nearest(str(self.method), get_args(Method))}"
            )
        if self.method is not None and (self.method == "fixed_point") != (self.fixed_point > 0):
            wanted = "1 or more" if self.method == "fixed_point" else "0"
            raise ValueError(
                f"fixed_point={self.fixed_point} with method={self.method!r}: expected {wanted}"
            )
        if self.inversion == "edict" and self.sampler != "ddim":
            raise ValueError(
                f"sampler {self.sampler!r} with the method 'edict', which generates by its own "
                "coupled steps: leave the sampler at 'ddim'"
            )
        if self.ratios is not None and sum(self.ratios) <= 0:
            raise ValueError(f"ratios must have a positive sum, got {list(self.ratios)}")

    @property
    def inversion(self) -> Method:
        """The method that is meant."""
        if self.method is not None:
            return self.method
        return "fixed_point" if self.fixed_point else "ddim"

    def check_times(self, t0: int, num_steps: int) -> None:
        """Raises `ValueError` for a t0 beyond a schedule of `num_steps` times."""
        check_number("t0", t0, low=1, high=num_steps - 1)
