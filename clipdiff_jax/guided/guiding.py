"""How a CLIP guides a model, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from clipdiff_jax.core.progress import Watched
from clipdiff_jax.core.request import Number, Request, option
from clipdiff_jax.diffusion.gradient_guidance import See
from clipdiff_jax.diffusion.grids import Spacing
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.steps import Sampler
from clipdiff_jax.perceptual.lpips import Lpips

Classes = int | Sequence[int] | Literal["random"] | None


@dataclass(frozen=True, kw_only=True)
class Guiding(Request):
    """How pictures are drawn under guidance of a CLIP's gradient.

    Attributes:
      steps, sampler, eta, spacing: as of `Sampling`.
      scale: of the distance between cutouts and prompts on CLIP's sphere. With the clamp at work it
        says how CLIP's wishes stand against the other terms, not how strong they are together.
      tv: of the total variation of what CLIP sees: smooths.
      range: of what x0 has outside of [-1, 1].
      saturation: of what the picture that CLIP sees has outside of [-1, 1].
      init_scale: of the distance to the start picture: LPIPS where one is given, else the mean
        square.
      cutouts: random squares that CLIP sees of each picture at each step.
      power: of the uniform number that sizes are drawn by; 0 is the whole picture, more than 1
        prefers small cutouts.
      clamp: the most that guidance changes eps in a step, as root mean square over a picture; None
        for no bound, as in the first releases.
      see: what CLIP is shown, "x0" or "blend", see `diffusion.gradient_guidance`.
      skip: with a start picture, the steps that are left out: the walk begins from it with the
        noise of that time.
      classes: of a model that has them: one for all pictures, one for each, or "random", drawn anew
        at each step.

    Everything but sampler, steps, skip, cutouts, see and "random" is traced: changing it compiles
    nothing new. Raises `ValueError` for a number out of its range, an unknown name (with the
    nearest), and a skip that leaves no step.
    """

    steps: int = option(100, "steps of the walk, each with a gradient", low=1)
    sampler: Sampler = option("ddim", "how to step from one time to the next")
    eta: Number = option(0.0, "DDIM's noise, from 0 (none) to 1 (as much as DDPM)", low=0, high=1)
    spacing: Spacing | None = option(None, "how times are spread; the model's own if not given")
    scale: Number = option(1000.0, "weight of CLIP's distance to the prompts")
    tv: Number = option(150.0, "weight of total variation (smoothness)")
    range: Number = option(50.0, "weight of values of x0 outside of the range")
    saturation: Number = option(0.0, "weight of values outside of the range in what CLIP sees")
    init_scale: Number = option(0.0, "weight of the distance to the start picture")
    cutouts: int = option(16, "random squares that CLIP sees at each step", low=1)
    power: Number = option(1.0, "sizes of cutouts: 0 the whole picture, above 1 small", low=0)
    clamp: Number | None = option(
        0.05, "most that guidance changes the noise in a step, root mean square", above=0
    )
    see: See = option("blend", "what CLIP is shown")
    skip: int = option(0, "steps left out where there is a start picture", low=0)
    classes: Classes = option(None, "class of the pictures")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sampling  # noqa: B018 - raises for what cannot be sampled
        if self.see not in get_args(See):
            raise ValueError(f"see={self.see!r}, expected one of {', '.join(get_args(See))}")
        if self.skip >= self.steps:
            raise ValueError(f"skip={self.skip} of {self.steps} steps leaves no step")
        if isinstance(self.classes, str) and self.classes != "random":
            raise ValueError(f"classes={self.classes!r}, expected numbers or 'random'")

    @property
    def sampling(self) -> Sampling:
        """The walk without guidance."""
        return Sampling(steps=self.steps, sampler=self.sampler, eta=self.eta, spacing=self.spacing)


class GuidingOptions(Watched, total=False):
    """What `clip_guided` takes by keyword: a request, single fields of it, and an LPIPS."""

    guiding: Guiding | None
    lpips: Lpips | None
    steps: int
    sampler: Sampler
    eta: Number
    spacing: Spacing | None
    scale: Number
    tv: Number
    range: Number
    saturation: Number
    init_scale: Number
    cutouts: int
    power: Number
    clamp: Number | None
    see: See
    skip: int
    classes: Classes
