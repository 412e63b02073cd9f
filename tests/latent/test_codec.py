"""The autoencoder as an object: large pictures piece by piece."""

import jax.numpy as jnp
import numpy as np
from helpers import tiny_latent
from helpers.tiny_models import pictures

from clipdiff_jax.latent import codec


def test_large_pictures_go_piece_by_piece(monkeypatch):
    """GroupNorm sees a piece instead of the whole, so that the result differs a little."""
    of = tiny_latent.model().codec
    images = np.tile(pictures(1, 16), (1, 1, 3, 1))[:, :, :40]
    whole = of.encode(images)
    monkeypatch.setattr(codec, "TILE", 16)
    monkeypatch.setattr(codec, "OVERLAP", 8)
    pieces = of.encode(images)
    assert pieces.shape == whole.shape == (1, 8, 20, 4)
    away = float(jnp.linalg.norm(pieces - whole) / jnp.linalg.norm(whole))
    assert 0 < away < 0.3
    decoded = of.decode(pieces)
    assert decoded.shape == images.shape
    monkeypatch.undo()
    exact = of.decode(pieces)
    assert float(jnp.linalg.norm(decoded - exact) / jnp.linalg.norm(exact)) < 0.3
