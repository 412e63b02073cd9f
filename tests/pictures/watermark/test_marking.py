"""The mark is in what every kind of model draws, and where it would be lost it is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_models import SIZE, pictures, tiny_base, write_unclip

import clipdiff_jax as cd
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.tree_ring import along, correlations, half_disc, key_pattern
from clipdiff_jax.latent.requests import Generation
from clipdiff_jax.pictures.watermark.detection import LEVELS, calibrate, calibration, detect
from clipdiff_jax.pictures.watermark.inverters import draw_start, inverter
from clipdiff_jax.pictures.watermark.key import LATENTS, PIXELS, Key
from clipdiff_jax.pictures.watermark.marking import (
    check_sampling,
    generate,
    marked_decoder_start,
    marked_start,
    tree_ring,
)

MARK = Key(secret=bytes(range(32)))
STEPS = {"steps": 2}


def own(schedule):
    return lambda x, prediction, t, t_next, z: x


def correlation(noise, home, mark=MARK):
    height, width = noise.shape[1:3]
    direction, band = mark.place(noise.shape[1:], home)
    w = key_pattern(mark.secret, mark.pattern, height, width, band)
    planes = along(np.asarray(noise), direction)
    return correlations(planes, w, half_disc(height, width, band))[:, 0]


@pytest.fixture(scope="module")
def base():
    return tiny_base()


@pytest.fixture(scope="module")
def unclip(tmp_path_factory):
    return cd.load_unclip(write_unclip(tmp_path_factory.mktemp("unclip")))


def test_the_start_is_what_generate_draws_but_for_the_mark(base):
    plain = np.asarray(draw_start(base, 2, 5, Sampling(**STEPS)))
    made = marked_start(base, MARK, 2, 5, Sampling(**STEPS))
    changed = made - plain  # alike in all channels: what differs between them stays
    np.testing.assert_allclose(changed, np.broadcast_to(changed[..., :1], made.shape), atol=1e-5)
    np.testing.assert_allclose(correlation(made, PIXELS), 1, atol=1e-5)
    drawn = base.generate(2, key=5, **STEPS)
    np.testing.assert_allclose(base.generate(2, key=5, noise=plain, **STEPS), drawn, atol=1e-5)
    marked = generate(base, MARK, 2, key=5, **STEPS)
    np.testing.assert_array_equal(base.generate(2, key=5, noise=made, **STEPS), marked)
    alone = generate(base, MARK, 1, key=5, **STEPS)
    np.testing.assert_allclose(alone[0], marked[0], atol=5e-4)


def test_a_picture_does_not_depend_on_the_others_when_keys_are_given(base):
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(5), i))(jnp.arange(3))
    np.testing.assert_array_equal(
        marked_start(base, MARK, 1, keys[2:], Sampling(**STEPS))[0],
        marked_start(base, MARK, 3, 5, Sampling(**STEPS))[2],
    )


@pytest.mark.slow
def test_latents_carry_it_in_their_last_channel():
    model = tiny_latent.model()
    request = Generation(count=2, **STEPS)
    latents = marked_start(model, MARK, 2, 3, request)
    np.testing.assert_allclose(correlation(latents, LATENTS), 1, atol=1e-5)
    marked = generate(model, MARK, "two dogs", key=3, count=2, **STEPS)
    direct = model.generate("two dogs", key=3, latents=latents, sampling=request)
    np.testing.assert_array_equal(marked, direct)
    with pytest.raises(ValueError, match="only square ones"):
        generate(model, MARK, "two dogs", key=3, height=16, width=32, **STEPS)


@pytest.mark.slow
def test_an_unclip_carries_it_in_its_decoder(unclip):
    start = marked_decoder_start(unclip, MARK, 1, 3, Sampling(spacing="linspace", **STEPS))
    np.testing.assert_allclose(correlation(start.start, PIXELS), 1, atol=1e-5)
    options = {"key": 3, "sampler": "ddim", "prior_steps": 2, "upsample_steps": 2, **STEPS}
    marked = generate(unclip, MARK, "a face", **options)
    np.testing.assert_allclose(
        unclip.generate("a face", noise={"decoder": start}, **options), marked, atol=1e-5
    )
    assert np.abs(np.asarray(unclip.generate("a face", **options)) - marked).max() > 1e-3


def test_it_is_found_by_a_model_whose_inversion_is_exact(base):
    """A network that says v = 0 rotates x_T alone: what is drawn has the mark to rounding."""
    zero = dataclasses.replace(
        base,
        params=jax.tree.map(jnp.zeros_like, base.params),
        config=dataclasses.replace(base.config, prediction="v"),
    )
    noise = marked_start(zero, MARK, 4, 1, Sampling(steps=5)) * 0.2  # within [-1, 1]
    drawn = np.asarray(zero.generate(4, key=1, noise=noise, steps=5))
    levels = np.uint8(np.round((np.clip(drawn, -1, 1) + 1) * 127.5))
    for steps in (5, 3):
        found = detect(levels, zero, MARK, steps=steps)
        assert all(one.marked for one in found)
        assert min(one.correlation for one in found) > 0.99
    (mirrored, *_) = detect(levels[:, :, ::-1], zero, MARK, steps=3, search=True)
    assert mirrored.marked
    assert mirrored.transform == "as it is, mirrored"
    assert not any(one.marked for one in detect(levels, zero, Key(secret=bytes(32)), steps=3))


def test_false_positives_are_what_p_says(base):
    """Of noise that has nothing to do with a model, and any keys."""
    noise = np.random.default_rng(0).normal(size=(20, 32, 32, 3)).astype(np.float32)
    found = calibration(noise, [Key.new() for _ in range(400)], PIXELS)
    assert (found.keys, found.pictures, found.levels) == (400, 20, LEVELS)
    for level, rate in zip(LEVELS[:3], found.rates[:3], strict=True):
        assert abs(rate - level) < 4 * np.sqrt(level / 8000) + 1e-3


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        (Sampling(sampler="ancestral"), "'ancestral' draws noise"),
        (Sampling(sampler="analytic"), "'analytic' draws noise"),
        (Sampling(eta=0.5), "eta=0.5 draws noise"),
        (Sampling(sampler=own), "a sampler of your own"),
    ],
)
def test_what_the_mark_would_not_survive_is_refused(base, sampling, says):
    with pytest.raises(ValueError, match=says):
        generate(base, MARK, 1, key=0, sampling=sampling)
    check_sampling(MARK, Sampling(sampler="heun"))


def test_an_unclip_is_refused_its_usual_sampler(unclip):
    with pytest.raises(ValueError, match="take sampler 'ddim'"):
        generate(unclip, MARK, "a face", key=0)


def test_what_the_key_says_is_kept_to(base):
    with pytest.raises(ValueError, match=r"steps=2, but the watermark key is for 9"):
        generate(base, dataclasses.replace(MARK, steps=9), 1, key=0, **STEPS)
    for look in (detect, calibrate):
        with pytest.raises(ValueError, match=r"steps=0, expected a number of at least 1"):
            look(np.zeros((1, SIZE, SIZE, 3), np.uint8), base, MARK, steps=0)
    other = dataclasses.replace(MARK, size=64)
    with pytest.raises(ValueError, match=r"pictures of 16 pixels, but the watermark key is for 64"):
        generate(base, other, 1, key=0, **STEPS)
    with pytest.raises(ValueError, match=r"size=64: this model draws pictures of 16"):
        detect(pictures(1), base, other)
    with pytest.raises(ValueError, match=r"channel=3 of the watermark key, expected -3 to 2"):
        generate(base, dataclasses.replace(MARK, channel=3), 1, key=0, **STEPS)
    with pytest.raises(ValueError, match=r"radius=5, expected 1 to 4"):
        tree_ring(np.zeros((1, SIZE, SIZE, 3), np.float32), dataclasses.replace(MARK, radius=5))
    with pytest.raises(ValueError, match=r"inner=3, expected 0 to 2, below the radius 3"):
        generate(base, dataclasses.replace(MARK, radius=3, inner=3), 1, key=0, **STEPS)


def test_noise_of_another_shape_is_refused(base):
    with pytest.raises(ValueError, match=r"noise is \[1, 16, 16, 3\], expected \[2, 16, 16, 3\]"):
        base.generate(2, key=0, noise=np.zeros((1, SIZE, SIZE, 3), np.float32), **STEPS)


@pytest.mark.slow
def test_every_kind_of_model_is_inverted(base, unclip):
    """To the noise that it drew from, in shape and channel."""
    levels = np.uint8((pictures(2) + 1) * 127.5)
    latent = tiny_latent.model()
    for model, shape, home in (
        (base, (2, 16, 16, 3), PIXELS),
        (unclip, (2, 16, 16, 3), PIXELS),
        (latent, (2, 8, 8, 4), LATENTS),
    ):
        way = inverter(model, 2)
        noise = np.asarray(way.run(np.float32(levels / 127.5 - 1)))
        assert (noise.shape, way.home, way.size) == (shape, home, SIZE)
        assert np.isfinite(noise).all()


def test_a_small_picture_is_named(base, caplog):
    detect(np.zeros((1, 7, 7, 3), np.uint8), base, MARK, steps=2)
    assert "a picture of 7x7 pixels is less than half of the model's 16" in caplog.text
