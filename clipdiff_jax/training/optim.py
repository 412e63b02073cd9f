"""The optimiser of every stage: one config, one optax chain.

Order: global-norm clipping, Adam (or Muon for the matrices), decoupled weight decay, learning rate.
Parameters outside the stage's `trainable` pattern get no update and no optimiser state.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

import jax
import optax
from jaxtyping import Array

from clipdiff_jax.core.checks import check_number
from clipdiff_jax.core.config import LATER, ConfigError
from clipdiff_jax.core.types import Params
from clipdiff_jax.training.stage import KeyPath, path_string

STACKED = "blocks"  # what `models.transformer` names its scanned layers


_BOUNDS: dict[str, dict[str, float]] = {
    "learning_rate": {"low": 0}, "warmup": {"low": 0}, "b1": {"low": 0, "high": 1},
    "b2": {"low": 0, "high": 1}, "eps": {"low": 0}, "weight_decay": {"low": 0},
    "clip_norm": {"above": 0}, "pass_gain": {"above": 0}, "pass_updates": {"low": 1},
    "adam_learning_rate": {"low": 0},
}  # fmt: skip


@dataclass(frozen=True)
class OptimConfig:
    """Describes the optimiser.

    Attributes:
      name: "adam" (decoupled weight decay, Loshchilov & Hutter 2019) or "muon" (Jordan et al. 2024:
        orthogonalised momentum for matrices and convolution kernels, Adam for the rest).
      learning_rate: peak value.
      schedule: after the warm-up: "constant", "cosine" to zero at the last step, "linear" to zero,
        or "passes": multiplied by `pass_gain` after every `pass_updates` updates (DiffusionCLIP).
      warmup: updates of linear warm-up from zero.
      cooldown: last updates, over which a constant rate falls linearly to zero; a run that has not
        reached them goes on with more steps as if they had been planned (Hägele et al. 2024,
        arXiv 2405.18392).
      b1, b2, eps: of Adam.
      weight_decay: decoupled; applied to matrices and kernels, not to biases and norms.
      clip_norm: bound on the global norm of the gradient; None for none.
      pass_gain, pass_updates: of the schedule "passes".
      adam_learning_rate: with "muon", the peak rate of the parameters that Adam trains.
      sam_rho: radius of sharpness-aware minimisation (Foret et al. 2021): the gradient is taken
        where the loss is highest at this distance, for two gradients per step; 0 turns it off.
    """

    name: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine", "linear", "passes"] = "constant"
    warmup: int = 0
    cooldown: int = field(default=0, metadata=LATER)
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    pass_gain: float = 1.3
    pass_updates: int = 1
    adam_learning_rate: float = 3e-4
    sam_rho: float = 0.0

    def __post_init__(self) -> None:
        for name, bounds in _BOUNDS.items():
            try:
                check_number(name, getattr(self, name), **bounds)
            except ValueError as error:
                raise ConfigError(f"optim.{error}") from error
        if self.sam_rho < 0:
            raise ConfigError(f"optim.sam_rho={self.sam_rho} is a distance, expected 0 or more")
        if self.cooldown < 0 or (self.cooldown and self.schedule != "constant"):
            raise ConfigError(
                f"optim.cooldown={self.cooldown} with optim.schedule={self.schedule!r}: expected 0 "
                "or more updates at the end of a constant rate"
            )


def learning_rate(config: OptimConfig, updates: int, peak: float | None = None) -> optax.Schedule:
    """The learning rate as a function of the update's number; `updates` is how many there are."""
    peak = config.learning_rate if peak is None else peak
    decay = max(updates - config.warmup, 1)
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, decay)
    elif config.schedule == "linear":
        main = optax.linear_schedule(peak, 0.0, decay)
    elif config.schedule == "passes":
        main = optax.exponential_decay(peak, config.pass_updates, config.pass_gain, staircase=True)
    else:
        main = optax.constant_schedule(peak)
    if config.cooldown:
        cooldown = min(config.cooldown, decay)
        fall = optax.linear_schedule(peak, 0.0, cooldown)
        main = optax.join_schedules([main, fall], [decay - cooldown])
    if config.warmup == 0:
        return main
    rise = optax.linear_schedule(0.0, peak, config.warmup)
    return optax.join_schedules([rise, main], [config.warmup])


def make_optimizer(
    config: OptimConfig, updates: int, params: Params, trainable: str = ""
) -> optax.GradientTransformation:
    """Builds the chain for the parameters (arrays or their shapes) of one stage.

    Raises `ConfigError` if `trainable` matches no parameter or is not a regular expression.
    """
    rate = learning_rate(config, updates)
    if config.name == "muon":
        update = optax.contrib.muon(
            rate,
            weight_decay=config.weight_decay,
            adam_b1=config.b1,
            adam_b2=config.b2,
            adam_learning_rate=learning_rate(config, updates, config.adam_learning_rate),
            muon_weight_dimension_numbers=_muon_dimensions,
        )
    else:
        update = optax.adamw(
            rate, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=_decays
        )
    clip = (
        optax.identity()
        if config.clip_norm is None
        else optax.clip_by_global_norm(config.clip_norm)
    )
    chain = optax.chain(clip, update)
    if not trainable:
        return chain
    mask = trainable_mask(params, trainable)
    labels = jax.tree.map(lambda train: "train" if train else "frozen", mask)
    return optax.partition({"train": chain, "frozen": optax.set_to_zero()}, labels)


def trainable_mask(params: Params, pattern: str) -> Params:
    """A pytree of bools: which parameters' paths the pattern is found in."""
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"trainable pattern '{pattern}' is no regular expression: {error}") from (
            error
        )
    mask = jax.tree_util.tree_map_with_path(
        lambda path, _: regex.search(path_string(path)) is not None, params
    )
    if not any(jax.tree.leaves(mask)):
        paths = [path_string(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise ConfigError(
            f"trainable pattern '{pattern}' matches none of {len(paths)} parameters, "
            f"such as {', '.join(paths[:3])}"
        )
    return mask


def _decays(params: Params) -> Params:
    return jax.tree_util.tree_map_with_path(
        lambda path, p: p.ndim > 1 and not _is_bias_or_scale(path), params
    )


def _muon_dimensions(params: Params) -> Params:
    """Kernels are matrices from all their input axes to their last axis; the rest is Adam's.

    Scanned layers lie stacked along the first axis, each a matrix of its own.
    """

    def dimensions(path: KeyPath, p: Array) -> optax.contrib.MuonDimensionNumbers | None:
        first = 1 if STACKED in path_string(path).split("/") else 0
        if p.ndim - first < 2 or _is_bias_or_scale(path):
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(first, p.ndim - 1)), p.ndim - 1)

    return jax.tree_util.tree_map_with_path(dimensions, params)


def _is_bias_or_scale(path: KeyPath) -> bool:
    """By name, since those of scanned layers have an axis more."""
    return path_string(path).split("/")[-1] in ("bias", "scale")
