"""Pictures of a layout: eq. 1's merge, attention by region, and regions at every resolution."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_latent import SIZE

from clipdiff_jax.diffusion.collage import merge_ratios
from clipdiff_jax.latent import denoiser
from clipdiff_jax.latent.steering.attention import Masked, attended_sides
from clipdiff_jax.latent.steering.layout import (
    Region,
    check_regions,
    coverage,
    inside,
    weights,
)
from clipdiff_jax.models.attention import attend
from clipdiff_jax.models.spatial_transformer import AttentionSite

LEFT, RIGHT = (0, 0, 0.5, 1), (0.5, 0, 1, 1)
TWO = [Region("a red cube", LEFT), Region("two dogs", (0.25, 0.25, 1, 1), weight=2.0)]
OPTIONS = dict(key=3, steps=3, guidance=2.0, output="latents")


@pytest.fixture(scope="module")
def model():
    return tiny_latent.model()


@pytest.fixture(scope="module")
def drawn(model):
    return model.collage("a blue cube", TWO, count=2, **OPTIONS)


def close(found, expected, tolerance=1e-5):
    """To so many times the largest number."""
    scale = float(np.abs(np.asarray(expected)).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.slow
def test_equal_prompts_and_a_region_that_is_all_are_plain_generation(model):
    plain = model.generate(["a red cube"], **OPTIONS)
    same = [Region("a red cube", LEFT), Region("a red cube", (0.25, 0.25, 1, 1))]
    close(model.collage("a red cube", same, **OPTIONS), plain)
    whole = [Region("a red cube", (0, 0, 1, 1))]
    close(model.collage("two dogs", whole, global_weight=0, **OPTIONS), plain)


@pytest.mark.slow
def test_a_picture_depends_on_its_own_key_and_not_on_the_order_of_regions(model, drawn):
    close(model.collage("a blue cube", TWO[::-1], count=2, **OPTIONS), drawn)
    key = jax.random.fold_in(jax.random.key(3), 1)[None]
    alone = model.collage("a blue cube", TWO, **OPTIONS | {"key": key})
    close(alone, drawn[1:])
    assert float(jnp.abs(drawn - model.generate("a blue cube", count=2, **OPTIONS)).max()) > 1e-2


@pytest.mark.slow
def test_dropped_places_are_those_of_the_key(model, drawn):
    once = model.collage("a blue cube", TWO, count=2, background_drop=0.75, **OPTIONS)
    again = model.collage("a blue cube", TWO, count=2, background_drop=0.75, **OPTIONS)
    np.testing.assert_array_equal(once, again)
    assert float(jnp.abs(once - drawn).max()) > 1e-3


@pytest.mark.slow
def test_another_value_compiles_nothing(model, drawn):
    count = denoiser._walk._cache_size()
    other = [Region("two", (0.1, 0, 0.4, 0.7), weight=0.5), Region("a red one", mask=_mask())]
    model.collage(
        "two dogs", other, count=2, global_weight=0.5, **OPTIONS | {"key": 9, "guidance": 3.0}
    )
    assert denoiser._walk._cache_size() == count


def test_attention_of_regions_is_that_of_each_text_on_its_places():
    q, k, v = (jax.random.normal(jax.random.key(i), (2, n, 2, 4)) for i, n in enumerate((16, 6, 6)))
    places = jax.random.bernoulli(jax.random.key(5), 0.4, (2, 16))
    site = AttentionSite("mid_attn", "cross", 4, 4, jnp.int32(0))
    steering = Masked({(4, 4): places}, None, (8, 8))
    found = steering.at(jnp.zeros(2, jnp.int32))(site, q, k, v)
    first, second = attend(q, k[:, :3], v[:, :3]), attend(q, k[:, 3:], v[:, 3:])
    close(found, jnp.where(places[..., None, None], first, second), 1e-6)
    assert steering.at(jnp.zeros(2, jnp.int32))(site._replace(kind="self"), q, q, q) is None


def _mask() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[3:9, 5:12] = True
    return mask


def test_regions_are_covered_by_area_at_every_resolution():
    box = Region("x", (0.25, 0.5, 0.75, 1.0))
    np.testing.assert_array_equal(inside(box, 4, 4), np.outer([0, 0, 1, 1], [0, 1, 1, 0]) > 0)
    assert coverage(box, 3, 5).mean() == pytest.approx(0.25)
    by_mask = Region("x", mask=np.pad(np.ones((4, 4), bool), ((4, 0), (2, 2))))
    for sides in ((4, 4), (8, 8), (3, 5)):
        close(coverage(by_mask, *sides), coverage(box, *sides), 1e-12)
    tiny = Region("x", (0.51, 0.51, 0.51 + 1 / 64, 0.51 + 1 / 64))
    for sides in ((64, 64), (8, 8), (1, 1)):
        assert inside(tiny, *sides).sum() == 1


def test_ratios_sum_to_one_and_follow_the_paper():
    boxes = [Region("a", LEFT), Region("b", (0.25, 0, 1, 1))]
    ratios = np.asarray(merge_ratios(jnp.asarray(weights(boxes, (4, 4), 0.1))))[..., 0]
    close(ratios.sum(axis=0), np.ones((4, 4)), 1e-6)
    close(ratios[:, 0, 0], [1 / 11, 10 / 11, 0], 1e-6)
    close(ratios[:, 0, 1], [0.1 / 2.1, 1 / 2.1, 1 / 2.1], 1e-6)


def test_sides_are_those_of_the_network():
    unet = tiny_latent.config().unet
    assert attended_sides(unet, 9, 7) == [(9, 7)]


@pytest.mark.parametrize(
    ("regions", "options", "message"),
    [
        ([], {}, "there are no regions"),
        ([Region("a", LEFT)] * 17, {}, "17 regions, expected at most 16"),
        ([Region(" ", LEFT)], {}, "region 1 has no prompt"),
        ([Region("a", LEFT), Region("b")], {}, r"region 2 \('b'\) has neither of box and mask"),
        ([Region("a", LEFT, _mask())], {}, "has both of box and mask"),
        ([Region("a", (0, 0, 1.2, 1))], {}, r"right of region 1 \('a'\)"),
        ([Region("a", (0.5, 0, 0.2, 1))], {}, "left 0.5 and right 0.2: it is empty"),
        ([Region("a", (0, 0, 0.05, 1))], {}, "0.8 pixels from left to right, expected at least 2"),
        ([Region("a", mask=_mask()[:8])], {}, r"mask of \[8, 16\], expected the picture's"),
        ([Region("a", mask=~_mask() & _mask())], {}, "false everywhere"),
        ([Region("a", mask=_mask() * 255.0)], {}, "mask with numbers from 0 to 255, expected 0 to"),
        ([Region("a", mask=np.where(_mask(), 1.0, np.nan))], {}, "mask with numbers from nan"),
        ([Region("a", LEFT, weight=0)], {}, r"weight of region 1 \('a'\)"),
        ([Region("a", LEFT)], {"global_weight": 0}, "50.0% of the picture is in no region"),
        ([Region("a", LEFT)], {"global_weight": -1}, "global_weight"),
        ([Region("a", LEFT)], {"background_drop": 1.5}, "background_drop"),
    ],
)
def test_bad_layouts(model, regions, options, message):
    with pytest.raises(ValueError, match=message):
        model.collage("two dogs", regions, key=0, **options)


def test_warnings():
    with pytest.warns(UserWarning, match=r"region 1 \('a'\) is 1.0% of the picture"):
        check_regions([Region("a", (0, 0, 0.1, 0.1))], 64, 64, 2)
    with pytest.warns(UserWarning, match="regions 1 and 2 have one prompt"):
        check_regions([Region("a", LEFT), Region("a", LEFT)], 64, 64, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_regions([Region("a", LEFT), Region("b", LEFT), Region("a", RIGHT)], 64, 64, 2)
