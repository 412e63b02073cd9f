"""The compiled programs behind `edit.api`: invert, generate by what was learned.

What a program is compiled for is `How`; everything else (models, strengths, times, rounds, keys) it
takes as arguments, so that turning them compiles nothing new.
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.types import Params
from clipdiff_jax.data.avatars.photographs import are_photographs, warn_of_photographs
from clipdiff_jax.data.images import Pictures, as_squares
from clipdiff_jax.diffusion.asymmetric import asymmetric, boosted
from clipdiff_jax.diffusion.edict import Pair, invert_coupled, sample_coupled
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.guidance import mix
from clipdiff_jax.diffusion.guidance import strength as at_strength
from clipdiff_jax.diffusion.inversion import invert
from clipdiff_jax.diffusion.prediction import Denoise, q_sample
from clipdiff_jax.diffusion.sampler import sample, step_noise
from clipdiff_jax.diffusion.steps import Sampler, make_step
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.editing import Editing, Method
from clipdiff_jax.edit.h_space import shifted_denoiser
from clipdiff_jax.edit.latents import Inversion
from clipdiff_jax.edit.lora import adapted_denoiser
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.pixel.load import is_demo
from clipdiff_jax.pixel.model import Diffusion

PURIFY_STEPS = 6
STEP_NOISE = 1 << 16  # keeps the noise of generation apart from that of noising


class Learned(NamedTuple):
    """What the edits learned, as one pytree; shares are how much of each, not normalised.

    tuned, tuned_shares: whole models. shifts, shift_shares: parameters of networks that shift the
    base model's bottleneck, at times from `t_edit` on. t_boost: see `asymmetric.boosted`.
    loras, lora_shares: changes of low rank, which add up.
    """

    tuned: tuple[Diffusion, ...] = ()
    tuned_shares: Float[Array | np.ndarray, " k"] = np.zeros(0, np.float32)
    shifts: tuple[Params, ...] = ()
    shift_shares: Float[Array | np.ndarray, " s"] = np.zeros(0, np.float32)
    t_edit: Int[Array | np.ndarray, " s"] = np.zeros(0, np.int32)
    t_boost: Int[Array | np.ndarray, ""] | np.int32 = np.int32(0)
    loras: tuple[Params, ...] = ()
    lora_shares: Float[Array | np.ndarray, " l"] = np.zeros(0, np.float32)


@dataclass(frozen=True)
class How:
    """What a program is compiled for, of `Editing`."""

    method: Method
    fixed_point: int
    random_inversion: bool
    sampler: Sampler


class Walk(NamedTuple):
    """Where a picture goes: `purify` rounds of noise and `few` steps, `up`, and `down` again."""

    up: Int[Array | np.ndarray, " u"]
    down: Int[Array | np.ndarray, " d"]
    few: Int[Array | np.ndarray, " f"]
    purify: Int[Array, ""]


def check_editable(base: Diffusion) -> None:
    """Raises `ValueError` for a model that editing cannot use: of other pictures than RGB, or with
    classes, which pictures to be edited do not have; `TypeError` for another kind of model."""
    if not isinstance(base, Diffusion):
        raise TypeError(
            f"base is a {type(base).__name__}, expected a Diffusion, which load_diffusion returns"
        )
    unet = base.config.unet
    if unet.in_channels != 3:
        raise ValueError(
            f"this model draws pictures of {unet.in_channels} channel(s), editing takes one of 3"
        )
    if unet.num_classes is not None:
        raise ValueError(
            f"this model has {unet.num_classes} classes, editing takes one without classes"
        )


def squares_for(images: Pictures, base: Diffusion) -> Float[Array, "b s s 3"]:
    """Pictures at the model's size; says where the demo is given photographs."""
    x0 = as_squares(images, base.config.image_size)
    if are_photographs(x0) and is_demo(base):
        warn_of_photographs()
    return x0


