"""diffusers' `scheduler_config.json`: the noise schedule of a model, what it predicts, its walk.

The class that the file names says by which process the network was trained. Those of DDPM's (a
table of betas, Ho et al. 2020) are read, whichever way they walk; a network of another process
(EDM, consistency, flow matching, variance exploding) computes something else of x_t, and is
refused. The one place that knows the options: each is honoured, of no matter, or refused by name.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from clipdiff_jax.core.config import nearest
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Preconditioned, Target
from clipdiff_jax.diffusion.schedule import Betas, DiscreteSchedule
from clipdiff_jax.models.pixel import OwnSampling
from clipdiff_jax.weights.documents import check_class, check_options
from clipdiff_jax.weights.errors import WeightsError

T = TypeVar("T")
SCHEDULER = "scheduler_config.json"
# diffusers' word -> ours.
_BETAS: dict[str, Betas] = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "squared_cosine",
}
_TARGETS: dict[str, Target] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
_WORDS = {ours: theirs for theirs, ours in _TARGETS.items()}
_SPACINGS: dict[str, Literal["leading", "trailing", "linspace"]] = {
    "leading": "leading",
    "trailing": "trailing",
    "linspace": "linspace",
}
_KARLO = "UnCLIPScheduler"
_VARIANCES = {"small": "fixed_small_log", "learned": "learned_range"}


class _Class(NamedTuple):
    """What a class takes an option for that its file lacks.

    set_alpha_to_one: None for a class that has no such option, and walks to the clean image even
        where a file says otherwise (as SDXL's does).
    """

    clip_sample: bool = False
    timestep_spacing: str = "linspace"
    set_alpha_to_one: bool | None = True
    beta_start: float = 1e-4
    beta_end: float = 0.02


_ANCESTRAL, _SOLVER = _Class(True, "leading"), _Class(set_alpha_to_one=None)
_IN_SIGMAS = _Class(set_alpha_to_one=None, beta_start=0.00085, beta_end=0.012)
_CLASSES = {
    "DDPMScheduler": _ANCESTRAL,
    "DDPMParallelScheduler": _ANCESTRAL,
    "DDIMScheduler": _ANCESTRAL,
    "DDIMParallelScheduler": _ANCESTRAL,
    "DDIMInverseScheduler": _ANCESTRAL,
    "RePaintScheduler": _ANCESTRAL,
    "PNDMScheduler": _Class(False, "leading", False),
    "DPMSolverMultistepScheduler": _SOLVER,
    "DPMSolverMultistepInverseScheduler": _SOLVER,
    "DPMSolverSinglestepScheduler": _SOLVER,
    "DPMSolverSDEScheduler": _IN_SIGMAS,
    "DEISMultistepScheduler": _SOLVER,
    "UniPCMultistepScheduler": _SOLVER,
    "SASolverScheduler": _SOLVER,
    "LMSDiscreteScheduler": _SOLVER,
    "EulerDiscreteScheduler": _SOLVER,
    "EulerAncestralDiscreteScheduler": _SOLVER,
    "HeunDiscreteScheduler": _IN_SIGMAS,
    "KDPM2DiscreteScheduler": _IN_SIGMAS,
    "KDPM2AncestralDiscreteScheduler": _IN_SIGMAS,
}

_READ = (
    "num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type",
    "predict_epsilon", "clip_sample", "clip_sample_range", "thresholding", "sample_max_value",
    "timestep_spacing", "steps_offset", "set_alpha_to_one", "variance_type",
)  # fmt: skip
# What would change the process or the walk into one that this library lacks.
_FIXED: dict[str, Any] = {"trained_betas": None, "timestep_type": "discrete"}
# Which of diffusers' samplers it is, of no matter: which one walks is chosen with each call.
_IDLE = (
    "dynamic_thresholding_ratio", "solver_order", "algorithm_type", "solver_type",
    "lower_order_final", "euler_at_final", "lambda_min_clipped", "final_sigmas_type",
    "skip_prk_steps", "predict_x0", "disable_corrector", "predictor_order", "corrector_order",
    "eta", "noise_sampler_seed", "interpolation_type", "flow_shift", "time_shift_type",
    "tensor_format", "name_or_path",
)  # fmt: skip


def read_schedule(document: Mapping[str, Any]) -> tuple[DiscreteSchedule, Target]:
    """`scheduler_config.json` -> the schedule, and what the network predicts.

    What the file lacks is what it is in the class that it names, `DDPMScheduler` where it names
    none; so an empty one is DDPM's schedule (Ho et al. 2020). Which sampler the class is does not
    matter here. Raises `WeightsError` for a class of another training process, and for a schedule,
    a target or an option that this library lacks.
    """
    of_class = _class_of(document)
    _check_options(document)
    steps = document.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= 10**6:
        raise WeightsError(f"{SCHEDULER} has num_train_timesteps {steps!r}, expected 1 to 1000000")
    try:
        schedule = DiscreteSchedule(
            betas=_known(document, "beta_schedule", "linear", _BETAS),
            num_steps=steps,
            beta_start=_number(document, "beta_start", of_class.beta_start),
            beta_end=_number(document, "beta_end", of_class.beta_end),
        )
    except WeightsError:
        raise
    except ValueError as error:
        raise WeightsError(f"{SCHEDULER}: {error}") from error
    # The older word for the target.
    older = "epsilon" if document.get("predict_epsilon", True) else "sample"
    return schedule, _known(document, "prediction_type", older, _TARGETS)


def read_own_sampling(document: Mapping[str, Any]) -> OwnSampling:
    """`scheduler_config.json` -> how its class would sample the model.

    Raises `WeightsError` for a walk that this library cannot do.
    """
    of_class = _class_of(document)
    bound = None
    if document.get("thresholding"):
        # Theirs divides by a percentile between 1 and this: a clip at 1 where it is 1.
        highest = document.get("sample_max_value", 1.0)
        if highest != 1:
            raise WeightsError(
                f"{SCHEDULER} has thresholding with sample_max_value {highest!r}, supported is 1 "
                "(and `threshold=` of a call, which has no such bound)"
            )
        bound = 1.0
    elif document.get("clip_sample", of_class.clip_sample):
        bound = _number(document, "clip_sample_range", 1.0)
        if not bound > 0:
            raise WeightsError(f"{SCHEDULER} has clip_sample_range {bound!r}, expected above 0")
    spacing = _known(document, "timestep_spacing", of_class.timestep_spacing, _SPACINGS)
    offset = document.get("steps_offset", 0)
    if not isinstance(offset, int) or not 0 <= offset <= 1:
        raise WeightsError(f"{SCHEDULER} has steps_offset {offset!r}, expected 0 or 1")
    ends_clean = of_class.set_alpha_to_one is None or bool(
        document.get("set_alpha_to_one", of_class.set_alpha_to_one)
    )
    # The offset is of the leading times alone, in diffusers too.
    return OwnSampling(bound, spacing, offset if spacing == "leading" else 0, ends_clean)


def check_variance(document: Mapping[str, Any], learned: bool) -> None:
    """Raises `WeightsError` where the file's variance is another than the network's.

    learned: whether the network has twice as many channels out as in.
    """
    kind = document.get("variance_type")
    if learned and kind not in (None, "learned_range"):
        raise WeightsError(
            f"{SCHEDULER} has variance_type {kind!r}, but the network has twice as many channels "
            "out as in: expected 'learned_range'"
        )
    if not learned and kind in ("learned", "learned_range"):
        raise WeightsError(
            f"{SCHEDULER} has variance_type {kind!r}, but the network has no channels for it"
        )


def write_schedule(
    schedule: DiscreteSchedule,
    prediction: Target,
    learned_variance: bool,
    sampling: OwnSampling | None = None,
) -> dict[str, Any]:
    """The inverse of `read_schedule` and `read_own_sampling`.

    The config of a `DDPMScheduler`; of a `DDIMScheduler` where sampling ends before the clean
    image, which the former cannot be told. Raises `WeightsError` for that with a learned variance,
    which the latter has not, and for a target that diffusers lacks.
    """
    if isinstance(prediction, Preconditioned):
        raise WeightsError(
            f"diffusers has no prediction_type for {prediction}, only {', '.join(_TARGETS)}"
        )
    sampling = OwnSampling() if sampling is None else sampling
    betas = {ours: theirs for theirs, ours in _BETAS.items()}
    document = {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": schedule.num_steps,
        "beta_schedule": betas[schedule.betas],
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "prediction_type": _WORDS[prediction],
        "clip_sample": sampling.bound is not None,
        "clip_sample_range": 1.0 if sampling.bound is None else sampling.bound,
        "timestep_spacing": sampling.spacing,
        "steps_offset": sampling.offset,
    }
    if sampling.ends_clean:
        variance = "learned_range" if learned_variance else "fixed_small"
        return document | {"variance_type": variance}
    if learned_variance:
        raise WeightsError(
            "diffusers has no scheduler for a learned variance whose sampling ends at time 0"
        )
    return document | {"_class_name": "DDIMScheduler", "set_alpha_to_one": False}


def read_scheduler(
    document: Mapping[str, Any], prediction: Target, variance: Literal["small", "learned"]
) -> tuple[KarloSchedule, float]:
    """Karlo's `UnCLIPScheduler` -> (schedule, bound of |x0|), for a network of that output.

    `prediction` and `variance` are what the network predicts.

    Raises `WeightsError` for another class and for what does not suit such a network.
    """
    check_class(document, _KARLO)
    wanted = {
        "prediction_type": _WORDS[prediction],
        "variance_type": _VARIANCES[variance],
        "beta_schedule": "squaredcos_cap_v2",
        "clip_sample": True,
    }
    defaults = {"prediction_type": "epsilon", "variance_type": "fixed_small_log"}
    check_options(document, wanted, defaults)
    bound = float(document.get("clip_sample_range", 1.0))
    return KarloSchedule(document.get("num_train_timesteps", 1000)), bound


def _class_of(document: Mapping[str, Any]) -> _Class:
    name = document.get("_class_name", "DDPMScheduler")
    if not isinstance(name, str) or name not in _CLASSES:
        raise WeightsError(
            f"{SCHEDULER} describes {name!r}, which is not trained as DDPM is: expected one of "
            f"{', '.join(_CLASSES)}"
        )
    return _CLASSES[name]


def _check_options(document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        if name.startswith("_") or name in _READ or name in _IDLE:
            continue
        if value is None or value is False or (name in _FIXED and value == _FIXED[name]):
            continue
        wanted = f"{_FIXED[name]!r}" if name in _FIXED else "false or none of it"
        hint = "" if name in _FIXED else nearest(name, _READ)
        raise WeightsError(f"{SCHEDULER} has {name} {value!r}, expected {wanted}.{hint}")


def _number(document: Mapping[str, Any], name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e6 < value < 1e6:
        raise WeightsError(f"{SCHEDULER} has {name} {value!r}, expected a number")
    return float(value)


def _known(document: Mapping[str, Any], name: str, default: str, words: Mapping[str, T]) -> T:
    word = document.get(name, default)
    if not isinstance(word, str) or word not in words:
        raise WeightsError(
            f"{SCHEDULER} has {name} {word!r}, expected one of {', '.join(words)}."
            f"{nearest(str(word), words)}"
        )
    return words[word]
