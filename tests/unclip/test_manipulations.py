"""Manipulations of unCLIP's two latents, where what they give is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import SIZE, pictures, write_unclip

import clipdiff_jax as cd
from clipdiff_jax.diffusion.interpolation import slerp
from clipdiff_jax.models.clip import unit
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.unclip.walk import draw_noise

STEPS = 4
IMAGES = jnp.asarray(pictures(2))
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Without its upsampler, so that pictures are the decoder's."""
    return cd.load_unclip(write_unclip(tmp_path_factory.mktemp("unclip"))).without("upsampler")


@pytest.fixture(scope="module")
def exact(model):
    """With a decoder that predicts one and the same eps, whose DDIM is inverted exactly."""
    params = model.decoder.params
    unet = params["unet"]
    out = unet["conv_out"]
    constant = {"kernel": jnp.zeros_like(out["kernel"]), "bias": jnp.full_like(out["bias"], 0.3)}
    params = params | {"unet": unet | {"conv_out": constant}}
    decoder = dataclasses.replace(model.decoder, params=params)
    return dataclasses.replace(model, decoder=decoder)


def decoded(model, z, x_t):
    """By the deterministic DDIM."""
    noise = Noise(x_t, jnp.zeros((STEPS, *x_t.shape)))
    return model.decode(z, guidance=1.0, steps=STEPS, sampler="ddim", noise=noise)


@pytest.mark.slow
def test_inverted_variations_with_eta_0_give_the_image_back_and_with_1_do_not(exact, model):
    images = 0.9 * IMAGES
    vary = lambda model, eta: model.variations(
        images, count=2, key=KEY, steps=STEPS, inverted=True, eta=eta
    )
    same = vary(exact, 0.0)
    np.testing.assert_allclose(same, jnp.repeat(images, 2, axis=0), atol=2e-3)
    drawn = vary(model, 1.0)
    assert float(jnp.abs(drawn[0] - drawn[1]).max()) > 0.1
    z = model.embed_images(images)
    x_t = model.invert(images, z, steps=STEPS)
    np.testing.assert_allclose(vary(model, 0.0)[::2], decoded(model, z, x_t), atol=1e-4)


@pytest.mark.slow
def test_bright_pictures_are_taken_as_others_are(model):
    """What is no doubt as uint8 is none inside, where it is floats from 0 to 1."""
    bright = np.tile(np.linspace(128, 255, SIZE)[:, None, None], (1, SIZE, 3)).astype(np.uint8)
    assert np.isfinite(model.interpolate(bright, bright[::-1], 2, steps=2)).all()
    assert np.isfinite(model.text_diff(bright, "a", "b", thetas=[0.0, 0.1], steps=2)).all()


@pytest.mark.slow
def test_the_ends_of_interpolations_are_the_decodings_of_the_ends(exact, model):
    # One by one, and all three below by slerp in one batch: the random network magnifies what
    # another arithmetic of the same numbers differs by.
    z = jnp.concatenate([model.embed_images(image[None]) for image in IMAGES])
    path = model.interpolate(*IMAGES, [0.0, 0.4, 1.0], steps=STEPS)
    x_t = model.invert(IMAGES, z, steps=STEPS)
    theta = jnp.array([0.0, 0.4, 1.0])
    along = lambda a: slerp(jnp.repeat(a[:1], 3, axis=0), jnp.repeat(a[1:], 3, axis=0), theta)
    np.testing.assert_allclose(along(z)[jnp.array([0, 2])], z, atol=1e-5)
    np.testing.assert_allclose(along(x_t)[jnp.array([0, 2])], x_t, atol=1e-4)
    np.testing.assert_allclose(path, decoded(model, along(z), along(x_t)), atol=5e-3)
    assert float(jnp.abs(path[1] - path[0]).max()) > 0.1
    images = 0.9 * IMAGES
    ends = exact.interpolate(*images, 2, steps=STEPS)
    np.testing.assert_allclose(ends, images, atol=2e-3)


@pytest.mark.slow
def test_fixed_latents_are_one_of_the_key(model):
    path = model.interpolate(*IMAGES, 2, key=KEY, latents="fixed", steps=STEPS)
    x_t = draw_noise("decoder", KEY, 1, (1, SIZE, SIZE, 3)).start
    both = decoded(model, model.embed_images(IMAGES), jnp.repeat(x_t, 2, axis=0))
    np.testing.assert_allclose(path, both, atol=1e-4)


@pytest.mark.slow
def test_text_diffs_start_at_the_image_and_end_at_the_direction(exact, model):
    image = 0.9 * IMAGES[0]
    texts = ("a photo", "a smile")
    start = exact.text_diff(image, *texts, thetas=[0.0], steps=STEPS)
    np.testing.assert_allclose(start[0], image, atol=2e-3)
    z = model.embed_images(image[None])
    x_t = model.invert(image[None], z, steps=STEPS)
    before, after = unit(model.encode_texts(list(texts)).embedding)
    turned = (jnp.linalg.norm(z) * unit(after - before))[None]
    both = model.text_diff(image, *texts, thetas=[0.0, 1.0], steps=STEPS)
    np.testing.assert_allclose(
        both, decoded(model, jnp.concatenate([z, turned]), jnp.repeat(x_t, 2, axis=0)), atol=1e-4
    )
    with pytest.raises(ValueError, match="no direction"):
        model.text_diff(image, "a", "a", steps=STEPS)


def test_all_dimensions_are_the_embedding_and_none_the_mean(model):
    image = IMAGES[0]
    found = model.pca_reconstructions(image, [0, 8], key=KEY, steps=STEPS)
    x_t = draw_noise("decoder", KEY, 1, (1, SIZE, SIZE, 3)).start
    mean = model.ar_prior.components.mean[None]
    z = jnp.concatenate([mean, model.embed_images(image[None])])
    np.testing.assert_allclose(found, decoded(model, z, jnp.repeat(x_t, 2, axis=0)), atol=1e-3)
    assert model.reconstruction_dims() == [8]
    with pytest.raises(ValueError, match="dims 9, expected 0 to 8"):
        model.pca_reconstructions(image, [9])


def test_priors_are_named(model):
    assert model.prior_name() == "prior"
    assert model.without("prior").prior_name() == "ar_prior"
    with pytest.raises(ValueError, match=r"got 'ar_pior'.+ mean 'ar_prior'"):
        model.prior_name("ar_pior")
    with pytest.raises(ValueError, match="no part 'direct_prior' loaded"):
        model.without("direct_prior").prior_name("direct_prior")
    with pytest.raises(ValueError, match="no part 'prior' loaded"):
        model.without("prior", "ar_prior", "direct_prior").prior_name()
