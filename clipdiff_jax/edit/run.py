"""The compiled programs behind `pipelines.edit`: invert, generate by what was learned."""

import functools
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from clipdiff_jax.diffusion.asymmetric import asymmetric, boosted
from clipdiff_jax.diffusion.edict import Pair, invert_coupled, sample_coupled
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.guidance import mix
from clipdiff_jax.diffusion.guidance import strength as at_strength
from clipdiff_jax.diffusion.inversion import invert
from clipdiff_jax.diffusion.prediction import Denoise, q_sample
from clipdiff_jax.diffusion.sampler import sample, step_noise
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.h_space import shifted_denoiser
from clipdiff_jax.edit.latents import time_grid
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.model import Diffusion

Method = Literal["ddim", "fixed_point", "edict"]
PURIFY_STEPS = 6
BOOST_NOISE = 1 << 16  # keeps the noise of boosting apart from that of noising


class Learned(NamedTuple):
    """What the edits learned, as one pytree; shares are how much of each, not normalised.

    tuned, tuned_shares: parameters of whole models. shifts, shift_shares: of networks that shift
    the base model's bottleneck, at times from `t_edit` on. t_boost: see `asymmetric.boosted`.
    """

    tuned: tuple[Any, ...] = ()
    tuned_shares: Any = np.zeros(0, np.float32)
    shifts: tuple[Any, ...] = ()
    shift_shares: Any = np.zeros(0, np.float32)
    t_edit: Any = np.zeros(0, np.int32)
    t_boost: Any = np.int32(0)


def run(
    base: Diffusion,
    learned: Learned,
    x0: Array,
    weights: Array,
    *,
    t0: int,
    steps: int,
    fixed_point: int,
    method: Method | None,
    random_inversion: bool = False,
    purify: int = 0,
    keys: Array,
) -> Array:
    """Inverts x0 [B,S,S,3] and generates it again, each picture with its strength (weights [B])."""
    method = inversion_method(method, fixed_point)
    if method == "edict" and learned.shifts:
        raise ValueError("method 'edict' takes eps alone, which an edit in h-space leaves as it is")
    down = ddim_grid(t0, steps)
    up = down[::-1] if method == "edict" else time_grid(t0, steps, fixed_point)
    few = ddim_grid(t0, min(PURIFY_STEPS, steps))
    return _edit(
        base.config,
        base.dtype,
        method,
        fixed_point,
        random_inversion,
        base.params,
        learned,
        x0,
        weights,
        (up, down, few),
        jnp.asarray(purify, jnp.int32),
        keys,
    )


def run_from_latents(
    base: Diffusion,
    learned: Learned,
    latents: Array,
    weights: Array,
    *,
    t0: int,
    steps: int,
    keys: Array,
) -> Array:
    """Generates from latents at t0 (inverted by the methods "ddim" or "fixed_point")."""
    down = ddim_grid(t0, steps)
    return _generate(base.config, base.dtype, base.params, learned, latents, weights, down, keys)


def inversion_method(method: Method | None, fixed_point: int) -> Method:
    """The method that is meant; ValueError where it does not fit the number of iterations."""
    if method is None:
        return "fixed_point" if fixed_point else "ddim"
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if (method == "fixed_point") != (fixed_point > 0):
        wanted = "1 or more" if method == "fixed_point" else "0"
        raise ValueError(f"fixed_point={fixed_point} with method={method!r}: expected {wanted}")
    return method


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _edit(
    config: DiffusionConfig,
    dtype: Any,
    method: Method,
    fixed_point: int,
    random_inversion: bool,
    base_params: Any,
    learned: Learned,
    x0: Array,
    weights: Array,
    grids: tuple[Array, Array, Array],
    purify: Array,
    keys: Array,
) -> Array:
    schedule, step = config.schedule, ddim(config.schedule)
    up, down, few = grids
    base = Diffusion(config, base_params, dtype).denoise

    def noised(x: Array, index: Array | int) -> Array:
        return q_sample(schedule, x, down[0], step_noise(keys, index, x.shape))

    def purified(index: Array, x: Array) -> Array:
        return sample(base, step, few, noised(x, index + 1), None, None)

    x0 = jax.lax.fori_loop(0, purify, purified, x0)
    if method == "edict":
        if random_inversion:
            pair = Pair(noised(x0, 0), noised(x0, 0))
        else:
            pair = invert_coupled(base, schedule, up, x0)
        model = _edited(config, dtype, base_params, learned, weights)
        pair = sample_coupled(model, schedule, down, pair)
        return jnp.clip((pair.x + pair.y) / 2, -1, 1)
    if random_inversion:
        latent = noised(x0, 0)
    else:
        latent = invert(base, schedule, up, x0, fixed_point=fixed_point)
    return _generate(config, dtype, base_params, learned, latent, weights, down, keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _generate(
    config: DiffusionConfig,
    dtype: Any,
    base_params: Any,
    learned: Learned,
    latent: Array,
    weights: Array,
    down: Array,
    keys: Array,
) -> Array:
    model = _edited(config, dtype, base_params, learned, weights)
    if learned.shifts:
        step = boosted(config.schedule, learned.t_boost)
        noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, BOOST_NOISE))(keys)
        made = sample(model, step, down, latent, None, noise_keys)
    else:
        made = sample(model, ddim(config.schedule), down, latent, None, None)
    return jnp.clip(made, -1, 1)


def _edited(
    config: DiffusionConfig, dtype: Any, base_params: Any, learned: Learned, weights: Array
) -> Denoise:
    """The mixture of all edits at their strengths, or the base model where there are none."""
    base = Diffusion(config, base_params, dtype).denoise
    parts, shares = [], []
    if learned.tuned:
        tuned = [Diffusion(config, params, dtype).denoise for params in learned.tuned]
        together = tuned[0] if len(tuned) == 1 else mix(tuned, learned.tuned_shares)
        parts.append(at_strength(base, together, weights))
        shares.append(jnp.sum(learned.tuned_shares))
    for index, params in enumerate(learned.shifts):
        shifted = shifted_denoiser(config, base_params, params, weights, dtype=dtype)
        parts.append(asymmetric(base, shifted, learned.t_edit[index]))
        shares.append(learned.shift_shares[index])
    if not parts:
        return base
    return parts[0] if len(parts) == 1 else mix(parts, jnp.stack(shares))
