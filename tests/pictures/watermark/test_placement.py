"""A part is found where it lies, at any scale, place and resolution, and laid there exactly."""

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.pictures.watermark.placement import (
    Expectation,
    Placement,
    centred,
    covered,
    likeliest,
    placed,
)

SIZE = 32
DOWN, ACROSS = np.mgrid[:SIZE, :SIZE] / SIZE


def smooth() -> np.ndarray:
    """A picture like no part of itself."""
    planes = [
        np.sin(5 * DOWN + 2 * ACROSS**2),
        np.cos(7 * ACROSS - DOWN),
        np.exp(-20 * ((DOWN - 0.6) ** 2 + (ACROSS - 0.45) ** 2)),
    ]
    return (np.stack(planes, axis=-1) * 0.8).astype(np.float32)


def levels(image: np.ndarray) -> np.ndarray:
    return np.uint8(np.round((image + 1) * 127.5))


def expecting(average: np.ndarray) -> Expectation:
    """A model that draws one picture and is surprised by others."""

    def surprise(wholes, known):
        wrong = np.square(wholes / np.float32(127.5) - 1 - average).mean(axis=-1)
        return ((wrong * known).sum(axis=(1, 2)) / known.sum(axis=(1, 2))).astype(np.float32)

    return Expectation(average, surprise)


@pytest.mark.parametrize("mirrored", [False, True])
def test_parts_are_found_where_they_lie(mirrored):
    whole = levels(smooth())
    large = np.asarray(Image.fromarray(whole).resize((128, 128), Image.Resampling.BICUBIC))
    parts = [whole[2:28, 5:31], whole[0:31, 1:32], large[9:121, 6:118]]
    parts = [one[:, ::-1] if mirrored else one for one in parts]
    found = likeliest(parts, expecting(smooth()), mirrored)
    true = [(15, 18, 26), (15.5, 16.5, 31), (65 / 4, 62 / 4, 112 / 4)]
    for place, where in zip(found, true, strict=True):
        np.testing.assert_allclose(
            np.array(place[:3]) * SIZE, where, atol=0.26
        )  # a quarter of a cell
        assert place.mirrored == mirrored


def test_a_part_is_laid_where_it_belongs():
    whole = levels(smooth())
    place = Placement(15 / SIZE, 18 / SIZE, 26 / SIZE)
    known = covered(place, SIZE)
    assert (known.sum(), known[2, 5], known[27, 30], known[1, 5]) == (26 * 26, True, True, False)
    back = placed(whole[2:28, 5:31], place, SIZE)
    np.testing.assert_array_equal(back[known], whole[known])
    np.testing.assert_array_equal(back[:2, 10], np.broadcast_to(back[2, 10], (2, 3)))
    turned = placed(whole[2:28, 5:31][:, ::-1], place._replace(mirrored=True), SIZE)
    np.testing.assert_array_equal(turned, back)
    assert (placed(whole, centred(1.0), SIZE) == whole).all()


@pytest.mark.parametrize("side", [24.3, 27.75, 31.9])
def test_a_place_between_cells_covers_whole_ones(side):
    place = Placement(0.47, 0.5, side / SIZE).within()
    made, known = placed(np.full((50, 50, 3), 77, np.uint8), place, SIZE), covered(place, SIZE)
    assert made.shape == (SIZE, SIZE, 3)
    assert (made == 77).all()
    assert side - 2 < np.sqrt(known.sum()) <= side


def test_places_are_named():
    assert centred(1.0, True).name == "as it is, mirrored"
    assert centred(0.8754).name == "0.875 of the whole"
    assert Placement(0.1, 0.9, 0.8).within() == Placement(0.4, 0.6, 0.8)
