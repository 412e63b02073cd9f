"""Noise on SO(3): its law against its series and both limits; the step ends at the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.diffusion.prediction import from_x0
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.diffusion.so3 import (
    angle_between,
    angle_density,
    draw_noise,
    from_quaternion,
    on_so3,
    orthonormal,
    scaled,
    so3_ddim,
    so3_q_sample,
    to_quaternion,
    two_columns,
)

SCHEDULE = DiscreteSchedule(num_steps=300)


def rotations(count, seed=0):
    q = np.random.default_rng(seed).normal(size=(count, 4))
    return from_quaternion(jnp.asarray(q, jnp.float32))


def about(angles, axis):
    axis, half = axis / np.linalg.norm(axis), np.asarray(angles)[:, None] / 2
    q = np.concatenate([np.cos(half), np.sin(half) * axis], -1)
    return from_quaternion(jnp.asarray(q, jnp.float32))


@pytest.mark.parametrize("scale", [0.05, 0.3, 0.9, 0.999])
def test_the_closed_form_is_the_series(scale):
    angles = np.linspace(0.01, np.pi, 200)
    n, v = np.arange(2000)[:, None], scale**2
    series = (
        (2 * n + 1) * np.exp(-n * (n + 1) * v) * np.sin((n + 0.5) * angles) / np.sin(angles / 2)
    ).sum(0)
    expected = (1 - np.cos(angles)) / np.pi * series
    np.testing.assert_allclose(angle_density(angles, scale), expected, atol=2e-9)


@pytest.mark.parametrize("scale", [0.01, 0.5, 0.98, 1.5])
def test_the_density_is_one_in_all(scale):
    angles = np.pi * np.linspace(0, 1, 4001) ** 3
    assert np.trapezoid(angle_density(angles, scale), angles) == pytest.approx(1, abs=1e-4)


def test_little_noise_is_maxwell_s_and_much_is_uniform():
    angles = np.linspace(0, np.pi, 4001)
    mean = np.trapezoid(angles * angle_density(angles, 0.02), angles)
    assert mean == pytest.approx(2 * 0.02 * np.sqrt(2) * np.sqrt(2 / np.pi), rel=1e-3)
    np.testing.assert_allclose(angle_density(angles, 2.5), (1 - np.cos(angles)) / np.pi, atol=1e-4)


def test_drawn_angles_have_the_density_s_mean_and_no_axis_is_preferred():
    t = jnp.array([0, 20, 100, 299])
    drawn = draw_noise(SCHEDULE, t, jax.random.key(0), 4000)
    angles = np.asarray(angle_between(jnp.eye(3), drawn))
    grid = np.pi * np.linspace(0, 1, 8001) ** 3
    for row, time in zip(angles, t, strict=True):
        density = angle_density(grid, float(SCHEDULE.sigma(time)))
        expected = np.trapezoid(grid * density, grid)
        assert row.mean() == pytest.approx(expected, rel=0.03)
    traced = jax.jit(lambda t, key: draw_noise(SCHEDULE, t, key, 4000))(t, jax.random.key(0))
    np.testing.assert_allclose(traced, drawn, atol=1e-5)
    axes = np.asarray(to_quaternion(drawn[2]))[:, 1:]
    assert np.abs(axes.mean(0)).max() < 0.03


def test_quaternions_and_scaling_at_any_angle():
    angles = np.array([1e-4, 0.5, np.pi / 2, 3.0, np.pi - 1e-3, np.pi])
    axes = np.array([[1, 2, -0.5], [0, 0, 1], [0, 1, 0], [1, 0, 0], [-1, -1, 0], [1, 1, 1]])
    r = jnp.concatenate([about(angles, axis) for axis in axes])
    np.testing.assert_allclose(from_quaternion(to_quaternion(r)), r, atol=1e-6)
    half = scaled(r, jnp.full(len(r), 0.5))
    np.testing.assert_allclose(half @ half, r, atol=2e-6)
    still = np.tile(np.eye(3), (len(r), 1, 1))
    np.testing.assert_allclose(scaled(r, jnp.zeros(len(r))), still, atol=1e-7)
    found = angle_between(jnp.asarray(still, jnp.float32), r)
    np.testing.assert_allclose(found, np.tile(angles, len(axes)), atol=5e-4)


def test_six_numbers_make_the_rotation_again_at_any_length():
    r = rotations(20)
    columns = two_columns(r)
    np.testing.assert_allclose(orthonormal(columns), r, atol=1e-6)
    stretched = jnp.concatenate([3 * columns[:, :3], 0.2 * columns[:, 3:] + 5 * columns[:, :3]], -1)
    np.testing.assert_allclose(orthonormal(stretched), r, atol=1e-5)


@pytest.mark.parametrize("steps", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_walk_that_is_told_the_truth_ends_at_it(steps):
    truth = jnp.concatenate(
        [jax.random.normal(jax.random.key(1), (2, 5, 3)), rotations(10).reshape(2, 5, 9)], -1
    )
    told = lambda x, t, cond: from_x0(SCHEDULE, x, jnp.broadcast_to(t, (2,)), truth)
    times = np.append(np.arange(steps)[::-1] * (300 // steps), -1)
    walk = jax.jit(lambda x: sample(told, so3_ddim(SCHEDULE), times, on_so3(x)))
    for x in (jax.random.normal(jax.random.key(2), truth.shape), jnp.zeros(truth.shape)):
        np.testing.assert_allclose(walk(x), truth, atol=1e-5)


def test_forward_noise_ends_near_anywhere_and_starts_near_the_truth():
    r = rotations(2000).reshape(2, 1000, 3, 3)
    t = jnp.array([0, 299])
    noisy = so3_q_sample(SCHEDULE, r, t, draw_noise(SCHEDULE, t, jax.random.key(0), 1000))
    away = np.asarray(angle_between(r, noisy)).mean(1)
    assert away[0] < 0.05
    uniform = np.pi / 2 + 2 / np.pi  # the mean angle of uniformly random rotations
    assert away[1] == pytest.approx(uniform, abs=0.25)
