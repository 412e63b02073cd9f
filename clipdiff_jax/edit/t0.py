"""How far to noise for an edit, found from the pictures and the texts.

An edit can change only what the noise hides, and should not hide more than that. What noise at t
hides is seen in the model's guess P_t of the picture from x_t ~ q(x_t | x_0). Asyrp (Kwon et al.
2023, arXiv 2210.10960, section 4.1) ends an edit where LPIPS(x_0, P_t) has fallen to a constant
that shrinks with the distance of the two texts. Here picture and text are measured in one space,
CLIP's, in which the text itself says how far the picture has to go:

    t0 = min { t : mean_i |f(P_t(x_t^i)) - f(x_0^i)| >= share |dT| }                       (21)

with f and dT of `perceptual.directional`: the guess has to have lost as much as the text changes.
All of it (share 1) is more than edits need: with share 0.6 the demo models say 500 for the smile,
400 for glasses, 650 for red hair and 600 for pixel art, where 500, 500, 600 and 700 were set by
hand.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.diffusion.prediction import q_sample
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.space import Base, decoded, encoded
from clipdiff_jax.models.clip import unit
from clipdiff_jax.perceptual.directional import text_direction

SHARE = 0.6
TIMES = tuple(range(200, 801, 50))
LOOKED_AT = 16


def automatic_t0(
    base: Base,
    clip: Clip,
    images: Float32[np.ndarray, "n h w 3"],
    objective: EditObjective,
    *,
    share: float = SHARE,
) -> int:
    """Eq. 21 over the first 16 pictures and the times 200, 250 .. 800; 800 where none will do.

    Of a schedule of other length than 1000 the times are the same shares. Deterministic.
    """
    lost = information_lost(base, clip, images)
    texts = objective.away_from, objective.target_text
    wanted = share * text_direction(clip.embed_texts, *texts, objective.templates).length
    enough = [t for t, one in lost.items() if one >= wanted]
    return enough[0] if enough else max(lost)


def information_lost(
    base: Base, clip: Clip, images: Float32[np.ndarray, "n h w 3"]
) -> dict[int, float]:
    """By time, how far in CLIP's space the model's guesses are from the pictures; ascending."""
    looked_at = jnp.asarray(images[:LOOKED_AT])
    steps = base.config.schedule.num_steps
    times = [time * steps // 1000 for time in TIMES]
    return {t: float(_lost(base, clip, looked_at, jnp.int32(t))) for t in times}


def with_t0(
    objective: EditObjective, base: Base, clip: Clip, images: Float32[np.ndarray, "n h w 3"]
) -> EditObjective:
    """The objective itself, or with a t0 by `automatic_t0` where it asks for one."""
    if objective.t0 is not None:
        return objective
    return dataclasses.replace(objective, t0=automatic_t0(base, clip, images, objective))


@jax.jit
def _lost(base: Base, clip: Clip, images: Float[Array, "b h w 3"], t: Array) -> Float[Array, ""]:
    """The mean of |f(P_t) - f(x_0)|, with the same noise at all times."""
    x0 = encoded(base, images)
    noise = jax.random.normal(jax.random.key(0), x0.shape, jnp.float32)
    x_t = q_sample(base.config.schedule, x0, t, noise)
    guess = jnp.clip(decoded(base, base.denoise(x_t, t).x0), -1, 1)
    moved = unit(clip.embed_images(guess)) - unit(clip.embed_images(images))
    return jnp.linalg.norm(moved, axis=-1).mean()
