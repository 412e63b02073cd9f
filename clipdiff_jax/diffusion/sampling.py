"""How to sample, as one value: `Sampling` is what every call that samples takes.

base.generate(4, key=0, sampling=Sampling(steps=100, sampler="heun"))
base.generate(4, key=0, steps=100, sampler="heun")              # the same
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from clipdiff_jax.core.progress import Watched
from clipdiff_jax.core.request import Request, Scale, option
from clipdiff_jax.diffusion.grids import Spacing, Steps, step_grid
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.steps import Sampler, check_sampler

TRAILING: Spacing = "trailing"


class SamplingOptions(Watched, total=False):
    """The fields of `Sampling` as keywords of a call, and `progress`."""

    steps: Steps
    sampler: Sampler
    eta: Scale
    guidance: Scale | None
    threshold: Scale | None
    spacing: Spacing | None


@dataclass(frozen=True, kw_only=True)
class Sampling(Request):
    """How a picture is drawn from noise.

    Attributes:
      steps: how often the network is evaluated (twice as often by "heun"): a number of times spread
        over the schedule by `spacing`; or how many in each of equal sections of it, the least noise
        first, such as (10, 10, 3, 2, 2); or "glide", see `diffusion.grids`.
      sampler: a name of `diffusion.steps.SAMPLERS`, or a function of the schedule that returns a
        step rule.
      eta: of DDIM; 0 is deterministic, 1 adds as much noise as DDPM.
      guidance: scale of classifier-free guidance; 1 is none, None the model's own.
      threshold: percentile of dynamic thresholding, such as 99.5, in place of clipping x0.
      spacing: "trailing" starts at the noisiest time, "linspace" has both ends, "leading" ends at
        time 0. None is the model's own, "trailing" where it has none.

    Everything but `sampler` and the number of steps is traced: changing it compiles nothing new.
    Raises `ValueError` for a number out of its range, an unknown name (with the nearest), and an
    eta with a sampler that has none.
    """

    steps: Steps = option(50, "evaluations of the network", low=1)
    sampler: Sampler = option("ddim", "how to step from one time to the next")
    eta: Scale = option(0.0, "DDIM's noise, from 0 (none) to 1 (as much as DDPM)", low=0, high=1)
    guidance: Scale | None = option(None, "scale of classifier-free guidance; 1 is none")
    threshold: Scale | None = option(
        None, "percentile of dynamic thresholding, such as 99.5", above=0, high=100
    )
    spacing: Spacing | None = option(
        None, "how the times are spread over the schedule; the model's own if not given"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sampler(self.sampler)
        step_grid(
            10**6, self.steps, self.spacing or TRAILING
        )  # the names; how many fit is the model's
        if self.sampler != "ddim" and isinstance(self.eta, (int, float)) and self.eta:
            raise ValueError(f"eta={self.eta:g} is of the sampler 'ddim', not of {self.sampler!r}")

    def times(self, schedule: NoiseSchedule) -> Int[np.ndarray, " steps_plus_1"]:
        """The grid on a schedule. Raises `ValueError` for more steps than it has times."""
        return step_grid(schedule.num_steps, self.steps, self.spacing or TRAILING)
