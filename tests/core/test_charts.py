import numpy as np
import pytest

from clipdiff_jax.core.charts import PANEL, Value, _fewer, _ticks, _whole, bars, curves
from clipdiff_jax.core.lettering import CUT, Lettering


def ink(image):
    return int((np.asarray(image.convert("L")) < 128).sum())


def test_a_panel_for_each_curve():
    falling = [(step, 1 / step) for step in range(1, 2000)]
    one, three = curves({"loss": falling}), curves({name: falling for name in "abc"})
    assert one.size == PANEL
    assert three.size == (2 * PANEL[0], 2 * PANEL[1])
    blue = lambda image: (np.asarray(image)[..., 2].astype(int) - np.asarray(image)[..., 0]) > 60
    rows = np.nonzero(blue(one))[0]
    columns = np.nonzero(blue(one))[1]
    assert rows[columns < columns.min() + 3].min() < rows[columns > columns.max() - 9].min()
    with pytest.raises(ValueError, match="no values"):
        curves({})


@pytest.mark.parametrize("points", [[], [(5, 2.0)], [(1, np.nan), (2, np.inf)], [(1, 3), (9, 3)]])
def test_curves_of_next_to_nothing(points):
    assert ink(curves({"loss": points})) > 0


def test_long_curves_are_means_of_their_parts():
    points = np.stack([np.arange(1000.0), np.arange(1000.0)], axis=1)
    fewer = _fewer(points)
    assert len(fewer) == 400
    np.testing.assert_allclose(fewer[0], [1, 1])
    np.testing.assert_array_equal(_fewer(points[:300]), points[:300])


def test_bars_are_as_long_as_their_numbers():
    values = [Value(1.0, 0.1), Value(0.5), Value(float("nan")), Value(float("inf"), 1.0)]
    image = np.asarray(bars(["a", "b", "c", "d"], {"score": values}))
    blue = (image == (31, 90, 180)).all(axis=-1).sum(axis=1)
    lengths = sorted({int(n) for n in blue if n > 3}, reverse=True)
    assert lengths[-1] == pytest.approx(lengths[0] * 0.5, abs=3)
    negative = bars(["a", "b"], {"score": [Value(-1.0), Value(1.0)]})
    assert negative.size == (PANEL[0], negative.height)
    with pytest.raises(ValueError, match="1 values for 2 labels"):
        bars(["a", "b"], {"score": values[:1]})
    with pytest.raises(ValueError, match="no values"):
        bars([], {})


def test_ticks_are_round_and_steps_short():
    assert _ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert _ticks(130.0, 1480.0) == pytest.approx([500, 1000])
    assert [_whole(n) for n in (500, 2000, 2500, 15000, 2e6)] == ["500", "2k", "2500", "15k", "2M"]


def test_text_is_cut_to_its_room():
    letters = Lettering(12)
    text = "a smiling face with long red hair"
    assert letters.fitted(text, letters.width(text)) == text
    cut = letters.fitted(text, 100)
    assert cut.endswith(CUT)
    assert letters.width(cut) <= 100
    lines = letters.wrapped(text, 100, 2)
    assert len(lines) == 2
    assert max(map(letters.width, lines)) <= 100
    assert letters.wrapped("", 100, 2) == []
    assert letters.fitted("two\nlines", 500) == "two lines"
    assert letters.fitted("wide", 1) == CUT


@pytest.mark.parametrize("text", ["улыбка", "微笑的脸", "LPIPS ↓", "😀", "älter"])
def test_any_text_can_be_written(text):
    assert Lettering(12).width(text) > 0
