"""Pictures changed by prompts: what is given back unchanged, exactly, and what is carried over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_latent import SIZE
from helpers.tiny_models import pictures

from clipdiff_jax.latent.requests import PromptEditing
from clipdiff_jax.latent.steering import editing, ledits
from clipdiff_jax.latent.steering import prompt_to_prompt as p2p
from clipdiff_jax.latent.steering.ledits import smoothed

RED, BLUE = "a red cube", "a blue cube"
OPTIONS = dict(steps=4, output="latents")


@pytest.fixture(scope="module")
def model():
    return tiny_latent.model()


@pytest.fixture(scope="module")
def images():
    return pictures(2, SIZE)


def close(found, expected, tolerance=1e-5):
    scale = float(np.abs(np.asarray(expected)).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.slow
def test_equal_prompts_give_the_picture_back_exactly(model, images):
    known = np.asarray(model.encode(images))
    both = model.edit(images, source=RED, target=[RED, BLUE], **OPTIONS)
    np.testing.assert_array_equal(both[0], known[0])
    assert float(jnp.abs(both[1] - known[1]).max()) > 1e-2


def test_negative_prompt_inversion_is_the_reconstruction_at_any_guidance(model, images):
    plain = model.edit(images, source=RED, target=RED, inversion="ddim", guidance=1.0, **OPTIONS)
    for guidance in (1.0, 7.5):
        kept = model.edit(
            images, source=RED, target=RED, inversion="negative", guidance=guidance, **OPTIONS
        )
        close(kept, plain)
    lost = model.edit(images, source=RED, target=RED, inversion="ddim", guidance=7.5, **OPTIONS)
    assert float(jnp.abs(lost - plain).max()) > 1e-2


@pytest.mark.slow
def test_a_picture_does_not_depend_on_its_batch_and_values_compile_nothing(model, images):
    targets, options = [BLUE, "two red dogs"], OPTIONS | {"guidance": 2.0}
    both = model.edit(images, source=[RED, "two dogs"], target=targets, **options)
    count = p2p._exchanged._cache_size()
    one = model.edit(images, source=[RED, "two dogs"], target=targets, batch=2, **options)
    close(one, both)
    model.edit(
        images, source=BLUE, target=RED, guidance=3.0, cross_share=0.2, self_share=0.1,
        inversion="negative", weights={"red": 2.0}, pairing="refine", **OPTIONS,
    )  # fmt: skip
    assert p2p._exchanged._cache_size() == count
    alone = model.edit(images[1:], source="two dogs", target=targets[1], **options)
    close(alone, both[1:], 3e-5)


@pytest.mark.slow
def test_without_shared_maps_the_target_is_guided_alone(model, images):
    """With nothing carried over the target is the plain walk from the inverted latents."""
    options = OPTIONS | {"guidance": 2.0, "cross_share": 0, "self_share": 0}
    free = model.edit(images, source=RED, target=BLUE, **options)
    carried = model.edit(images, source=RED, target=BLUE, **options | {"cross_share": 1})
    assert float(jnp.abs(free - carried).max()) > 1e-3
    heavier = model.edit(images, source=RED, target=BLUE, weights={"blue": 3}, **options)
    assert float(jnp.abs(free - heavier).max()) > 1e-3
    # Blended over all of the picture it is the same, over none the picture itself.
    blend = {"blend": ("red", "blue")}
    whole = model.edit(images, source=RED, target=BLUE, blend_above=0, **blend, **options)
    close(whole, free)
    none = model.edit(
        images, source=RED, target=BLUE, blend_above=1, blend_from=0, **blend, **options
    )
    np.testing.assert_array_equal(none, model.encode(images))


@pytest.mark.parametrize(("share", "steps"), [(0.6, 25), (0.3, 50), (0.6, 50), (0.8, 50)])
def test_maps_are_shared_for_as_many_steps_as_the_share_says(share, steps):
    request = PromptEditing(cross_share=share, self_share=share)
    prompts, tokenizer = (["a red cube"], ["a blue cube"]), tiny_latent.tokenizer()
    found = editing._exchange(*prompts, tokenizer, request, steps, {})
    for until in (found.cross_steps, found.self_steps):
        assert (np.arange(steps) < until[0]).sum() == round(share * steps)


@pytest.mark.slow
def test_ledits_without_an_edit_is_the_picture(model, images):
    known = model.encode(images)
    same = model.edit(images, target=BLUE, method="ledits", guidance=0.0, key=1, **OPTIONS)
    close(same, known, 1e-4)
    edited = model.edit(images, target=BLUE, method="ledits", key=1, **OPTIONS)
    assert float(jnp.abs(edited - known).max()) > 1e-2
    count = ledits._down._cache_size()
    away = model.edit(
        images, target=RED, method="ledits", key=1, away=True, warmup=1, spare=0.5, **OPTIONS
    )
    assert ledits._down._cache_size() == count
    assert float(jnp.abs(away - edited).max()) > 1e-3
    both = [jax.random.fold_in(jax.random.key(1), i) for i in range(2)]
    alone = model.edit(images[1:], target=BLUE, method="ledits", key=jnp.stack(both[1:]), **OPTIONS)
    close(alone, edited[1:], 3e-5)


@pytest.mark.slow
def test_ledits_spares_what_is_asked_for(model, images):
    """Concepts act on the share of the places that is not spared; elsewhere eps is unguided."""
    some = model.edit(
        images, target=BLUE, method="ledits", key=1, anywhere=True, spare=0.0, **OPTIONS
    )
    few = model.edit(
        images, target=BLUE, method="ledits", key=1, anywhere=True, spare=0.9, **OPTIONS
    )
    known = model.encode(images)
    assert float(jnp.abs(few - known).sum()) < float(jnp.abs(some - known).sum())


def test_smoothing_keeps_the_sum_of_what_is_flat_and_spreads_a_peak():
    close(smoothed(jnp.ones((2, 4, 5))), np.ones((2, 4, 5)), 1e-6)
    peak = smoothed(jnp.zeros((5, 5)).at[2, 2].set(1.0))
    side = float(np.exp(-1) / (1 + 2 * np.exp(-1)))
    assert peak[2, 3] == pytest.approx(side * (1 - 2 * side), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(target=BLUE), "needs `source`"),
        (dict(target=BLUE, source=" "), "a source prompt is empty"),
        (dict(target=[BLUE] * 3, source=RED), "3 target prompts for 2 pictures"),
        (dict(target=BLUE, source=RED, method="ptp"), "no method 'ptp'.*Did you mean 'p2p'"),
        (dict(target="two dogs", source=RED, pairing="replace"), "3 words and 'two dogs' 2"),
        (
            dict(target=BLUE, source=RED, weights={"green": 2}),
            "'green' is no word of 'a blue cube'",
        ),
        (dict(target=BLUE, source=RED, blend=("cube", "dog")), "'dog' is no word"),
        (dict(target=BLUE, source=RED, blend="cube"), "expected words of the source"),
        (dict(target=BLUE, source=RED, sampler="heun"), "by 'ddim'"),
        (dict(target=BLUE, source=RED, inversion="negative", negative="x"), "leave out `negative`"),
        (dict(target=BLUE, source=RED, cross_share=1.5), "cross_share"),
        (dict(target="", method="ledits", key=0), "a concept is empty"),
        (dict(target=BLUE, method="ledits"), "give `key`"),
        (dict(target=BLUE, source=RED, method="instruct", key=0), "source is of p2p and ledits"),
        (dict(target=BLUE, method="instruct", key=0), "the model's task is 'text'"),
    ],
)
def test_bad_edits(model, images, options, message):
    with pytest.raises(ValueError, match=message):
        model.edit(images, **options)