def learned_by(base: Diffusion, edits: list[Edit], editing: Editing) -> Learned:
    """What the compiled program takes of some edits, each with its ratio.

    Raises `ValueError` for edits of another architecture than `base`, ratios that are not as many
    as the edits, and where the edits shift the bottleneck a method or a sampler that is not theirs.
    """
    for one in edits:
        if one.config != base.config:
            raise ValueError(
                f"the edit to '{one.objective.target_text}' was tuned from a model with another "
                "config than this base"
            )
        _check_base(base, one)
    shares = np.ones(len(edits)) if editing.ratios is None else np.asarray(editing.ratios)
    if shares.shape != (len(edits),):
        raise ValueError(f"{len(edits)} edits need as many ratios, got {len(shares)}")
    objectives = [one.objective for one in edits]
    shifted = [i for i, one in enumerate(objectives) if one.mode == "h_space"]
    low = [i for i, one in enumerate(objectives) if one.parameters == "lora"]
    tuned = [i for i, one in enumerate(objectives) if not one.beside]
    if shifted and editing.inversion == "edict":
        raise ValueError("method 'edict' takes eps alone, which an edit in h-space leaves as it is")
    if shifted and editing.sampler != "ddim":
        raise ValueError(
            f"sampler {editing.sampler!r} with an edit in h-space, which is generated by its own "
            "step (`diffusion.asymmetric`): leave the sampler at 'ddim'"
        )
    return Learned(
        tuned=tuple(dataclasses.replace(base, params=edits[i].params) for i in tuned),
        tuned_shares=np.asarray(shares[tuned], np.float32),
        shifts=tuple(edits[i].params for i in shifted),
        shift_shares=np.asarray(shares[shifted], np.float32),
        t_edit=np.array([edits[i].objective.t_edit for i in shifted], np.int32),
        t_boost=np.int32(min((edits[i].objective.t_boost for i in shifted), default=0)),
        loras=tuple(edits[i].params for i in low),
        lora_shares=np.asarray(shares[low], np.float32),
    )


def _check_base(base: Diffusion, edit: Edit) -> None:
    """Raises `ValueError` where an edit was tuned from other parameters than those of `base`.

    Of a base whose parameters were rounded (to bfloat16) nothing can be said, nor of an edit that
    knows none.
    """
    if not edit.base_fingerprint or any(
        leaf.dtype != jnp.float32 for leaf in jax.tree.leaves(base.params)
    ):
        return
    if base.fingerprint != edit.base_fingerprint:
        raise ValueError(
            f"the edit to '{edit.objective.target_text}' was tuned from the model with fingerprint "
            f"{edit.base_fingerprint!r}, this base has {base.fingerprint!r}: give the model that "
            "it was tuned from"
        )


def run(
    base: Diffusion,
    learned: Learned,
    x0: Float[Array, "b s s 3"],
    editing: Editing,
    t0: int,
    keys: Key[Array, " b"],
) -> Float[Array, "b s s 3"]:
    """Inverts pictures to t0 and generates them again, each with its strength."""
    editing.check_times(t0, base.config.schedule.num_steps)
    down = ddim_grid(t0, editing.steps)
    coupled = editing.inversion == "edict"
    walk = Walk(
        up=down[::-1] if coupled else Inversion(t0, editing.steps, editing.fixed_point).times,
        down=down,
        few=ddim_grid(t0, min(PURIFY_STEPS, editing.steps)),
        purify=jnp.asarray(editing.purify, jnp.int32),
    )
    how = How(editing.inversion, editing.fixed_point, editing.random_inversion, editing.sampler)
    return _edit(base, learned, x0, _weights(editing, len(x0)), walk, keys, how=how)


