"""Attention against its formula, and which kernel is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.core.compilation import compiling_for
from clipdiff_jax.models.attention import Inputs, attend, choose_backend, compute, for_cudnn


def inputs(t=5, s=7, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 5)
    q = jax.random.normal(keys[0], (2, t, 3, 8), dtype)
    k, v = (jax.random.normal(key, (2, s, 3, 8), dtype) for key in keys[1:3])
    mask = jax.random.bernoulli(keys[3], 0.7, (2, 1, t, s)).at[..., 0].set(True)
    return q, k, v, mask, jax.random.normal(keys[4], (1, 3, t, s))


def by_hand(q, k, v, mask, bias, scale):
    logits = np.einsum("bthd,bshd->bhts", q, k) * scale + bias
    logits = np.where(mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhts,bshd->bthd", weights, v)


def test_formula_with_mask_and_bias():
    q, k, v, mask, bias = inputs()
    out = attend(q, k, v, mask=mask, bias=bias)
    np.testing.assert_allclose(out, by_hand(q, k, v, mask, bias, 8**-0.5), atol=1e-5)
    np.testing.assert_allclose(attend(q, k, v), by_hand(q, k, v, True, 0, 8**-0.5), atol=1e-5)


def test_causal_is_a_lower_triangular_mask():
    q, k, v, _, _ = inputs(6, 6)
    triangle = np.tril(np.ones((6, 6), bool))
    np.testing.assert_allclose(
        attend(q, k, v, is_causal=True), by_hand(q, k, v, triangle, 0, 8**-0.5), atol=1e-5
    )


@pytest.mark.parametrize(
    ("platform", "dtype", "head_dim", "chosen"),
    [
        ("cpu", jnp.bfloat16, 64, "xla"),
        ("gpu", jnp.bfloat16, 64, "cudnn"),
        ("gpu", jnp.float16, 64, "cudnn"),
        ("gpu", jnp.bfloat16, 12, "xla"),
        ("gpu", jnp.bfloat16, 256, "xla"),
        ("gpu", jnp.float32, 64, "xla"),
        ("tpu", jnp.bfloat16, 64, "xla"),
    ],
)
def test_choice_of_kernel(platform, dtype, head_dim, chosen):
    assert choose_backend(dtype, head_dim, platform) == chosen


SHAPES = [(5, 7), (6, 7), (5, 8), (6, 8)]


@pytest.mark.parametrize(("t", "s"), SHAPES)
@pytest.mark.parametrize("given", ["mask", "key_mask", "bias", "both", "neither"])
def test_what_cudnn_is_given_is_the_same_attention(t, s, given):
    """Values and gradients of the filled-up inputs, computed by XLA."""
    q, k, v, mask, bias = inputs(t, s)
    mask = {"mask": mask, "both": mask, "key_mask": mask[:, :, :1]}.get(given)
    bias = bias if given in ("bias", "both") else None
    plain = Inputs(q, k, v, mask, bias)

    def loss(q, k, v, prepare):
        made = prepare(plain._replace(q=q, k=k, v=v))
        out = compute(made, False, "xla")[:, :t]
        return jnp.sum(jnp.sin(out)), out

    value_and_grad = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    (_, out), grads = value_and_grad(q, k, v, lambda x: x)
    (_, padded), padded_grads = value_and_grad(q, k, v, for_cudnn)
    np.testing.assert_allclose(padded, out, atol=1e-5)
    for ours, theirs in zip(padded_grads, grads, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    made = for_cudnn(plain)
    assert made.q.shape[1] % 2 == made.k.shape[1] % 2 == 0
    for array in (made.mask, made.bias):
        assert array is None or array.shape[2:] == (made.q.shape[1], made.k.shape[1])


@pytest.mark.parametrize(("t", "s"), [(5, 5), (5, 7), (7, 5), (6, 6)])
def test_what_cudnn_is_given_is_the_same_causal_attention(t, s):
    plain = Inputs(*inputs(t, s)[:3])
    made = for_cudnn(plain, is_causal=True)
    out, padded = (compute(x, True, "xla")[:, :t] for x in (plain, made))
    np.testing.assert_allclose(padded, out, atol=1e-5)


@pytest.mark.parametrize("length", [77, 197, 257, 64])
@pytest.mark.parametrize("given", ["mask", "key_mask", "causal", "neither"])
def test_half_precision_lowers_for_nvidia(as_on_hopper, length, given):
    """Forward and gradient, at the lengths of CLIP's towers."""
    q = jax.ShapeDtypeStruct((2, length, 4, 64), jnp.bfloat16)
    queries = {"mask": length, "key_mask": 1}.get(given)
    mask = None if queries is None else jax.ShapeDtypeStruct((2, 1, queries, length), bool)

    def loss(q, k, v, mask):
        out = attend(q, k, v, mask=mask, is_causal=given == "causal")
        return jnp.sum(out.astype(jnp.float32) ** 2)

    with compiling_for("gpu"):
        traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(q, q, q, mask)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "fmha" in text
    assert "fmha" not in jax.jit(loss).lower(q, q, q, mask).as_text()
