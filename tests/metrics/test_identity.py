"""The identity of faces where it is known."""

import jax.numpy as jnp
import numpy as np

from clipdiff_jax.metrics.identity import identity_similarity


def test_identity_is_the_cosine_of_two_faces():
    """To a recogniser that sees nothing but colour."""
    faces = np.ones((2, 32, 32, 3), np.float32) * np.array([[1, 0, 0], [1, 1, 0]])[:, None, None]
    other = faces[::-1].astype(np.float32)
    colour = lambda images: jnp.mean(images, axis=(1, 2))
    faces = faces.astype(np.float32)
    np.testing.assert_allclose(identity_similarity(colour, faces, faces), 1, atol=1e-5)
    np.testing.assert_allclose(identity_similarity(colour, faces, other), 0.5**0.5, atol=1e-5)
