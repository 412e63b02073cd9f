"""The UNet: the published parameter count, its options, and what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import drawn

from clipdiff_jax.models.layers import depth_to_space, sinusoid, space_to_depth
from clipdiff_jax.models.unet import Refinement, UNet, UNetConfig
from clipdiff_jax.models.unet_size import num_params

TINY = dict(channels=(8, 16), blocks=1, attention_levels=(1,), norm_groups=4)


def test_ddpm_celebahq_has_its_published_size():
    assert num_params(UNetConfig(), 256) == 113_673_219


def output(config: UNetConfig, cond=None, dtype=jnp.float32, size=16):
    """The output of a network without zero weights, for random input."""
    x = jax.random.normal(jax.random.key(1), (2, size, size, config.in_channels))
    t = jnp.array([3, 700])
    variables = drawn(lambda key: UNet(config).init(key, x, t, cond), 0)
    return _apply(config, dtype, variables, x, t, cond)


@partial(jax.jit, static_argnums=(0, 1))
def _apply(config, dtype, variables, x, t, cond):
    return UNet(config, dtype).apply(variables, x, t, cond)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale_shift": True, "residual_resampling": True, "head_width": 4},
        {"patch": 2, "input_skip": True},
        {"patch": 2, "refine_channels": 4},
        {"patch": 2, "time_order": "cos_sin", "time_shift": 0.0},
        {"downsample_padding": "both", "out_channels": 6, "middle_attention": False},
        {"blocks": (1, 2)},
    ],
)
def test_options_change_the_network_not_its_shape(options):
    config = UNetConfig(**TINY | options)
    out = output(config)
    assert out.shape == (2, 16, 16, config.out_channels)
    assert np.isfinite(out).all()
    assert float(jnp.std(out)) > 0.01


def test_remat_and_bfloat16_agree_with_plain_float32():
    plain = output(UNetConfig(**TINY))
    np.testing.assert_allclose(output(UNetConfig(**TINY, remat=True)), plain, rtol=1e-5, atol=1e-5)
    half = output(UNetConfig(**TINY), dtype=jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    error = jnp.linalg.norm(half.astype(jnp.float32) - plain) / jnp.linalg.norm(plain)
    assert float(error) < 0.05


def test_conditioning_reaches_the_output_and_masked_tokens_do_not():
    config = UNetConfig(**TINY, num_classes=3, pooled_width=5, context_width=7)
    key = jax.random.key(5)
    cond = {
        "classes": jnp.array([0, 1]),
        "pooled": jax.random.normal(key, (2, 5)),
        "context": jax.random.normal(key, (2, 4, 7)),
        "context_mask": jnp.array([[True, True, False, False]] * 2),
    }
    plain = output(config, cond)
    hidden = output(config, cond | {"context": cond["context"].at[:, 2:].add(3.0)})
    np.testing.assert_allclose(hidden, plain, atol=1e-6)
    for change in (
        {"classes": jnp.array([2, 2])},
        {"pooled": cond["pooled"] + 1},
        {"context": cond["context"] + 1},
    ):
        assert float(jnp.abs(output(config, cond | change) - plain).max()) > 1e-3


def test_wrong_input_is_refused():
    config = UNetConfig(**TINY)
    with pytest.raises(ValueError, match="multiples of 2"):
        output(config, size=15)
    with pytest.raises(ValueError, match="takes no 'context'"):
        output(config, {"context": jnp.zeros((2, 1, 3))})
    with pytest.raises(ValueError, match="needs 'classes'"):
        output(UNetConfig(**TINY, num_classes=3))
    with pytest.raises(ValueError, match="do not divide into 32 groups"):
        UNetConfig(channels=(48,))
    with pytest.raises(ValueError, match="attention level 4 does not exist"):
        UNetConfig(channels=(32,))


def test_patches_are_a_round_trip_and_sinusoids_follow_their_formula():
    x = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))
    folded = space_to_depth(x, 4)
    assert folded.shape == (2, 2, 3, 48)
    np.testing.assert_array_equal(depth_to_space(folded, 4), x)
    angle = 7 * 1e4 ** (-np.arange(4) / 3)
    row = sinusoid(jnp.array([7]), 8, "sin_cos", 1.0)[0]
    np.testing.assert_allclose(row, np.concatenate([np.sin(angle), np.cos(angle)]), atol=2e-6)
    angle = 7 * 1e4 ** (-np.arange(4) / 4)
    row = sinusoid(jnp.array([7]), 8, "cos_sin")[0]
    np.testing.assert_allclose(row, np.concatenate([np.cos(angle), np.sin(angle)]), atol=2e-6)


def test_refinement_starts_as_the_network_without_it_and_sees_across_patches():
    """Its last convolution starts at zero. With weights there, what it adds to a pixel depends on
    input pixels of the patches around, by three convolutions of 3 x 3."""
    plain = UNetConfig(**TINY, patch=4)
    refined = UNetConfig(**TINY, patch=4, refine_channels=4)
    x, t = jax.random.normal(jax.random.key(1), (1, 16, 16, 3)), jnp.array([300])
    variables = drawn(lambda key: UNet(refined).init(key, x, t), 0)
    refine = variables["params"].pop("refine")
    before = _apply(plain, jnp.float32, variables, x, t, None)
    unused = refine | {"conv_out": jax.tree.map(jnp.zeros_like, refine["conv_out"])}
    start = {"params": variables["params"] | {"refine": unused}}
    np.testing.assert_array_equal(_apply(refined, jnp.float32, start, x, t, None), before)

    def added(image):
        network = Refinement(refined, 4)
        features, emb = jnp.ones((1, 4, 4, 8)), jnp.ones((1, 32))
        out = network.apply({"params": refine}, features, 0 * image, image, emb)
        return out[0, 7, 7].sum()  # the last pixel of its patch

    reached = np.abs(jax.grad(added)(x)[0]).sum(-1) > 0
    assert {int(side) for side in np.argwhere(reached).ravel()} == set(range(4, 11))


@pytest.mark.parametrize(("patch", "width"), [(1, 8), (4, 0)])
def test_refinement_without_patches_or_width_is_refused(patch, width):
    with pytest.raises(ValueError, match=f"refine_channels is {width} with patch {patch}"):
        UNetConfig(**TINY, patch=patch, refine_channels=width)
