"""FLOPs counted by hand, and as XLA counts those of a program without loops."""

import jax
import jax.numpy as jnp
import pytest

from clipdiff_jax.core.compilation import compiling_for
from clipdiff_jax.models.attention import attend
from clipdiff_jax.training.targets.flops import count_flops


def flops_of(function, *shapes):
    return count_flops(jax.jit(function).trace(*shapes).jaxpr)


def floats(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_products_by_precision():
    product = lambda a, b: a @ b
    flops = flops_of(product, floats(3, 5, dtype=jnp.bfloat16), floats(5, 7, dtype=jnp.bfloat16))
    assert flops.by_kind == {"half": 2 * 3 * 5 * 7}
    assert flops_of(product, floats(2, 3, 5), floats(2, 5, 7)).by_kind == {"single": 4 * 3 * 5 * 7}
    with jax.default_matmul_precision("highest"):
        assert flops_of(product, floats(3, 5), floats(5, 7)).by_kind == {"highest": 2 * 3 * 5 * 7}


def convolve(x, kernel, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=numbers, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "VALID"},
        {"window_strides": (2, 2), "padding": "VALID"},
        {"window_strides": (1, 1), "padding": "VALID", "feature_group_count": 2},
    ],
)
def test_convolutions_as_xla_counts_them(options):
    kernel = floats(3, 3, 8 // options.get("feature_group_count", 1), 16)
    traced = jax.jit(lambda x, k: convolve(x, k, **options)).trace(floats(2, 9, 9, 8), kernel)
    assert count_flops(traced.jaxpr).total == traced.lower().cost_analysis()["flops"]


def test_gradients_of_a_convolution_cost_twice_the_convolution():
    loss = lambda x, k: convolve(x, k, window_strides=(1, 1), padding="SAME").sum()
    x, kernel = floats(2, 8, 8, 4), floats(3, 3, 4, 4)
    forward = flops_of(loss, x, kernel).total
    both = flops_of(jax.value_and_grad(loss, argnums=(0, 1)), x, kernel).total
    assert both == 3 * forward


def test_loops_count_as_often_as_they_run():
    def scanned(x, w):
        return jax.lax.scan(lambda c, _: (c @ w, None), x, None, length=11)[0]

    once = 2 * 4 * 8 * 8
    flops = flops_of(scanned, floats(4, 8), floats(8, 8))
    assert (flops.total, flops.unknown_loops) == (11 * once, 0)
    twice = lambda x, w: scanned(jax.lax.scan(lambda c, _: (scanned(c, w), None), x, None, 3)[0], w)
    assert flops_of(twice, floats(4, 8), floats(8, 8)).total == (33 + 11) * once
    open_end = lambda x, w: jax.lax.while_loop(lambda c: c.sum() < 1, lambda c: c @ w, x)
    flops = flops_of(open_end, floats(4, 8), floats(8, 8))
    assert (flops.total, flops.unknown_loops) == (once, 1)


def test_of_branches_the_costliest_counts():
    choose = lambda x: jax.lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x @ (x @ x), x)
    assert flops_of(choose, floats(4, 4)).total == 2 * 2 * 4**3


def test_what_is_recomputed_counts_again():
    def loss(w, x, block):
        return block(w, block(w, x)).sum()

    block = lambda w, x: jnp.sin(x @ w)
    kept = flops_of(jax.grad(lambda w, x: loss(w, x, block)), floats(8, 8), floats(4, 8)).total
    again = jax.checkpoint(block)
    recomputed = flops_of(jax.grad(lambda w, x: loss(w, x, again)), floats(8, 8), floats(4, 8))
    assert recomputed.total > kept


@pytest.mark.slow
def test_flash_attention_counts_its_products(as_on_hopper):
    """Of queries filled up to an even number."""
    q = floats(2, 77, 4, 64, dtype=jnp.bfloat16)
    loss = lambda q, k, v: attend(q, k, v).astype(jnp.float32).sum()
    product = 2 * 2 * 4 * 78 * 78 * 64
    with compiling_for("gpu"):
        assert flops_of(loss, q, q, q).by_kind == {"half": 2 * product}
        gradient = flops_of(jax.grad(loss, argnums=(0, 1, 2)), q, q, q)
    assert gradient.by_kind == {"half": (2 + 5) * product}
