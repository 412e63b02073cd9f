import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.perceptual.identity import face_crop, identity_loss


def test_crop_takes_the_published_region_at_256_and_scales_with_the_picture():
    rows, columns = jnp.meshgrid(jnp.arange(256.0), jnp.arange(256.0), indexing="ij")
    crop = face_crop(jnp.stack([rows, columns], -1)[None])
    assert crop.shape == (1, 112, 112, 2)
    assert float(crop[0, :, 0, 0].mean()) == pytest.approx((35 + 222) / 2, abs=0.01)
    assert float(crop[0, 0, :, 1].mean()) == pytest.approx((32 + 219) / 2, abs=0.01)
    half = face_crop(jnp.stack([rows, columns], -1)[None, :128, :128])
    assert float(half[0, :, 0, 0].mean()) == pytest.approx((35 + 222) / 4, abs=0.6)
    assert face_crop(jnp.zeros((2, 64, 64, 3))).shape == (2, 112, 112, 3)


@pytest.mark.parity
def test_pooling_matches_torch():
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).standard_normal((2, 256, 256, 3)).astype(np.float32)
    face = torch.tensor(images[:, 35:223, 32:220]).permute(0, 3, 1, 2)
    expected = torch.nn.AdaptiveAvgPool2d((112, 112))(face).permute(0, 2, 3, 1)
    np.testing.assert_allclose(face_crop(jnp.asarray(images)), expected.numpy(), atol=1e-5)


def test_loss_is_one_minus_cosine_with_gradient_to_the_generated_picture():
    weights = jax.random.normal(jax.random.key(0), (112 * 112 * 3, 4)) / 100
    embed = lambda x: x.reshape(x.shape[0], -1) @ weights
    reference = jax.random.normal(jax.random.key(1), (2, 64, 64, 3))
    np.testing.assert_allclose(identity_loss(embed, reference, reference), 0, atol=1e-5)
    np.testing.assert_allclose(identity_loss(embed, -reference, reference), 2, atol=1e-5)
    loss = lambda g, r: identity_loss(embed, g, r).sum()
    to_generated, to_reference = jax.grad(loss, (0, 1))(reference + 0.3, reference)
    assert float(jnp.abs(to_generated).sum()) > 0
    assert float(jnp.abs(to_reference).sum()) == 0
