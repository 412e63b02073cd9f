"""Changes of low rank: beside the layers and in the kernels they are the same function."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from helpers.tiny_models import drawn, tiny_base

from clipdiff_jax.models.lora import beside, init_lora, merged
from clipdiff_jax.models.unet import UNet
from clipdiff_jax.models.unet_config import UNetConfig

CONFIG = UNetConfig(
    channels=(8, 8), blocks=1, attention_levels=(1,), norm_groups=4, heads=1, remat=True
)
NETWORK = UNet(CONFIG)
X, T = jax.random.normal(jax.random.key(1), (2, 8, 8, 3)), jnp.array([3, 500])
PARAMS = drawn(lambda key: NETWORK.init(key, X, T)["params"], 0)


def full(seed, only=""):
    """A change none of whose numbers is zero."""
    return drawn(functools.partial(init_lora, PARAMS, 2, only=only), seed)


@jax.jit
def with_changes(changes):
    with beside(changes):
        return NETWORK.apply({"params": PARAMS}, X, T)


def test_it_begins_as_no_change():
    start = init_lora(PARAMS, 2, jax.random.key(0))
    made = with_changes([(start, 1.0)])
    np.testing.assert_allclose(made, with_changes([]), atol=5e-6)  # fused otherwise


@pytest.mark.slow
def test_beside_equals_merged_and_several_add_up():
    one, other = full(1), full(2)
    both = merged(merged(PARAMS, one, 0.7), other, -1.3)
    wanted = NETWORK.apply({"params": both}, X, T)
    np.testing.assert_allclose(with_changes([(one, 0.7), (other, -1.3)]), wanted, atol=2e-5)
    assert not np.allclose(wanted, with_changes([]), atol=1e-2)


def test_each_picture_has_its_strength():
    change = full(1)
    made = with_changes([(change, jnp.array([0.5, -2.0]))])
    for picture, strength in enumerate((0.5, -2.0)):
        alone = with_changes([(change, jnp.full(2, strength))])
        np.testing.assert_allclose(made[picture], alone[picture], atol=2e-5)


def test_every_kernel_that_fits_is_changed_and_no_other():
    kernels = {path[:-1] for path in flatten_dict(PARAMS) if path[-1] == "kernel"}
    assert {path[:-1] for path in flatten_dict(full(0))} == kernels
    middle = {path[0] for path in flatten_dict(full(0, "^mid_"))}
    assert middle == {"mid_res_0", "mid_attn", "mid_res_1"}
    with pytest.raises(ValueError, match=r"no kernel .* fits 'nothing'"):
        init_lora(PARAMS, 2, jax.random.key(0), "nothing")


def test_the_rank_is_the_rank():
    change = merged(jax.tree.map(jnp.zeros_like, PARAMS), full(3))
    kernel = np.asarray(change["mid_res_0"]["conv_0"]["kernel"]).reshape(-1, 8)
    assert np.linalg.matrix_rank(kernel, tol=1e-5) == 2


def test_a_stack_of_layers_is_changed_layer_by_layer():
    params = {"stack": {"kernel": jnp.zeros((3, 4, 6))}}
    change = drawn(functools.partial(init_lora, params, 2), 0)
    assert change["stack"]["down"].shape == (3, 4, 2)
    made = merged(params, change)["stack"]["kernel"]
    for layer in range(3):
        wanted = change["stack"]["down"][layer] @ change["stack"]["up"][layer]
        np.testing.assert_allclose(made[layer], wanted, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_blocks_that_are_scanned_have_a_change_each(remat):
    config = UNetConfig(
        channels=(8,), blocks=1, attention_levels=(0,), attention="cross", transformer_depth=2,
        heads=2, norm_groups=4, context_width=6, remat=remat,
    )  # fmt: skip
    network = UNet(config)
    cond = {"context": jax.random.normal(jax.random.key(2), (2, 5, 6))}
    params = drawn(lambda key: network.init(key, X, T, cond)["params"], 0)
    change = drawn(functools.partial(init_lora, params, 2, only="attn"), 1)
    assert change["mid_attn"]["blocks"]["self_q"]["down"].shape[0] == 2

    @jax.jit
    def run(changes):
        with beside(changes):
            return network.apply({"params": params}, X, T, cond)

    made = run([(change, jnp.array([0.5, -1.0]))])
    for picture, strength in enumerate((0.5, -1.0)):
        wanted = network.apply({"params": merged(params, change, strength)}, X, T, cond)
        np.testing.assert_allclose(made[picture], wanted[picture], atol=2e-5)


@pytest.mark.slow
def test_half_precision():
    base = tiny_base()
    network = UNet(base.config.unet, dtype=jnp.bfloat16)
    change = drawn(functools.partial(init_lora, base.params, 2), 1)
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    with beside([(change, 0.5)]):
        made = network.apply({"params": base.params}, x, T)
    wanted = network.apply({"params": merged(base.params, change, 0.5)}, x, T)
    assert made.dtype == jnp.bfloat16
    error = np.abs(np.float32(made) - np.float32(wanted)).max()
    assert error < 0.05 * np.abs(np.float32(wanted)).max()
