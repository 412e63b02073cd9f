"""Spatial transformers: what reaches the output, odd sides, attention watched and replaced."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import drawn

from clipdiff_jax.models.attention import attend
from clipdiff_jax.models.spatial_transformer import Kept
from clipdiff_jax.models.unet import UNet
from clipdiff_jax.models.unet_config import UNetConfig

TINY = dict(
    in_channels=4, out_channels=4, channels=(8, 16), blocks=1, attention_levels=(0, 1),
    norm_groups=4, heads=(2, 4), transformer_depth=(1, 3), downsample_padding="both",
    context_width=6, pooled_width=5, time_ids=6, time_ids_width=4, attention="cross",
)  # fmt: skip
CONFIG = UNetConfig(**TINY)
COND = {
    "context": jax.random.normal(jax.random.key(1), (2, 7, 6)),
    "pooled": jax.random.normal(jax.random.key(2), (2, 5)),
    "time_ids": jnp.array([[64, 64, 0, 0, 64, 64], [96, 80, 8, 4, 64, 64]]),
}
X, T = jax.random.normal(jax.random.key(0), (2, 7, 10, 4)), jnp.array([981, 1])


@pytest.fixture(scope="module")
def variables():
    return drawn(lambda key: UNet(CONFIG).init(key, X, T, COND), 0)


@partial(jax.jit, static_argnames=("config", "attention", "dtype"))
def run(variables, cond, x=X, config=CONFIG, attention=None, dtype=jnp.float32):
    return UNet(config, dtype).apply(variables, x, T, cond, attention=attention, mutable="maps")


def by_hand(site, q, k, v):
    """The same as `attend`, with its weights kept."""
    logits = jnp.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
    weights = jax.nn.softmax(logits)
    return Kept(jnp.einsum("bhts,bshd->bthd", weights, v), weights)


def first_for_both(site, q, k, v):
    """The second picture attends with the first one's queries and keys, from the block 1 on."""
    other = attend(q[:1], k[:1], v[1:])
    mixed = jnp.concatenate([attend(q[:1], k[:1], v[:1]), other])
    return jnp.where(site.block >= 1, mixed, attend(q, k, v))


@pytest.mark.slow
def test_all_conditioning_reaches_the_output_and_sides_may_be_odd(variables):
    plain, _ = run(variables, COND)
    assert plain.shape == (2, 7, 10, 4)
    assert float(jnp.std(plain)) > 0.01
    for name, change in (("context", 1), ("pooled", 1), ("time_ids", 8)):
        changed, _ = run(variables, COND | {name: COND[name] + change})
        assert float(jnp.abs(changed - plain).max()) > 1e-3, name


@pytest.mark.slow
def test_masked_tokens_do_not_reach_the_output(variables):
    mask = jnp.arange(7)[None].repeat(2, 0) < 4
    masked, _ = run(variables, COND | {"context_mask": mask})
    cut, _ = run(variables, COND | {"context": COND["context"][:, :4]})
    np.testing.assert_allclose(masked, cut, atol=1e-5)


@pytest.mark.slow
def test_remat_and_bfloat16_agree_with_plain_float32(variables):
    plain, _ = run(variables, COND)
    again, _ = run(variables, COND, config=UNetConfig(**TINY, remat=True))
    np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-5)
    half, _ = run(variables, COND, dtype=jnp.bfloat16)
    error = jnp.linalg.norm(half.astype(jnp.float32) - plain) / jnp.linalg.norm(plain)
    assert float(error) < 0.05


def test_attention_is_watched(variables):
    plain, nothing = run(variables, COND)
    assert not nothing
    watched, kept = run(variables, COND, attention=by_hand)
    np.testing.assert_allclose(watched, plain, atol=1e-5)
    maps = kept["maps"]
    assert set(maps) == {
        "down_0_attn_0", "down_1_attn_0", "mid_attn", "up_1_attn_0", "up_1_attn_1",
        "up_0_attn_0", "up_0_attn_1",
    }  # fmt: skip
    (cross,), (own,) = (maps["down_1_attn_0"]["blocks"][kind] for kind in ("cross", "self"))
    assert cross.shape == (3, 2, 4, 4 * 5, 7)  # [block, picture, head, pixel, token]
    assert own.shape == (3, 2, 4, 4 * 5, 4 * 5)
    np.testing.assert_allclose(cross.sum(-1), 1, atol=1e-5)


def test_attention_is_replaced_in_some_blocks(variables):
    plain, _ = run(variables, COND)
    replaced, _ = run(variables, COND, attention=first_for_both)
    np.testing.assert_allclose(replaced[0], plain[0], atol=1e-5)
    assert float(jnp.abs(replaced[1] - plain[1]).max()) > 1e-3


def test_wrong_configs_and_calls_are_refused(variables):
    for options, said in (
        ({"context_width": None}, "needs a context_width"),
        ({"heads": (3, 4)}, "8 channels do not divide into 3 heads"),
        ({"heads": (2,)}, "heads has 1 entries for 2 levels"),
        ({"transformer_depth": (0, 1)}, "expected at least 1"),
        ({"pooled_width": None}, "a pooled vector"),
        ({"attention": "pixels"}, "of attention 'cross' alone"),
    ):
        with pytest.raises(ValueError, match=said):
            UNetConfig(**TINY | options)
    for left_out in ("context", "pooled", "time_ids"):
        cond = {name: value for name, value in COND.items() if name != left_out}
        with pytest.raises(ValueError, match=f"needs '{left_out}'"):
            run(variables, cond)
    mask = jnp.ones((2, 7), bool)
    with pytest.raises(ValueError, match="sees no 'context_mask'"):
        run(variables, COND | {"context_mask": mask}, attention=by_hand)
    pixels = UNetConfig(channels=(8,), attention_levels=(), norm_groups=4)
    with pytest.raises(ValueError, match="no spatial transformers"):
        UNet(pixels).init(jax.random.key(0), X[..., :3], T, attention=by_hand)
