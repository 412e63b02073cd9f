"""The bootstrap against the closed form of a mean, and where it has nothing to say."""

import math

import numpy as np
import pytest

from clipdiff_jax.metrics.uncertainty import Measured, bootstrap


def test_a_mean_has_the_standard_error_of_the_formula():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    measured = bootstrap(values, rounds=2000)
    assert measured.value == values.mean()
    # The spread of 2000 rounds is itself known to 1 / sqrt(2 * 2000) = 1.6 %.
    assert measured.uncertainty == pytest.approx(values.std() / 20, rel=0.06)


def test_a_median_of_normal_values_is_known_less_well():
    values = np.random.default_rng(1).normal(size=1001)
    measured = bootstrap(values, np.median, rounds=600)
    # The median's standard error is sqrt(pi / 2) times the mean's (asymptotically).
    assert measured.uncertainty == pytest.approx(np.sqrt(np.pi / 2) / np.sqrt(1001), rel=0.25)


def test_rows_are_drawn_whole():
    """A statistic of pairs sees pairs: here the two columns are the same number."""
    column = np.random.default_rng(2).normal(size=30)
    apart = bootstrap(
        np.stack([column, column], 1), lambda x: float(np.abs(x[:, 0] - x[:, 1]).max())
    )
    assert apart == Measured(0.0, 0.0)


def test_a_seed_decides():
    values = np.arange(10.0)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_what_has_no_spread():
    assert math.isnan(bootstrap(np.array([2.0])).uncertainty)
    assert bootstrap(np.full(5, 2.0)) == Measured(2.0, 0.0)
    endless = bootstrap(np.array([1.0, math.inf]))
    assert endless.value == math.inf
    assert math.isnan(endless.uncertainty)
    with pytest.raises(ValueError, match="no pictures"):
        bootstrap(np.zeros((0, 4)))
    with pytest.raises(ValueError, match="at least 2 rounds, got 1"):
        bootstrap(np.ones(3), rounds=1)


def test_it_is_written_with_its_uncertainty():
    assert f"{Measured(31.204, 0.398):.2f}" == "31.20 ± 0.40"
