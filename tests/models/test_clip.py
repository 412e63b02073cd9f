"""CLIP's towers: where texts are pooled, what each option does to shapes and gradients."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models.clip import (
    CLIP,
    CLIPConfig,
    TextConfig,
    TextTransformer,
    VisionTransformerConfig,
    end_of_text,
    init_params,
    normalise,
    unit,
)
from clipdiff_jax.models.resnet import ModifiedResNetConfig

TEXT = TextConfig(20, 6, width=8, depth=2, heads=2, mlp_width=16, eos_token_id=19)
TRANSFORMER = VisionTransformerConfig(16, 8, width=8, depth=2, heads=2, mlp_width=16)
RESNET = ModifiedResNetConfig(16, width=4, depths=(1, 1), heads=2, norm="group", norm_groups=2)
IDS = jnp.array([[0, 5, 19, 19, 3, 1], [0, 2, 3, 4, 5, 19]])


def network(vision, **options):
    config = CLIPConfig(vision, TEXT, projection_dim=10)
    params = jax.jit(partial(init_params, config))(jax.random.key(0))
    return CLIP(config, **options), {"params": params}


def embed_texts(clip, variables, ids):
    return jax.jit(partial(clip.apply, method="embed_texts"))(variables, ids)


def test_end_of_text_conventions():
    ids = jnp.array([[0, 7, 3, 9, 9], [0, 9, 3, 7, 9], [0, 3, 2, 2, 2]])
    np.testing.assert_array_equal(end_of_text(ids, 9), [3, 1, 0])
    np.testing.assert_array_equal(end_of_text(ids, 7), [1, 3, 0])
    np.testing.assert_array_equal(end_of_text(ids, 2), [3, 1, 1])  # the largest id


def test_padding_after_the_end_changes_no_embedding():
    clip, variables = network(TRANSFORMER)
    embedding, hidden = embed_texts(clip, variables, IDS)
    assert (embedding.shape, hidden.shape) == ((2, 10), (2, 6, 8))
    padded = IDS.at[0, 3:].set(11)
    again, _ = embed_texts(clip, variables, padded)
    np.testing.assert_allclose(embedding, again, atol=1e-6)
    short, _ = embed_texts(clip, variables, IDS[:1, :3])
    np.testing.assert_allclose(embedding[:1], short, atol=1e-6)
    moved, _ = embed_texts(clip, variables, IDS.at[0, 1].set(11))
    assert np.abs(moved[0] - embedding[0]).max() > 1e-3


def test_states_before_the_end_and_before_the_final_norm():
    """Those of a skip are what a transformer without the last blocks ends in; the pooled state
    stays that of all blocks."""
    plain = TextTransformer(TEXT, None)
    variables = jax.jit(plain.init)(jax.random.key(0), IDS)
    cut = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf[:1] if "blocks" in jax.tree_util.keystr(path) else leaf, variables
    )
    run = lambda network, of: jax.jit(network.apply)(of, IDS)
    pooled, last = run(plain, variables)
    np.testing.assert_array_equal(pooled, last[jnp.arange(2), end_of_text(IDS, 19)])
    _, shorter = run(TextTransformer(replace(TEXT, depth=1), None), cut)
    again, states = run(TextTransformer(TEXT, None, skip=1), variables)
    np.testing.assert_allclose(again, pooled, atol=1e-6)
    np.testing.assert_allclose(states, shorter, atol=1e-6)
    _, bare = run(TextTransformer(TEXT, None, skip=1, norm_states=False), variables)
    centred = bare - bare.mean(-1, keepdims=True)
    by_hand = centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + TEXT.eps)
    np.testing.assert_allclose(by_hand, shorter, atol=1e-5)  # a fresh norm's scale is 1
    with pytest.raises(ValueError, match="skip is 2, expected 0 to 1"):
        run(TextTransformer(TEXT, None, skip=2), variables)


@pytest.mark.slow
@pytest.mark.parametrize("vision", [TRANSFORMER, RESNET], ids=["transformer", "resnet"])
def test_half_precision_and_remat_change_little(vision):
    clip, variables = network(vision)
    pixels = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    image, text, temperature = jax.jit(clip.apply)(variables, pixels, IDS)
    assert (image.shape, text.shape) == ((2, 10), (2, 10))
    assert float(temperature) == pytest.approx(1 / 0.07, rel=1e-3)
    half, remat = CLIP(clip.config, dtype=jnp.bfloat16), CLIP(clip.config, remat=True)
    halved = jax.jit(half.apply)(variables, pixels, IDS)[0]
    np.testing.assert_allclose(halved, image, atol=0.1)

    def gradient(clip):
        loss = lambda v: jnp.sum(clip.apply(v, pixels, IDS)[0] ** 2)
        return jax.jit(jax.grad(loss))(variables)

    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, gradient(clip), gradient(remat))


def test_temperature_is_at_most_100():
    clip, variables = network(TRANSFORMER)
    variables["params"]["logit_scale"] = jnp.float32(9.0)
    assert float(clip.apply(variables, method="temperature")) == 100


def test_normalise_is_the_published_arithmetic():
    images = jnp.stack([jnp.full((1, 1, 3), v) for v in (-1.0, 1.0)])
    black, white = normalise(images, CLIPConfig())
    np.testing.assert_allclose(black[0, 0], [-1.79226, -1.75210, -1.48022], atol=1e-4)
    np.testing.assert_allclose(white[0, 0], [1.93034, 2.07488, 2.14590], atol=1e-4)


def test_unit():
    assert float(jnp.linalg.norm(unit(jnp.array([3.0, 4.0])))) == pytest.approx(1)
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(jnp.zeros(3))).all()


def test_wrong_inputs_are_named():
    clip, variables = network(TRANSFORMER)
    with pytest.raises(ValueError, match=r"takes 16x16, got \(8, 8\)"):
        clip.apply(variables, jnp.zeros((1, 8, 8, 3)), method="embed_images")
    with pytest.raises(ValueError, match="7 tokens exceed the context of 6"):
        clip.apply(variables, jnp.zeros((1, 7), int), method="embed_texts")
    with pytest.raises(ValueError, match="width 8 does not split into 3 heads"):
        TextConfig(width=8, heads=3)
    with pytest.raises(ValueError, match="image_size 8 < patch_size 16"):
        VisionTransformerConfig(8, 16)
