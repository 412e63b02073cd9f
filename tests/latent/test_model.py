"""Generating, changing and repainting pictures with tiny latent models: values, not programs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_latent import SIZE
from helpers.tiny_models import pictures

from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.latent import codec, denoiser
from clipdiff_jax.latent.model import LatentDiffusion

STEPS = 4
PROMPTS = ["a red cube", "two dogs"]


@pytest.fixture(scope="module")
def model():
    return tiny_latent.model()


@pytest.fixture(scope="module")
def images():
    return pictures(2, SIZE)


def close(found, expected, tolerance=1e-4):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def draw(model: LatentDiffusion, prompts=PROMPTS, **options):
    options = {"key": 3, "steps": STEPS, "output": "latents"} | options
    return model.generate(prompts, **options)


@pytest.mark.slow
def test_pictures_depend_on_their_own_key_prompt_and_negative_alone(model):
    latents = draw(model)
    drawn = draw(model, output="images")
    assert drawn.shape == (2, SIZE, SIZE, 3)
    assert float(jnp.abs(drawn).max()) <= 1
    close(jnp.clip(model.decode(latents), -1, 1), drawn)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(3), i))(jnp.arange(2))
    close(draw(model, PROMPTS[::-1], key=keys[::-1])[::-1], latents)
    # Several of each prompt, so many at a time, the last batch filled up.
    several = draw(model, count=2, batch=2)
    close(several[:1], latents[:1])
    assert float(jnp.abs(several[1] - several[0]).max()) > 1e-2
    three = draw(model, [*PROMPTS, PROMPTS[0]], batch=2)
    close(three[:2], latents)
    assert float(jnp.abs(draw(model, negative="two dogs") - latents).max()) > 1e-3
    close(draw(model, negative=["", ""]), latents)


@pytest.mark.slow
def test_another_value_of_what_a_user_turns_compiles_nothing(model, images):
    def calls(n: int):
        words = [["a red cube", "two dogs"], ["two", "a blue one"]][n]
        draw(model, words, key=n, negative=["", "a cube"][n], guidance=[7.5, 1.0][n])
        draw(model, words, key=n, rescale=[0.0, 0.7][n], eta=[0.0, 0.5][n])
        options = dict(key=n, steps=STEPS, strength=[0.5, 0.8][n])
        model.img2img(images, words, **options)
        mask = np.zeros((SIZE, SIZE), np.float32)
        mask[n : n + 4] = 1
        model.inpaint(images, mask, words, **options)

    programs = (denoiser._walk, codec._encode, codec._decode)
    calls(0)
    sizes = [program._cache_size() for program in programs]
    calls(1)
    assert [program._cache_size() for program in programs] == sizes


@pytest.mark.slow
def test_guidance_is_the_formula_and_one_of_it_is_no_guidance(model):
    """eps_null + w (eps_text - eps_null), by two calls of the bare network."""
    x = draw(model, steps=1, latents=jax.random.normal(tiny_latent.KEY, (2, 8, 8, 4)), key=None)
    start = jax.random.normal(tiny_latent.KEY, (2, 8, 8, 4))
    schedule, t = model.config.schedule, jnp.array(1)
    context, null = (model.embed_texts(one).context for one in (PROMPTS, ["", ""]))

    def eps_of(context):
        return model.predict(start, t, context)

    def after(eps):
        x0 = (start - schedule.sigma(t) * eps) / schedule.alpha(t)
        return schedule.alpha(jnp.array(0)) * x0 + schedule.sigma(jnp.array(0)) * eps

    eps, eps_null = eps_of(context), eps_of(null)
    close(x, after(eps_null + 7.5 * (eps - eps_null)))
    one = draw(model, steps=1, latents=start, key=None, guidance=1.0)
    close(one, after(eps))
    half = draw(model, steps=1, latents=start, key=None, guidance=jnp.array([0.5, 1.0]))
    close(half[0], after(eps_null + 0.5 * (eps - eps_null))[0])
    close(half[1], one[1])
    guided = eps_null + 7.5 * (eps - eps_null)
    spread = lambda e: jnp.std(e, axis=(1, 2, 3), keepdims=True)
    factor = 0.7 * spread(eps) / spread(guided) + 0.3
    close(draw(model, steps=1, latents=start, key=None, rescale=0.7), after(factor * guided))


@pytest.mark.slow
def test_looking_on_changes_nothing_and_shows_what_comes_out(model):
    seen = []
    whole = draw(model, output="images")
    watched = draw(model, output="images", on_step=lambda done, x: seen.append((done, x)))
    close(watched, whole, 1e-3)
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    assert all(x.shape == whole.shape for _, x in seen)
    close(
        draw(model, on_step=lambda *_: None, sampler="dpm_solver"),
        draw(model, sampler="dpm_solver"),
        1e-3,
    )


def test_tiny_autoencoder_shows_where_there_is_one():
    model = tiny_latent.model(preview=tiny_latent.PREVIEW)
    latents = jax.random.normal(tiny_latent.KEY, (1, 8, 8, 4))
    shown = model.show(latents)
    assert shown.shape == (1, SIZE, SIZE, 3)
    assert float(jnp.abs(shown - jnp.clip(model.decode(latents), -1, 1)).max()) > 0.05


def test_latents_are_scaled_there_and_back(model, images):
    latents = model.encode(images)
    assert latents.shape == (2, 8, 8, 4)
    other = replace(model.config.autoencoder, scaling=0.25, shift=0.5)
    half = tiny_latent.model(autoencoder=other)
    close(half.encode(images), 0.25 * (latents / 0.5 - 0.5))
    close(half.decode(half.encode(images)), model.decode(latents), 1e-3)


@pytest.mark.slow
def test_img2img_starts_at_the_first_time_that_strength_leaves(model, images):
    """Of 4 steps half are the last two of [751, 501, 251, 1]: by hand, from the noised latents."""
    found = model.img2img(
        images, PROMPTS, key=5, steps=STEPS, strength=0.5, guidance=1.0, output="latents"
    )
    z, schedule = model.encode(images), model.config.schedule
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(5), i))(jnp.arange(2))
    noise = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 5), z.shape[1:]))(keys)
    context = model.embed_texts(PROMPTS).context
    times = [251, 1, 0]
    alpha, sigma = (
        [float(f(jnp.array(t))) for t in times] for f in (schedule.alpha, schedule.sigma)
    )
    x = alpha[0] * z + sigma[0] * noise
    for i in (0, 1):
        eps = model.predict(x, times[i], context)
        x = alpha[i + 1] * (x - sigma[i] * eps) / alpha[i] + sigma[i + 1] * eps
    close(found, x, 1e-3)
    all_of_it = model.img2img(images, PROMPTS, key=5, steps=STEPS, strength=1, output="latents")
    assert float(jnp.abs(all_of_it - found).max()) > 1e-2


def test_inpainting_keeps_what_the_mask_leaves(model, images):
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[4:8, 4:12] = 1
    for strength in (1.0, 0.5):
        latents = model.inpaint(
            images, mask, PROMPTS, key=0, steps=STEPS, strength=strength, output="latents"
        )
        known, kept = model.encode(images), mask[::2, ::2] == 0
        close(np.asarray(latents)[:, kept], np.asarray(known)[:, kept], 1e-6)
        assert float(np.abs(np.asarray(latents - known)[:, ~kept]).min(axis=-1).max()) > 1e-3
    # Any picture of a mask: booleans, bytes, one for each.
    for other in (mask > 0, (mask * 255).astype(np.uint8), mask[None, ..., None], mask * 0.6):
        same = model.inpaint(
            images, other, PROMPTS, key=0, steps=STEPS, strength=0.5, output="latents"
        )
        np.testing.assert_array_equal(same, latents)


@pytest.mark.slow
def test_an_inpainting_model_sees_mask_and_what_it_leaves(images):
    model = tiny_latent.model(task="inpaint")
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[4:8] = 1
    found = model.inpaint(images, mask, PROMPTS, key=0, steps=1, guidance=1.0, output="latents")
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(2))
    noise = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 2), (8, 8, 4)))(keys)
    left = model.encode(images * (1 - mask[None, ..., None]))
    small = jnp.broadcast_to(mask[None, ::2, ::2, None], (2, 8, 8, 1))
    x = jnp.concatenate([noise, small, left], axis=-1)
    eps = model.predict(x, 1, model.embed_texts(PROMPTS).context)
    schedule, t = model.config.schedule, jnp.array(1)
    x0 = (noise - schedule.sigma(t) * eps) / schedule.alpha(t)
    end = jnp.array(0)
    close(found, schedule.alpha(end) * x0 + schedule.sigma(end) * eps, 1e-3)
    with pytest.raises(ValueError, match="this is an inpainting model: call inpaint, with a mask"):
        model.generate("a cube", key=0)


@pytest.mark.slow
def test_instructions_have_three_branches(images):
    model = tiny_latent.model(task="instruct")
    start = jax.random.normal(tiny_latent.KEY, (2, 8, 8, 4))
    options = dict(steps=1, latents=start, output="latents")
    found = model.instruct(images, PROMPTS, guidance=7.5, image_guidance=1.5, **options)
    picture = model.encode(images) / model.config.autoencoder.scaling
    context, null = (model.embed_texts(one).context for one in (PROMPTS, ["", ""]))
    whole = model.predict(jnp.concatenate([start, picture], -1), 1, context)
    image = model.predict(jnp.concatenate([start, picture], -1), 1, null)
    nothing = model.predict(jnp.concatenate([start, picture * 0], -1), 1, null)
    eps = nothing + 7.5 * (whole - image) + 1.5 * (image - nothing)
    schedule, t, end = model.config.schedule, jnp.array(1), jnp.array(0)

    def after(eps):
        x0 = (start - schedule.sigma(t) * eps) / schedule.alpha(t)
        return schedule.alpha(end) * x0 + schedule.sigma(end) * eps

    close(found, after(eps), 1e-3)
    one = model.instruct(images, PROMPTS, guidance=1.0, image_guidance=1.0, **options)
    close(one, after(whole), 1e-3)
    with pytest.raises(ValueError, match="instruction is empty"):
        model.instruct(images, ["make it red", " "], key=0)
    with pytest.raises(ValueError, match="call instruct"):
        model.generate("a cube", key=0)


@pytest.mark.slow
def test_two_towers_sizes_and_zeros_in_place_of_no_negative_prompt():
    model = tiny_latent.model(two=True, zero_null=True)
    context, pooled = model.embed_texts(PROMPTS)
    assert (context.shape, pooled.shape) == ((2, 16, 16), (2, 6))
    start = jax.random.normal(tiny_latent.KEY, (2, 8, 8, 4))
    numbers = jnp.array([[SIZE, SIZE, 0, 0, SIZE, SIZE]] * 2, jnp.float32)
    eps = model.predict(start, 1, context, pooled=pooled, time_ids=numbers)
    np.testing.assert_array_equal(eps, model.predict(start, 1, context, pooled=pooled))
    moved = model.predict(start, 1, context, pooled=pooled, time_ids=numbers + 8)
    assert float(jnp.abs(moved - eps).max()) > 1e-4
    zeros = model.predict(start, 1, context * 0, pooled=pooled * 0)
    guided = zeros + 7.5 * (eps - zeros)
    schedule, t, end = model.config.schedule, jnp.array(1), jnp.array(0)
    x0 = (start - schedule.sigma(t) * guided) / schedule.alpha(t)
    found = draw(model, steps=1, latents=start, key=None)
    close(found, schedule.alpha(end) * x0 + schedule.sigma(end) * guided, 1e-3)
    encoded = draw(model, steps=1, latents=start, key=None, negative="")
    assert float(jnp.abs(encoded - found).max()) > 1e-3
    with pytest.raises(ValueError, match="needs `pooled`"):
        model.predict(start, 1, context)


@pytest.mark.slow
def test_a_plain_sampling_is_taken_and_a_size_that_is_not_square(model):
    given = draw(model, sampling=Sampling(steps=2, guidance=3.0), steps=2)
    close(given, draw(model, steps=2, guidance=3.0))
    wide = draw(model, height=12, width=20, steps=2)
    assert wide.shape == (2, 6, 10, 4)
