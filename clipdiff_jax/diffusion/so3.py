"""Diffusion of rotations: noise on SO(3), and DDIM's step there.

With lambda(R, a) = exp(a log R), the rotation about the same axis by a times the angle, and alpha,
sigma of the schedule (DiffAssemble, arXiv 2402.19302, after Leach et al. 2022 and Jagvaral et al.
2022, arXiv 2210.15513):

    R_t = lambda(R_0, alpha_t) N,   N ~ IG(sigma_t)                                        (1)

IG(e) is the isotropic Gaussian around the identity: its axis is uniform and its angle w in [0, pi]
has the density, with v = e^2,

    f(w) = (1 - cos w)/pi sum_l (2l+1) exp(-l(l+1) v) sin((l+1/2) w) / sin(w/2)            (2)
         = (1 - cos w)/pi sqrt(pi)/2 v^(-3/2) e^(v/4) / sin(w/2)
           sum_k (-1)^k (w + 2 pi k) exp(-(w + 2 pi k)^2 / 4v)                             (3)

where for e < 1 the windings k = -1, 0, 1 are enough. DDIM's step from t to s < t,

    E = lambda(R_t, 1/sigma_t) lambda(R_0, alpha_t/sigma_t)^T
    R_s = lambda(R_0, alpha_s) lambda(E, sigma_s)                                          (4)

is the published recipe and no identity, since rotations do not commute; where R_0 is true it ends
there. Rotations are matrices; log and exp go through quaternions, which have no special case at
half turns.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Step
from clipdiff_jax.diffusion.schedule import DiscreteSchedule, NoiseSchedule

Rotation = Float[Array, "*b 3 3"]
Quaternion = Float[Array, "*b 4"]  # scalar first
TABLE = 1000
_TERMS = 400  # of eq. 2
_SMALL = 1e-8


def to_quaternion(rotation: Rotation) -> Quaternion:
    """The unit quaternion with a scalar that is not negative.

    Of the four ways to solve for it the one whose divisor is the largest (Shepperd 1978).
    """
    r = rotation
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    x, y, z = (
        r[..., 2, 1] - r[..., 1, 2],
        r[..., 0, 2] - r[..., 2, 0],
        r[..., 1, 0] - r[..., 0, 1],
    )
    xy, xz, yz = (r[..., i, j] + r[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    diagonal = [1 + 2 * r[..., i, i] - trace for i in range(3)]
    ways = jnp.stack(
        [
            jnp.stack([1 + trace, x, y, z], -1),
            jnp.stack([x, diagonal[0], xy, xz], -1),
            jnp.stack([y, xy, diagonal[1], yz], -1),
            jnp.stack([z, xz, yz, diagonal[2]], -1),
        ],
        -2,
    )
    best = jnp.argmax(jnp.stack([1 + trace, *diagonal], -1), -1)
    chosen = jnp.take_along_axis(ways, best[..., None, None], -2)[..., 0, :]
    chosen = chosen / jnp.linalg.norm(chosen, axis=-1, keepdims=True)
    return jnp.where(chosen[..., :1] < 0, -chosen, chosen)


def from_quaternion(q: Quaternion) -> Rotation:
    """The rotation of a quaternion of any length but 0."""
    w, x, y, z = jnp.moveaxis(q / jnp.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def scaled(rotation: Rotation, factor: Float[Array, "..."]) -> Rotation:
    """lambda(R, a): the same axis, the angle (at most pi) times a."""
    q = to_quaternion(rotation)
    length = jnp.linalg.norm(q[..., 1:], axis=-1)
    half = jnp.arctan2(length, q[..., 0]) * factor
    # Near the identity sin(a x) / sin(x) is a.
    ratio = jnp.where(length > _SMALL, jnp.sin(half) / jnp.maximum(length, _SMALL), factor)
    return from_quaternion(
        jnp.concatenate([jnp.cos(half)[..., None], ratio[..., None] * q[..., 1:]], -1)
    )


def angle_between(one: Float[Array, "*a 3 3"], other: Rotation) -> Float[Array, "*b"]:
    """The angle of the rotation from one to the other, in radians."""
    q = to_quaternion(jnp.swapaxes(one, -1, -2) @ other)
    return 2 * jnp.arctan2(jnp.linalg.norm(q[..., 1:], axis=-1), q[..., 0])


def orthonormal(columns: Float[Array, "*b 6"]) -> Rotation:
    """The rotation whose first two columns are nearest in turn: Gram-Schmidt of six numbers
    (Zhou et al. 2019, arXiv 1812.07035, eq. 15)."""
    first, second = columns[..., :3], columns[..., 3:]
    b1 = _unit(first)
    b2 = _unit(second - jnp.sum(b1 * second, -1, keepdims=True) * b1)
    return jnp.stack([b1, b2, jnp.cross(b1, b2)], -1)


def two_columns(rotation: Rotation) -> Float[Array, "*b 6"]:
    """The first two columns, of which `orthonormal` makes the rotation again."""
    return jnp.concatenate([rotation[..., 0], rotation[..., 1]], -1)


def angle_density(angle: Float[np.ndarray, " n"], scale: float) -> Float[np.ndarray, " n"]:
    """f(w) of IG(scale), eq. 3 below scale 1 and eq. 2 from there on; float64."""
    w = np.asarray(angle, np.float64)
    half = np.sin(w / 2)
    safe = np.where(half > 0, half, 1.0)
    v = float(scale) ** 2
    if scale < 1:
        images = w * np.exp(-(w**2) / (4 * v))
        for sign in (-1, 1):
            shifted = w + sign * 2 * np.pi
            images -= shifted * np.exp(-(shifted**2) / (4 * v))
        series = np.sqrt(np.pi) / 2 * v**-1.5 * np.exp(v / 4) * images / safe
    else:
        n = np.arange(_TERMS)[:, None]
        series = ((2 * n + 1) * np.exp(-n * (n + 1) * v) * np.sin((n + 0.5) * w) / safe).sum(0)
    return np.where(half > 0, (1 - np.cos(w)) / np.pi * series, 0.0)


def _angle_table(schedule: DiscreteSchedule) -> tuple[np.ndarray, np.ndarray]:
    """(angles [N], cumulative density [T, N]) for every time; angles are dense near 0."""
    angles = np.pi * np.linspace(0, 1, TABLE) ** 3
    with jax.ensure_compile_time_eval():  # numbers also where the draw is traced
        scales = np.asarray(schedule.sigma(jnp.arange(schedule.num_steps)), np.float64)
    rows = []
    for scale in scales:
        density = angle_density(angles, scale)
        area = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(angles))])
        rows.append(area / area[-1])
    return angles.astype(np.float32), np.stack(rows).astype(np.float32)


def draw_noise(
    schedule: DiscreteSchedule, t: Int[Array, " b"], key: Key[Array, ""], count: int
) -> Float[Array, "b count 3 3"]:
    """N of eq. 1: `count` rotations at each time, by inverting the table's distribution."""
    angles, table = (jnp.asarray(one) for one in _angle_table(schedule))
    axis_key, angle_key = jax.random.split(key)
    axis = _unit(jax.random.normal(axis_key, (len(t), count, 3)))
    u = jax.random.uniform(angle_key, (len(t), count))
    angle = jax.vmap(lambda u, row: jnp.interp(u, row, angles))(u, table[t])
    half = angle[..., None] / 2
    return from_quaternion(jnp.concatenate([jnp.cos(half), jnp.sin(half) * axis], -1))


