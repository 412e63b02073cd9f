"""How far a metric may be off because it was measured on these pictures and not on others.

The bootstrap (Efron 1979, Annals of Statistics 7(1)) draws n of the n pictures with replacement,
many times, and computes the metric of each draw; the standard deviation of those values estimates
the standard error of the metric:

    se = std over rounds b of s(x*_b),     x*_b = n draws with replacement of x_1 .. x_n      (1)

For a mean it agrees with std(x) / sqrt(n); for anything else it needs no formula.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Measured:
    """A metric's value and the standard error of that value, in the same units.

    `f"{measured:.2f}"` writes "31.20 ± 0.40". An uncertainty that is unknown is NaN.
    """

    value: float
    uncertainty: float

    def __format__(self, spec: str) -> str:
        return f"{format(self.value, spec)} ± {format(self.uncertainty, spec)}"


def bootstrap(
    values: Shaped[np.ndarray, "n ..."],
    statistic: Statistic = np.mean,
    *,
    seed: int = 0,
    rounds: int = 1000,
) -> Measured:
    """The statistic of all values, and its standard error by eq. 1.

    values: [N, ...], whatever is known of each picture: a score, or a feature vector.
    statistic: [N, ...] -> number.

    A single picture says nothing about others, and a value that is not finite has no spread: the
    uncertainty is then NaN. Raises `ValueError` for no values and for fewer than 2 rounds.
    """
    values = np.asarray(values)
    count = len(values)
    if count == 0:
        raise ValueError("there are no pictures to measure")
    if rounds < 2:
        raise ValueError(f"a spread needs at least 2 rounds, got {rounds}")
    value = float(statistic(values))
    if count == 1 or not np.isfinite(value):
        return Measured(value, float("nan"))
    rng = np.random.default_rng(seed)
    drawn = [float(statistic(values[rng.integers(count, size=count)])) for _ in range(rounds)]
    return Measured(value, float(np.std(drawn)))
