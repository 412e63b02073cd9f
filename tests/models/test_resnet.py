"""The convolutional tower: its sizes, its options, its frozen statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models.resnet import FrozenBatchNorm, ModifiedResNet, ModifiedResNetConfig
from clipdiff_jax.weights.params import flatten


def shapes(config):
    pixels = jnp.zeros((1, config.image_size, config.image_size, 3))
    init = ModifiedResNet(config, 6).init
    tree = jax.eval_shape(init, jax.random.key(0), pixels)["params"]
    return {path: leaf.shape for path, leaf in flatten(tree).items()}


def test_rn50_stages():
    found = shapes(ModifiedResNetConfig())
    assert found["stem_conv3/kernel"] == (3, 3, 32, 64)
    assert found["stage0_block2/conv3/kernel"] == (64, 256)
    assert found["stage3_block2/conv2/kernel"] == (3, 3, 512, 512)
    assert found["pool/position_embedding"] == (50, 2048)
    assert "stage3_block3/conv1/kernel" not in found


def test_options_beyond_the_paper():
    config = ModifiedResNetConfig(
        32, width=4, depths=(1, 1), expansion=2, stem="space_to_depth", norm="group",
        norm_groups=2, pool="dense",
    )  # fmt: skip
    found = shapes(config)
    assert found["stem_conv1/kernel"] == (3, 3, 48, 8)
    assert found["projection/kernel"] == (4 * 4 * 16, 6)
    assert not any("mean" in path or "pool" in path for path in found)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["attention", "dense"])
@pytest.mark.parametrize("stem", ["convolutions", "space_to_depth"])
def test_every_parameter_has_a_gradient(stem, pool):
    config = ModifiedResNetConfig(
        16, width=4, depths=(1, 1), heads=2, stem=stem, norm="group", norm_groups=2, pool=pool
    )
    pixels = jax.random.normal(jax.random.key(0), (4, 16, 16, 3))
    tower = ModifiedResNet(config, 6)
    params = jax.jit(tower.init)(jax.random.key(1), pixels)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(tower.apply(p, pixels) ** 3)))(params)
    for path, leaf in flatten(gradient["params"]).items():
        if path != "pool/key/bias":  # adds the same to all logits of a query
            assert float(jnp.abs(leaf).max()) > 1e-9, path


def test_frozen_batch_norm_uses_its_statistics_and_keeps_them():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 2))
    params = {
        "scale": jnp.array([2.0, 1.0]), "bias": jnp.array([0.5, 0.0]),
        "mean": jnp.array([1.0, -1.0]), "var": jnp.array([4.0, 0.25]),
    }  # fmt: skip
    out = FrozenBatchNorm().apply({"params": params}, x)
    np.testing.assert_allclose(out[..., 0], (x[..., 0] - 1) / 2 * 2 + 0.5, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out[..., 1], (x[..., 1] + 1) / 0.5, rtol=1e-4)
    gradient = jax.grad(lambda p: jnp.sum(FrozenBatchNorm().apply({"params": p}, x) ** 2))(params)
    assert not gradient["mean"].any()
    assert not gradient["var"].any()
    assert gradient["scale"].all()


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="image_size 100 is not a multiple of 32"):
        ModifiedResNetConfig(100)
    with pytest.raises(ValueError, match="2048 channels do not split into 30 heads"):
        ModifiedResNetConfig(heads=30)
