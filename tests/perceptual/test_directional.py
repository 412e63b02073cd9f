import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.perceptual.directional import (
    TextDirection,
    Views,
    change,
    direction_term,
    length_term,
    shared_views,
    text_direction,
)
from clipdiff_jax.perceptual.templates import IMAGENET_TEMPLATES, PLAIN, fill

KEYS = jax.random.split(jax.random.key(0), 4)
WEIGHTS = jax.random.normal(KEYS[0], (8 * 8 * 3, 5))
REFERENCE = jax.random.normal(KEYS[1], (3, 8, 8, 3))
GENERATED = REFERENCE + 0.1 * jax.random.normal(KEYS[2], (3, 8, 8, 3))
UNIT = jnp.array([1.0, 0, 0, 0, 0])


def embed(images):
    return images.reshape(images.shape[0], -1) @ WEIGHTS


def normalised(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_there_are_the_79_templates():
    assert len(set(IMAGENET_TEMPLATES)) == len(IMAGENET_TEMPLATES) == 79
    assert "a photo of a {}." in IMAGENET_TEMPLATES
    assert "the origami {}." in IMAGENET_TEMPLATES
    assert "a photo of many {}." not in IMAGENET_TEMPLATES
    assert fill(PLAIN, "a face") == ["a face"]
    with pytest.raises(ValueError, match="exactly one"):
        fill(("a face",), "x")


def test_text_direction_is_the_difference_of_mean_unit_embeddings():
    vectors = {
        "a x": [2.0, 0.0], "the x": [0.0, 3.0], "a y": [-1.0, 0.0], "the y": [0.0, -5.0],
    }  # fmt: skip
    lookup = lambda texts: jnp.array([vectors[text] for text in texts])
    direction = text_direction(lookup, "x", "y", ("a {}", "the {}"))
    np.testing.assert_allclose(direction.unit, -np.ones(2) / np.sqrt(2), rtol=1e-6)
    assert float(direction.length) == pytest.approx(np.sqrt(2), rel=1e-6)
    with pytest.raises(ValueError, match="no direction"):
        text_direction(lookup, "x", "x", ("a {}",))


def test_several_sources_count_by_their_mean():
    vectors = {"x": [1.0, 0.0, 0.0], "z": [0.0, 0.0, 2.0], "y": [0.0, 1.0, 0.0]}
    lookup = lambda texts: jnp.array([vectors[text] for text in texts])
    direction = text_direction(lookup, ("x", "z"), "y", ("{}",))
    delta = np.array([-0.5, 1.0, -0.5])
    np.testing.assert_allclose(direction.unit * direction.length, delta, rtol=1e-6)
    one, same = (text_direction(lookup, source, "y", ("{}",)) for source in ("x", ["x"]))
    np.testing.assert_array_equal(one.unit, same.unit)


def test_change_is_the_papers_formula():
    direction = TextDirection(UNIT, jnp.array(0.5))
    result = change(embed, direction, GENERATED, REFERENCE)
    delta = normalised(np.asarray(embed(GENERATED))) - normalised(np.asarray(embed(REFERENCE)))
    np.testing.assert_allclose(result.cosine, normalised(delta)[:, 0], atol=2e-5)
    np.testing.assert_allclose(result.length, delta[:, 0] / 0.5, atol=1e-6)


def test_terms():
    cosine = jnp.array([-0.5, 0.0, 1.0])
    np.testing.assert_allclose(direction_term(cosine, "cosine"), [1.5, 1, 0], atol=1e-7)
    expected = -np.log((2 - np.array([1.5, 1, 0])) / 2)
    np.testing.assert_allclose(direction_term(cosine), expected, atol=1e-6)
    np.testing.assert_allclose(
        length_term(jnp.array([0.0, 0.2, 0.5, 3.0]), 0.4), [1, 0.5, 0, 0], atol=1e-6
    )


@pytest.mark.slow
def test_gradient_reaches_the_generated_picture_only_and_is_finite_at_no_change():
    direction = TextDirection(UNIT, jnp.array(0.5))

    def loss(generated, reference):
        result = change(
            embed, direction, generated, reference, KEYS[3], Views(2, crop=0.7, noise=0.1)
        )
        return direction_term(result.cosine).sum() + length_term(result.length, 0.5).sum()

    to_generated, to_reference = jax.grad(loss, (0, 1))(GENERATED, REFERENCE)
    assert float(jnp.abs(to_generated).sum()) > 0
    assert float(jnp.abs(to_reference).sum()) == 0
    same = jax.grad(loss)(REFERENCE, REFERENCE)
    assert bool(jnp.isfinite(same).all())
    assert float(jnp.abs(same).sum()) > 0


def test_views_are_shared_and_whole_pictures_without_crop_or_noise():
    twice = shared_views(KEYS[0], (REFERENCE, REFERENCE), 4, crop=0.5, noise=0.2)
    assert twice[0].shape == (12, 8, 8, 3)
    np.testing.assert_array_equal(*twice)
    assert float(jnp.abs(twice[0][:3] - twice[0][3:6]).max()) > 0.1
    (plain,) = shared_views(KEYS[0], (REFERENCE,), 2, crop=1.0, noise=0.0)
    np.testing.assert_allclose(plain, jnp.tile(REFERENCE, (2, 1, 1, 1)), atol=1e-5)


def test_a_crop_magnifies_a_ramp_and_stays_inside_it():
    ramp = jnp.broadcast_to(jnp.arange(32.0)[None, :, None, None], (1, 32, 32, 1))
    (views,) = shared_views(KEYS[1], (ramp,), 16, crop=0.5, noise=0.0)
    rows = np.asarray(views[:, :, 16, 0])
    slope = (rows[:, 20] - rows[:, 12]) / 8
    assert np.all((slope > 0.49) & (slope < 1.01))
    assert slope.std() > 0.05
    assert rows.min() > -1.5
    assert rows.max() < 32.5
    np.testing.assert_allclose(views[:, :, 5], views[:, :, 25], atol=1e-3)


def test_averaging_over_views_uses_the_mean_delta():
    direction = TextDirection(UNIT, jnp.array(1.0))
    result = change(embed, direction, GENERATED, REFERENCE, KEYS[2], Views(3, crop=0.8, noise=0.05))
    views = shared_views(KEYS[2], (GENERATED, REFERENCE), 3, crop=0.8, noise=0.05)
    after, before = (normalised(np.asarray(embed(view))) for view in views)
    delta = (after - before).reshape(3, 3, 5).mean(axis=0)
    np.testing.assert_allclose(result.length, delta[:, 0], atol=1e-5)
    np.testing.assert_allclose(result.cosine, normalised(delta)[:, 0], atol=1e-4)
