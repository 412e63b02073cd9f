import numpy as np
import pytest

from clipdiff_jax.data.avatars.faces import labels, split_of
from clipdiff_jax.metrics.avatars import counterfactual as cf
from clipdiff_jax.metrics.avatars.counterfactual import AttributeEdit

pytest.importorskip("dicebear")
SMILE = AttributeEdit("mouth", "smile", ("serious", "sad"))


class Oracle:
    """Knows the labels of the renders it was shown, and says the same of the nearest other image.

    Stands where a trained classifier stands, without its mistakes.
    """

    def __init__(self, pairs):
        self.images = np.concatenate([pairs.originals, pairs.truths])
        self.words = [labels(face) for face in (*pairs.before, *pairs.after)]

    def predict(self, images):
        distance = ((images[:, None] - self.images[None]) ** 2).sum((2, 3, 4))
        return [{"style": "", **self.words[i]} for i in distance.argmin(1)]


@pytest.fixture(scope="module")
def pairs():
    return cf.draw_pairs(SMILE, 6, 32)


def test_faces_are_held_out_and_differ_in_the_attribute_only(pairs):
    for before, after in zip(pairs.before, pairs.after, strict=True):
        assert split_of(before) == "test"
        assert before.mouth in ("serious", "sad")
        assert labels(after) == labels(before) | {"mouth": "smile"}
    assert pairs.originals.shape == (6, 32, 32, 3)
    assert pairs.originals.min() >= -1


def test_the_true_edit_scores_best(pairs):
    truth = cf.score_edit(SMILE, pairs, pairs.truths, Oracle(pairs))
    assert (truth.success, truth.kept, truth.success_unedited) == (1, 1, 0)
    assert (truth.success_truth, truth.kept_truth) == (1, 1)
    assert truth.inside == truth.outside == float("inf")


def test_no_edit_scores_as_unedited(pairs):
    none = cf.score_edit(SMILE, pairs, pairs.originals, Oracle(pairs))
    assert none.success == 0
    assert none.kept == 1
    assert none.inside == pytest.approx(none.inside_unedited)
    assert 5 < none.inside < 25
    assert none.outside == float("inf")


def test_a_cast_over_everything_shows_outside(pairs):
    cast = np.clip(pairs.truths + np.float32(0.2), -1, 1)
    scores = cf.score_edit(SMILE, pairs, cast, Oracle(pairs))
    # 10 log10(4 / 0.2^2) = 20 dB where nothing is clipped, more where it is.
    assert 20 <= scores.outside < 30
    assert scores.success == 1


def test_measure_edit_runs_the_edit_in_batches(pairs):
    seen = []

    def edit(images):
        seen.append(len(images))
        return np.round((images + 1) * 127.5).astype(np.uint8)

    scores = cf.measure_edit(edit, SMILE, Oracle(pairs), count=5, size=32, batch_size=2)
    assert seen == [2, 2, 1]
    assert scores.faces == 5
    assert scores.outside == float("inf")  # 8-bit images are exact
    row = scores.to_markdown()
    assert row.startswith("| mouth: serious or sad -> smile | 5 | 0.0% (0.0%, 100.0%) |")
    assert row.count("|") == cf.EditScores.markdown_header().splitlines()[0].count("|")
    with pytest.raises(ValueError, match="shape"):
        cf.measure_edit(lambda x: x[:1], SMILE, Oracle(pairs), count=2, size=32)


def test_a_style_edit_counts_what_both_styles_show():
    edit = AttributeEdit("style", "lorelei")
    pairs = cf.draw_pairs(edit, 3, 32)
    assert {face.style for face in pairs.after} == {"lorelei"}
    scores = cf.score_edit(edit, pairs, pairs.truths, Oracle(pairs))
    assert (scores.success, scores.kept) == (1, 1)


def test_the_region_is_what_differs_grown_by_one_pixel():
    a = np.zeros((6, 6, 3), np.float32)
    b = a.copy()
    b[0, 2, 1] = 0.5
    expected = np.zeros((6, 6), bool)
    expected[:2, 1:4] = True
    np.testing.assert_array_equal(cf.changed_region(a, b), expected)


@pytest.mark.parametrize(
    ("edit", "message"),
    [(("mout", "smile"), "Did you mean 'mouth'"), (("mouth", "smiel"), "Did you mean 'smile'"),
     (("mouth", "smile", ("smile",)), "among the sources")],
)  # fmt: skip
def test_wrong_edits_raise(edit, message):
    with pytest.raises(ValueError, match=message):
        AttributeEdit(*edit)