def run_from_latents(
    base: Diffusion,
    learned: Learned,
    latents: Float[Array, "b s s 3"],
    editing: Editing,
    t0: int,
    keys: Key[Array, " b"],
) -> Float[Array, "b s s 3"]:
    """Generates from latents at t0 (inverted by the methods "ddim" or "fixed_point")."""
    editing.check_times(t0, base.config.schedule.num_steps)
    down, weights = ddim_grid(t0, editing.steps), _weights(editing, len(latents))
    return _generate(base, learned, latents, weights, down, keys, sampler=editing.sampler)


def _weights(editing: Editing, count: int) -> Float[Array, " b"]:
    strength = jnp.asarray(editing.strength, jnp.float32)
    if strength.shape not in ((), (1,), (count,)):
        raise ValueError(f"need one strength or {count} of them, got {strength.size}")
    return jnp.broadcast_to(strength, (count,))


@functools.partial(jax.jit, static_argnames="how")
def _edit(
    base: Diffusion,
    learned: Learned,
    x0: Array,
    weights: Array,
    walk: Walk,
    keys: Array,
    *,
    how: How,
) -> Array:
    schedule, step = base.config.schedule, ddim(base.config.schedule)

    def noised(x: Array, index: int | Array) -> Array:
        return q_sample(schedule, x, walk.down[0], step_noise(keys, index, x.shape))

    def purified(index: Array, x: Array) -> Array:
        return sample(base.denoise, step, walk.few, noised(x, index + 1), None, None)

    x0 = jax.lax.fori_loop(0, walk.purify, purified, x0)
    if how.method == "edict":
        if how.random_inversion:
            pair = Pair(noised(x0, 0), noised(x0, 0))
        else:
            pair = invert_coupled(base.denoise, schedule, walk.up, x0)
        pair = sample_coupled(edited_denoiser(base, learned, weights), schedule, walk.down, pair)
        return jnp.clip((pair.x + pair.y) / 2, -1, 1)
    if how.random_inversion:
        latent = noised(x0, 0)
    else:
        latent = invert(base.denoise, schedule, walk.up, x0, fixed_point=how.fixed_point)
    return _generate(base, learned, latent, weights, walk.down, keys, sampler=how.sampler)


@functools.partial(jax.jit, static_argnames="sampler")
def _generate(
    base: Diffusion,
    learned: Learned,
    latent: Array,
    weights: Array,
    down: Array,
    keys: Array,
    *,
    sampler: Sampler,
) -> Array:
    schedule = base.config.schedule
    model = edited_denoiser(base, learned, weights)
    noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, STEP_NOISE))(keys)
    if learned.shifts:
        step = boosted(schedule, jnp.asarray(learned.t_boost))
        made = sample(model, step, down, latent, None, noise_keys)
    elif sampler == "ddim":
        made = sample(model, ddim(schedule), down, latent, None, None)
    else:
        made = sample(model, make_step(sampler, schedule), down, latent, None, noise_keys)
    return jnp.clip(made, -1, 1)


def edited_denoiser(base: Diffusion, learned: Learned, weights: Array) -> Denoise:
    """The mixture of all edits at their strengths [B], or the base model where there are none."""
    parts: list[Denoise] = []
    shares = []
    if learned.tuned:
        tuned = [one.denoise for one in learned.tuned]
        together = tuned[0] if len(tuned) == 1 else mix(tuned, jnp.asarray(learned.tuned_shares))
        parts.append(at_strength(base.denoise, together, weights))
        shares.append(jnp.sum(jnp.asarray(learned.tuned_shares)))
    if learned.loras:
        low_shares = jnp.asarray(learned.lora_shares)
        parts.append(adapted_denoiser(base, learned.loras, [one * weights for one in low_shares]))
        shares.append(jnp.sum(low_shares))
    for index, params in enumerate(learned.shifts):
        shifted = shifted_denoiser(base, params, weights)
        parts.append(asymmetric(base.denoise, shifted, learned.t_edit[index]))
        shares.append(learned.shift_shares[index])
    if not parts:
        return base.denoise
    return parts[0] if len(parts) == 1 else mix(parts, jnp.stack(shares))
