"""diffusers' `UnCLIPScheduler`: which of Karlo's schedules a `scheduler_config.json` describes."""

from collections.abc import Mapping
from typing import Any, Literal

from clipdiff_jax.convert.documents import check_class, check_options
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Target

CLASS = "UnCLIPScheduler"
_PREDICTIONS: dict[Target, str] = {"eps": "epsilon", "x0": "sample"}
_VARIANCES = {"small": "fixed_small_log", "learned": "learned_range"}


def read_scheduler(
    document: Mapping[str, Any], prediction: Target, variance: Literal["small", "learned"]
) -> tuple[KarloSchedule, float]:
    """(schedule, bound of |x0|) of a stage whose network predicts `prediction` and `variance`.

    Raises `WeightsError` for another class and for what does not suit such a network.
    """
    check_class(document, CLASS)
    wanted = {
        "prediction_type": _PREDICTIONS[prediction],
        "variance_type": _VARIANCES[variance],
        "beta_schedule": "squaredcos_cap_v2",
        "clip_sample": True,
    }
    defaults = {"prediction_type": "epsilon", "variance_type": "fixed_small_log"}
    check_options(document, wanted, defaults)
    bound = float(document.get("clip_sample_range", 1.0))
    return KarloSchedule(document.get("num_train_timesteps", 1000)), bound
