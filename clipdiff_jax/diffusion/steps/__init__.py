"""The step rules by name: a sampler is whatever makes a step rule of a schedule.

`SAMPLERS` is the whole list that calls and commands know; adding one is a file here and a line in
it. Your own needs neither: every call that takes a sampler takes a function of the schedule.

    def euler(schedule):
        def step(x, prediction, t, t_next, z):
            alpha, after = schedule.alpha(t), schedule.alpha(t_next)
            change = schedule.sigma(t_next) / after - schedule.sigma(t) / alpha
            return after * (x / alpha + change * prediction.eps)
        return step

    cd.load_diffusion("demo").generate(4, key=0, sampler=euler)
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Array, Float, Int

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.request import Scale
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.sampler import StepRule
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.steps.analytic import analytic
from clipdiff_jax.diffusion.steps.ancestral import ancestral
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.diffusion.steps.dpm_solver import dpm_solver
from clipdiff_jax.diffusion.steps.heun import heun
from clipdiff_jax.diffusion.steps.karlo import karlo_step

Gamma = tuple[Int[Array, " times"], Float[Array, " times"]]
Sampler = str | Callable[[NoiseSchedule], StepRule]


@dataclass(frozen=True)
class StepOptions:
    """What a step rule may need beside the schedule.

    eta: of DDIM. learned_variance: whether predictions have a variance of their own. gamma: of
    Analytic-DPM, times and values (`steps.analytic`), where the model has it stored.
    """

    eta: Scale = 0.0
    learned_variance: bool = False
    gamma: Gamma | None = None


def _ancestral(schedule: NoiseSchedule, options: StepOptions) -> StepRule:
    """On Karlo's schedule in Karlo's arithmetic."""
    if isinstance(schedule, KarloSchedule):
        return karlo_step(schedule, "learned" if options.learned_variance else "small")
    return ancestral(schedule, "learned" if options.learned_variance else "small")


def _analytic(schedule: NoiseSchedule, options: StepOptions) -> StepRule:
    if options.gamma is None:
        raise ValueError(
            "sampler 'analytic' is a diffusion prior's that has Gamma stored: train or export it "
            "with stage.gamma_times above 0"
        )
    return analytic(schedule, *options.gamma)


SAMPLERS: dict[str, Callable[[NoiseSchedule, StepOptions], StepRule]] = {
    "ancestral": _ancestral,
    "ddim": lambda schedule, options: ddim(schedule, options.eta),
    "dpm_solver": lambda schedule, options: dpm_solver(schedule),
    "heun": lambda schedule, options: heun(schedule),
    "analytic": _analytic,
}


def check_sampler(sampler: Sampler) -> None:
    """Raises `ValueError`, with the nearest name, for one that does not exist."""
    if not callable(sampler) and sampler not in SAMPLERS:
        raise ValueError(
            f"sampler must be one of {', '.join(SAMPLERS)} or a function schedule -> step rule, "
            f"got {sampler!r}.{nearest(str(sampler), SAMPLERS)}"
        )


def make_step(
    sampler: Sampler, schedule: NoiseSchedule, options: StepOptions | None = None
) -> StepRule:
    """The step rule of a sampler that is named, or given as a function of the schedule.

    Raises `ValueError` for an unknown name, and for "analytic" without Gamma.
    """
    check_sampler(sampler)
    if callable(sampler):
        return sampler(schedule)
    return SAMPLERS[sampler](schedule, options or StepOptions())
