"""Principal components of embeddings, fitted in one pass over batches of them.

With mean m and covariance U diag(lambda) U^T of the embeddings z, eigenvalues falling,

    c = U^T (z - m)                               the coefficients                       (1)
    z^(n) = m + sum over k < n of c_k u_k         what n dimensions keep                 (2)
    E |z - z^(n)|^2 = sum over k >= n of lambda_k                                        (3)

unCLIP (Ramesh et al. 2022, arXiv 2204.06125) shortens CLIP's image embeddings so for its
autoregressive prior (section 2.2), and decodes z^(n) to see what the dimensions hold (section 4).
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.models.moments import Moments, update

Embeddings = Float[Array | np.ndarray, "b d"]


class PCA(NamedTuple):
    """A fitted PCA; its arrays are stored with the weights of what was trained on it.

    Attributes:
      mean: of the embeddings.
      directions: unit rows u_k by falling variance; of each, the entry that is largest in
        magnitude is positive.
      variances: lambda_k of the coefficients.
    """

    mean: Float[Array | np.ndarray, " d"]
    directions: Float[Array | np.ndarray, "k d"]
    variances: Float[Array | np.ndarray, " k"]


def fit(batches: Iterable[Float[Array | np.ndarray, "_ d"]]) -> PCA:
    """All D components of the embeddings in the batches, float32 on the host.

    Raises `ValueError` for fewer than two embeddings.
    """
    moments: Moments | None = None
    for batch in batches:
        moments = update(moments, batch)
    if moments is None or moments.examples < 2:
        count = 0 if moments is None else moments.examples
        raise ValueError(f"principal components need at least 2 embeddings, got {count}")
    return of_moments(moments)


def of_moments(moments: Moments) -> PCA:
    """The components of embeddings with these moments."""
    rising, columns = np.linalg.eigh(moments.scatter / moments.examples)
    directions = columns.T[::-1]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    single = lambda array: np.ascontiguousarray(array, np.float32)
    variances = np.maximum(rising[::-1], 0.0)
    return PCA(single(moments.mean), single(directions * signs[:, None]), single(variances))


def project(pca: PCA, z: Embeddings) -> Float[Array, "b k"]:
    """The coefficients of embeddings, eq. 1."""
    centred = jnp.asarray(z, jnp.float32) - pca.mean
    return jnp.matmul(centred, jnp.asarray(pca.directions).T, precision="highest")


def restore(pca: PCA, coefficients: Float[Array | np.ndarray, "b n"]) -> Float[Array, "b d"]:
    """The embeddings of the first n <= K coefficients, eq. 2."""
    directions = jnp.asarray(pca.directions)[: coefficients.shape[1]]
    return jnp.matmul(coefficients, directions, precision="highest") + pca.mean


def reconstruct(
    pca: PCA, z: Embeddings, dims: int | Int[Array | np.ndarray, "..."]
) -> Float[Array, "b d"]:
    """What the first `dims` dimensions keep of embeddings, eq. 2.

    dims: one number, or one for each embedding; traced, so that another compiles nothing new.
    """
    coefficients = project(pca, z)
    kept = jnp.arange(coefficients.shape[1]) < jnp.asarray(dims)[..., None]
    return restore(pca, jnp.where(kept, coefficients, 0.0))


def lost_share(pca: PCA, dims: int) -> float:
    """The mean squared error of `dims` dimensions as a share of the whole variance, eq. 3."""
    variances = np.asarray(pca.variances, np.float64)
    return float(variances[dims:].sum() / max(variances.sum(), np.finfo(np.float64).tiny))
