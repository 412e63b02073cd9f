import pytest
from helpers.tiny_models import pictures, tiny_base, tiny_clip

from clipdiff_jax.edit.model import load_edit
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.stage import make_stage
from clipdiff_jax.edit.t0 import TIMES, automatic_t0, information_lost, with_t0
from clipdiff_jax.perceptual.directional import text_direction

BASE, CLIP, IMAGES = tiny_base(), tiny_clip(), pictures(2)
ASKED = EditObjective(
    source_text="a face", target_text="a smiling face", t0=None, invert_steps=3, train_steps=2
)


@pytest.fixture(scope="module")
def lost():
    return information_lost(BASE, CLIP, IMAGES)


def test_it_is_the_first_time_at_which_enough_is_lost(lost):
    assert tuple(lost) == TIMES
    length = float(text_direction(CLIP.embed_texts, "a face", "a smiling face", ("{}",)).length)
    for t in (TIMES[0], TIMES[4], max(lost, key=lost.get)):
        found = automatic_t0(BASE, CLIP, IMAGES, ASKED, share=lost[t] / length * 0.9999)
        assert found == min(u for u in TIMES if lost[u] >= lost[t] * 0.9999)
    assert automatic_t0(BASE, CLIP, IMAGES, ASKED, share=1e6) == TIMES[-1]


def test_an_objective_without_a_time_gets_one_and_keeps_it(tmp_path):
    found = automatic_t0(BASE, CLIP, IMAGES, ASKED)
    assert with_t0(ASKED, BASE, CLIP, IMAGES).t0 == found
    stage = make_stage(ASKED, BASE, CLIP, IMAGES, invert=False)
    stage.export(tmp_path, stage.start)
    assert load_edit(tmp_path).objective.t0 == found
    fixed = EditObjective(source_text="a face", target_text="a smiling face", t0=333)
    assert with_t0(fixed, BASE, CLIP, IMAGES) is fixed
