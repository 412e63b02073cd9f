"""Gradients are jax's own, and laid out as the CPU's quick kernel wants them also within a loop."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from clipdiff_jax.core.compilation import compiling_for
from clipdiff_jax.models.convolution import Conv, convolve

NUMBERS = ("NHWC", "HWIO", "NHWC")
QUICK = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
CASES = {
    "usual": (8, 8, 3, (1, 1), "SAME"),
    "halving, right": (9, 7, 3, (2, 2), ((0, 1), (0, 1))),
    "halving, same": (10, 9, 3, (2, 2), "SAME"),
    "patches": (8, 8, 4, (4, 4), "VALID"),
    "one by one": (7, 9, 1, (1, 1), "SAME"),
    "uneven": (9, 9, 5, (3, 2), ((2, 1), (0, 3))),
}


def scored(convolution, case):
    _, _, _, strides, padding = CASES[case]

    def score(x, kernel):
        y = convolution(x, kernel, strides, padding, dimension_numbers=NUMBERS)
        return jnp.sum(jnp.sin(y.astype(jnp.float32)))

    return score


def arrays(case, dtype=jnp.float32):
    height, width, size, _, _ = CASES[case]
    x = jax.random.normal(jax.random.key(0), (2, height, width, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 5))
    return x.astype(dtype), kernel.astype(dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_jax(case, dtype):
    inputs = arrays(case, dtype)
    ours, of_jax = (
        jax.grad(scored(convolution, case), (0, 1))(*inputs)
        for convolution in (convolve, lax.conv_general_dilated)
    )
    close = 1e-5 if dtype == jnp.float32 else 2e-2
    for found, expected in zip(ours, of_jax, strict=True):
        assert found.dtype == dtype
        size = float(jnp.abs(expected).max())
        np.testing.assert_allclose(
            found.astype(np.float32), expected.astype(np.float32), atol=close * size
        )


def test_other_derivatives_are_those_of_jax():
    """Forward, of one input only, of several at once, and of the gradient."""
    x, kernel = arrays("usual")

    def derivatives(convolution):
        score = scored(convolution, "usual")
        squared = lambda x, kernel: jnp.sum(jax.grad(score)(x, kernel) ** 2)
        return (
            jax.jvp(score, (x, kernel), (x + 1, kernel))[1],
            jax.jvp(lambda x: score(x, kernel), (x,), (x + 1,))[1],
            jax.vmap(jax.grad(score, 1), (0, None))(jnp.stack([x, 2 * x]), kernel),
            jax.grad(squared, 1)(x, kernel),
        )

    ours, of_jax = derivatives(convolve), derivatives(lax.conv_general_dilated)
    for found, expected in zip(ours, of_jax, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def layouts(platform):
    """Of all convolutions in the gradient of a loop, each with a 3 x 3 and a halving one."""
    same, half = Conv(4, (3, 3)), Conv(4, (3, 3), 2)
    x = jnp.ones((2, 8, 8, 4))

    def loss(params, x):
        def step(x, _):
            y = same.apply(params[0], jnp.tanh(x))
            return y + half.apply(params[1], y).mean(), None

        return lax.scan(jax.checkpoint(step), x, None, length=3)[0].sum()

    with compiling_for(platform):
        params = jax.eval_shape(lambda: [m.init(jax.random.key(0), x) for m in (same, half)])
        traced = jax.jit(jax.grad(loss, (0, 1))).trace(params, x)
        name = {"gpu": "cuda"}.get(platform, platform)
        text = traced.lower(lowering_platforms=(name,)).as_text()
    return re.findall(r"stablehlo.convolution.*?dim_numbers = (\S.*?), window", text)


def test_in_a_loop_all_have_the_layout_that_is_quick():
    found = layouts("cpu")
    assert len(found) >= 6
    assert set(found) == {QUICK}


def test_other_platforms_choose_themselves():
    assert len(set(layouts("gpu"))) == 3


def test_what_is_dilated_or_grouped_is_left_to_jax():
    x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 2, 4))
    found = convolve(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS, feature_group_count=2)
    np.testing.assert_allclose(found[0, 1, 1], 18.0)
    whole = jnp.ones((3, 3, 4, 4))
    found = convolve(x, whole, (1, 1), "VALID", dimension_numbers=NUMBERS, rhs_dilation=(2, 2))
    np.testing.assert_allclose(found, np.full((1, 4, 4, 4), 36.0))
