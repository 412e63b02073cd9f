"""diffusers' `scheduler_config.json`: the noise schedule of a model, and what it predicts."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from clipdiff_jax.core.config import nearest
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Target
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.weights.documents import check_class, check_options
from clipdiff_jax.weights.errors import WeightsError

T = TypeVar("T")
Betas = Literal["linear", "squared_cosine"]
# diffusers' word -> ours.
_BETAS: dict[str, Betas] = {"linear": "linear", "squaredcos_cap_v2": "squared_cosine"}
_TARGETS: dict[str, Target] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
_WORDS = {ours: theirs for theirs, ours in _TARGETS.items()}
_KARLO = "UnCLIPScheduler"
_VARIANCES = {"small": "fixed_small_log", "learned": "learned_range"}


def read_schedule(document: Mapping[str, Any]) -> tuple[DiscreteSchedule, Target]:
    """`scheduler_config.json` -> the schedule, and what the network predicts.

    What the file lacks is what it is in diffusers' `DDPMScheduler`; so an empty one is DDPM's
    schedule (Ho et al. 2020). Which sampler the file names, and its options, do not matter here.
    Raises `WeightsError` for a schedule or a target that this library lacks.
    """
    if document.get("trained_betas") is not None:
        raise WeightsError("scheduler_config.json has trained_betas, which are not supported")
    if document.get("rescale_betas_zero_snr"):
        raise WeightsError("scheduler_config.json has rescale_betas_zero_snr, expected false")
    schedule = DiscreteSchedule(
        betas=_known(document, "beta_schedule", "linear", _BETAS),
        num_steps=document.get("num_train_timesteps", 1000),
        beta_start=document.get("beta_start", 1e-4),
        beta_end=document.get("beta_end", 0.02),
    )
    return schedule, _known(document, "prediction_type", "epsilon", _TARGETS)


def write_schedule(
    schedule: DiscreteSchedule, prediction: Target, learned_variance: bool
) -> dict[str, Any]:
    """The inverse of `read_schedule`, as the config of a `DDPMScheduler`."""
    betas = {ours: theirs for theirs, ours in _BETAS.items()}
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": schedule.num_steps,
        "beta_schedule": betas[schedule.betas],
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "prediction_type": _WORDS[prediction],
        "variance_type": "learned_range" if learned_variance else "fixed_small",
        "clip_sample": True,
    }


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


def _known(document: Mapping[str, Any], name: str, default: str, words: Mapping[str, T]) -> T:
    word = document.get(name, default)
    if word not in words:
        raise WeightsError(
            f"scheduler_config.json has {name} {word!r}, expected one of {', '.join(words)}."
            f"{nearest(str(word), words)}"
        )
    return words[word]
