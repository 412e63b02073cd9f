"""Samplers as a user would write them, outside of the library."""

import jax.numpy as jnp

from clipdiff_jax.diffusion.sampler import Multistep, Reevaluating


def euler(schedule):
    """The differential equation of DDIM in x / alpha and the noise level sigma / alpha."""

    def step(x, prediction, t, t_next, z):
        alpha, after = schedule.alpha(t), schedule.alpha(t_next)
        change = schedule.sigma(t_next) / after - schedule.sigma(t) / alpha
        return after * (x / alpha + change * prediction.eps)

    return step


def heun(schedule):
    """The mean of the slopes at both ends of Euler's step."""
    forward = euler(schedule)

    def step(again, x, prediction, t, t_next, z):
        guess = forward(x, prediction, t, t_next, z)
        slope = again(guess, jnp.maximum(t_next, 0)).eps
        both = prediction._replace(eps=(prediction.eps + slope) / 2)
        return jnp.where(t_next < 0, guess, forward(x, both, t, t_next, z))

    return Reevaluating(step)


def adams(schedule):
    """Two steps of Adams and Bashforth: the slope goes on as it has changed."""
    forward = euler(schedule)

    def step(before, x, prediction, t, t_next, z):
        first, last = before
        eps = jnp.where(first, prediction.eps, 1.5 * prediction.eps - 0.5 * last)
        after = forward(x, prediction._replace(eps=eps), t, t_next, z)
        return (jnp.bool_(False), prediction.eps), after

    return Multistep(lambda x: (jnp.bool_(True), x), step)
