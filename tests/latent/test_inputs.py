"""What is handed to a latent model and cannot be: refused before anything is compiled."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_latent import SIZE
from helpers.tiny_models import pictures

from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.latent import inputs, requests

MASK = np.ones((SIZE, SIZE), np.float32)
DOT = np.zeros((SIZE, SIZE), np.float32)  # one pixel, between those that latents are taken from
DOT[5, 5] = 1


@pytest.fixture(scope="module")
def model():
    return tiny_latent.model()


@pytest.fixture(scope="module")
def images():
    return pictures(2, SIZE)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompts": []}, ValueError, "prompts is empty"),
        ({"negative": ["a", "b", "c"]}, ValueError, "3 negative prompts for 2 prompts"),
        ({"height": 15}, ValueError, "15x16 pixels: the sides must be multiples of 2.* 16x16"),
        ({"guidance": float("nan")}, ValueError, "guidance=nan"),
        ({"guidance": np.ones(3)}, ValueError, "guidance has shape"),
        ({"rescale": 1.5}, ValueError, "rescale=1.5, expected a number from 0 to 1"),
        ({"threshold": 99.5}, ValueError, "latents have no range"),
        ({"steps": 2000}, ValueError, "steps must be between 1 and 1000"),
        ({"sampler": "eular"}, ValueError, "sampler must be one of"),
        ({"stepz": 3}, TypeError, "no option 'stepz'. Did you mean 'steps'"),
        ({"key": None}, ValueError, "give `key`"),
        ({"key": jax.random.split(jax.random.key(0), 3)}, ValueError, "3 keys for 2 pictures"),
        ({"latents": np.zeros((2, 4, 8, 8))}, ValueError, "channels come last"),
        ({"latents": np.zeros((3, 8, 8, 4))}, ValueError, r"expected \[2,H,W,4\]"),
        ({"latents": np.zeros((2, 8, 8, 4)), "height": 32}, ValueError, "for 32x16"),
        ({"batch": 0}, ValueError, "batch=0"),
    ],
)
def test_requests_for_pictures_that_cannot_be(model, options, error, message):
    values = {"prompts": ["a", "b"], "key": 0} | options
    with pytest.raises(error, match=message):
        model.generate(values.pop("prompts"), **values)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strength": 0.0}, ValueError, "strength=0, expected a number above 0, to 1"),
        ({"strength": 1.1}, ValueError, "strength=1.1"),
        ({"strength": 0.1, "steps": 4}, ValueError, "strength=0.1 with 4 steps leaves no step"),
        ({"prompts": ["a", "b", "c"]}, ValueError, "3 prompts and 2 pictures"),
        ({"mask": MASK[:8]}, ValueError, r"mask is \[8, 16\], expected .*\[16,16\]"),
        ({"mask": MASK * 0}, ValueError, "mask is zero everywhere"),
        ({"mask": MASK * 0.4}, ValueError, "mask is zero everywhere"),
        ({"mask": DOT}, ValueError, "lost at the size of the latents, where one place is 2x2"),
        ({"mask": np.stack([MASK, DOT])}, ValueError, "lost at the size of the latents"),
        ({"mask": MASK * 3}, ValueError, "numbers from 3 to 3, expected 0 to 1"),
        ({"mask": MASK * np.nan}, ValueError, "expected 0 to 1"),
        ({"mask": MASK.astype(np.int64)}, TypeError, "mask is int64"),
        ({"mask": np.stack([MASK, MASK * 0])}, ValueError, "zero everywhere"),
        ({"images": np.zeros((1, 15, 16, 3), np.float32)}, ValueError, "multiples of 2"),
        ({"key": None}, ValueError, "give `key`"),
    ],
)
def test_pictures_that_cannot_be_painted_anew(model, images, options, error, message):
    values = {"images": images, "mask": MASK, "prompts": ["a"], "key": 0} | options
    given = [values.pop(name) for name in ("images", "mask", "prompts")]
    if len(given[0]) == 1:
        given[1] = np.ones((15, 16), np.float32)
    with pytest.raises(error, match=message):
        model.inpaint(*given, **values)


@pytest.mark.slow
def test_bright_pictures_are_changed_as_others_are(model):
    """What is no doubt as uint8 is none inside, where it is floats from 0 to 1; nor is what a mask
    leaves of it."""
    bright = np.tile(np.linspace(140, 255, SIZE)[:, None, None], (1, SIZE, 3)).astype(np.uint8)
    options = dict(key=0, steps=2, output="latents")
    mask = np.eye(SIZE, dtype=bool)
    for found in (
        model.img2img(bright, "a", **options),
        model.inpaint(bright, mask, "a", **options),
    ):
        assert np.isfinite(found).all()


def test_checked_pictures_are_encoded_whatever_their_range(model):
    bright = np.tile(np.linspace(0, 1, SIZE)[:, None, None], (1, SIZE, 3))[None].astype(np.float32)
    with pytest.raises(ValueError, match=r"most likely in \[0, 1\]"):
        model.encode(bright)
    assert np.isfinite(model.codec.encode_batch(jnp.asarray(bright))).all()


def test_a_model_for_another_task_says_what_to_call(model, images):
    with pytest.raises(ValueError, match="task is 'text': it has no channels for more"):
        model.instruct(images, "make it red", key=0)


def test_a_size_far_from_the_trained_one_is_warned_of(model):
    with pytest.warns(UserWarning, match="80x80 pixels is far from the 16"):
        inputs.check_size(model.config, 80, 80)


def test_a_plain_sampling_fills_what_it_has():
    filled = requests.filled(requests.Instruction(), Sampling(steps=7, guidance=3.0), {"eta": 0.5})
    assert (filled.steps, filled.guidance, filled.eta, filled.image_guidance) == (7, 3.0, 0.5, 1.5)
    with pytest.raises(ValueError, match="latents have no range"):
        requests.filled(requests.Generation(), Sampling(threshold=99.0), {})


def test_pictures_that_are_not_finite_are_said(model):
    with pytest.raises(ValueError, match="not finite, in float32: load the model with"):
        model.decode(jnp.full((1, 8, 8, 4), jnp.nan))


def test_an_autoencoder_that_leaves_float16_computes_in_float32(model):
    wide = dataclasses.replace(model.config.autoencoder, wide_range=True)
    half = dataclasses.replace(model.codec, dtype=jnp.float16)
    assert half.compute_dtype == jnp.float16
    assert dataclasses.replace(half, config=wide).compute_dtype == jnp.float32
    bfloat = dataclasses.replace(half, config=wide, dtype=jnp.bfloat16)
    assert bfloat.compute_dtype == jnp.bfloat16


def test_configs_whose_parts_do_not_fit_are_refused(model):
    config = model.config
    for options, message in (
        ({"task": "inpaint"}, "unet.in_channels is 4, expected 9, for the task 'inpaint'"),
        ({"texts": config.texts * 2}, "unet.context_width is 8, expected 16"),
        ({"texts": ()}, "at least one text tower"),
        ({"image_size": 15}, "image_size 15 is not a multiple"),
        (
            {"preview": dataclasses.replace(tiny_latent.PREVIEW, latent_channels=3)},
            "preview has 3 latent channels and factor 2, expected 4 and 2",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, **options)
