"""The Fréchet Inception distance (Heusel et al. 2017, arXiv 1706.08500).

Two sets of pictures are treated as Gaussians in a network's features. Their Fréchet distance
(Dowson and Landau 1982; eq. 6 of Heusel et al.) is

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).                                         (1)

Means and covariances come from a stream, see `models.moments`. With C1 = F F^T the eigenvalues of
C1 C2 are those of F^T C2 F, which is symmetric, so the trace of the root is the sum of the roots of
real eigenvalues; where C1 has no full rank, neither has F.

Everything here is float64 on the host.
"""

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clipdiff_jax.core.files import write_whole
from clipdiff_jax.core.npz_files import read_npz
from clipdiff_jax.metrics.features import Features, check_widths
from clipdiff_jax.metrics.halves import FEWEST, halves
from clipdiff_jax.metrics.uncertainty import Measured
from clipdiff_jax.models.moments import update

Blocks = Iterable[Float[np.ndarray, "_ _"]]  # features [n, D]; can be gone through again


@dataclass(frozen=True, eq=False)
class Statistics:
    """What FID knows of a set of pictures.

    Attributes:
      mean, covariance: of the features; the covariance is the unbiased one.
      count: of the pictures; None in files of other programs, which do not say.
      network: name of the `FeatureNetwork`; empty in files of other programs.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    count: int | None = None
    network: str = ""


def statistics(blocks: Blocks) -> Statistics:
    """Mean and covariance of a stream of features, a block in memory at a time.

    Raises `ValueError` for fewer than two pictures, which have no covariance, and for features
    that are not finite.
    """
    whole = None
    for block in blocks:
        if len(block):
            whole = update(whole, block)
    if whole is None or whole.examples < 2:
        number = "none" if whole is None else "one"
        raise ValueError(
            f"FID needs two pictures or more, got {number}: a single picture has no covariance"
        )
    if not np.isfinite(whole.scatter).all():
        raise ValueError("there are features that are not finite")
    network = blocks.network if isinstance(blocks, Features) else ""
    covariance = whole.scatter / (whole.examples - 1)
    return Statistics(whole.mean, covariance, whole.examples, network)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Eq. 1. Raises `ValueError` for features of different lengths or networks."""
    _check_alike(a, b)
    return _distance(a, b, _factor(b.covariance))


def fid(
    generated: Blocks,
    reference: Blocks | Statistics,
    *,
    rounds: int = 10,
    seed: int = 0,
) -> Measured:
    """The distance of two sets of features, and its standard error by repeated halves.

    reference: the same kind of blocks, or statistics; those are taken as they are, so that the
    uncertainty is of the generated pictures only. rounds: of halves, each another distance; below
    2 the uncertainty is NaN.

    Warns where pictures are fewer than dimensions. Raises `ValueError` for a single picture.
    """
    whole = statistics(generated)
    known = reference if isinstance(reference, Statistics) else statistics(reference)
    _check_alike(whole, known)
    for what, one in (("pictures", whole), ("reference pictures", known)):
        _warn_of_few(what, one)
    factor = _factor(known.covariance)
    value = _distance(whole, known, factor)
    assert whole.count is not None
    counts = [whole.count]
    if not isinstance(reference, Statistics):
        assert known.count is not None
        counts.append(known.count)
    if min(counts) < FEWEST or rounds < 2:
        return Measured(value, float("nan"))
    distances = []
    masks = [halves(count, rounds, seed + place) for place, count in enumerate(counts)]
    for chosen in zip(*masks, strict=True):
        half = statistics(_chosen(generated, chosen[0]))
        if isinstance(reference, Statistics):
            distances.append(_distance(half, known, factor))
        else:
            other = statistics(_chosen(reference, chosen[1]))
            distances.append(_distance(half, other, _factor(other.covariance)))
    return Measured(value, float(np.std(distances)))


def save_statistics(path: Path, known: Statistics) -> None:
    """Writes an .npz in the layout of pytorch-fid and clean-fid (`mu`, `sigma`), and our fields."""
    buffer = io.BytesIO()
    count = np.array(-1 if known.count is None else known.count)
    name = np.array(known.network)
    np.savez(buffer, mu=known.mean, sigma=known.covariance, count=count, network=name)
    write_whole(path, buffer.getvalue())


def load_statistics(path: Path) -> Statistics:
    """Reads what `save_statistics`, pytorch-fid or clean-fid wrote.

    Raises `FileNotFoundError` where nothing is there and `ValueError` for anything else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no statistics at '{path}'")
    try:
        found = read_npz(path, ("mu", "sigma"), ("count", "network"))
        mean, covariance = (np.asarray(found[name], np.float64) for name in ("mu", "sigma"))
        count, network = int(found.get("count", -1)), str(found.get("network", ""))
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"'{path}' holds no statistics, expected an .npz of 'mu' and 'sigma': {error}"
        ) from error
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
        raise ValueError(
            f"'{path}' has mu {mean.shape} and sigma {covariance.shape}, expected [D] and [D, D]"
        )
    return Statistics(mean, covariance, None if count < 0 else count, network)


def _factor(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d r"]:
    """F with F F^T the covariance, a column for each eigenvalue that is not rounding."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(values[-1], 0) * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])


def _distance(a: Statistics, b: Statistics, factor: Float[np.ndarray, "d r"]) -> float:
    """Eq. 1, given the factor of b's covariance. Rounding may not take it below zero."""
    apart = a.mean - b.mean
    values = np.linalg.eigvalsh(factor.T @ a.covariance @ factor) if factor.size else np.zeros(1)
    root = np.sqrt(values.clip(min=0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return max(float(apart @ apart + traces - 2 * root), 0.0)


def _chosen(blocks: Blocks, mask: np.ndarray) -> Blocks:
    start = 0
    for block in blocks:
        yield block[mask[start : start + len(block)]]
        start += len(block)


def _check_alike(a: Statistics, b: Statistics) -> None:
    check_widths(len(a.mean), len(b.mean))
    if a.network and b.network and a.network != b.network:
        raise ValueError(
            f"the statistics are of different networks or resizes: '{a.network}' and '{b.network}'"
        )


def _warn_of_few(what: str, known: Statistics) -> None:
    width = len(known.mean)
    if known.count is not None and known.count <= width:
        warnings.warn(
            f"{known.count} {what} for {width} dimensions: their covariance has rank "
            f"{known.count - 1} at most, so FID is far too large and comparable only with FIDs of "
            f"as many pictures. Take {width + 1} or more (papers take 10,000 to 50,000), or KID, "
            "whose mean does not depend on the number of pictures",
            stacklevel=3,
        )