def so3_q_sample(
    schedule: NoiseSchedule,
    rotation: Float[Array, "b p 3 3"],
    t: Int[Array, " b"],
    noise: Float[Array, "b p 3 3"],
) -> Float[Array, "b p 3 3"]:
    """R_t of eq. 1."""
    return scaled(rotation, schedule.alpha(t)[:, None]) @ noise


def so3_ddim(schedule: NoiseSchedule) -> Step:
    """Eq. 4 on poses [B,P,12] of a translation and a matrix, row by row; DDIM on the translation.

    Of the prediction the rotation's eps is not looked at: it is no rotation.
    """

    def step(x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None) -> Array:
        del z
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        after, noise = schedule.alpha(t_next), schedule.sigma(t_next)
        moved = match(after, x) * prediction.x0 + match(noise, x) * prediction.eps
        r_t, r_0 = (one[..., 3:].reshape(*one.shape[:-1], 3, 3) for one in (x, prediction.x0))
        per_piece = lambda value: match(value, x[..., 0])
        away = scaled(r_t, per_piece(1 / sigma))
        back = jnp.swapaxes(scaled(r_0, per_piece(alpha / sigma)), -1, -2)
        r_s = scaled(r_0, per_piece(after)) @ scaled(away @ back, per_piece(noise))
        return jnp.concatenate([moved[..., :3], r_s.reshape(*x.shape[:-1], 9)], -1)

    return step


def on_so3(noise: Float[Array, "b p 12"]) -> Float[Array, "b p 12"]:
    """Where a walk of eq. 4 starts: of zeros at the identity, of normal noise anywhere."""
    q = noise[..., 3:7]
    upright = jnp.array([1.0, 0.0, 0.0, 0.0])
    q = jnp.where(jnp.sum(q * q, -1, keepdims=True) > 0, q, upright)
    rotation = from_quaternion(q).reshape(*noise.shape[:-1], 9)
    return jnp.concatenate([noise[..., :3], rotation], -1)


def _unit(x: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    return x / jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-12)
