import dataclasses

import numpy as np
import pytest
from helpers.paths import ROOT

from clipdiff_jax.data.avatars import faces as avatar_faces
from clipdiff_jax.data.avatars.faces import (
    Face,
    counterfactual,
    draw_face,
    from_json,
    is_held_out,
    labels,
    picture_key,
    render,
    resolved_options,
    split_of,
    to_json,
)
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, HELD_OUT, STYLES

FACE = Face(
    style="avataaars",
    hair_style="short",
    hair_color="brown",
    skin="pale",
    mouth="serious",
    eyes="open",
    glasses="none",
    beard="none",
    clothes="hoodie",
    clothes_color="blue",
    background="white",
    seed=3,
)


def replaced(**changes):
    return dataclasses.replace(FACE, **changes)


@pytest.mark.parametrize("style", STYLES)
def test_every_value_that_a_style_draws_gives_another_picture(style):
    pytest.importorskip("dicebear")
    # On other backgrounds than white, so that white clothes differ from none.
    face = replaced(style=style, background="yellow")
    for attribute, drawn in STYLES[style].draws.items():
        pictures = {render(replaced_value(face, attribute, v), 32).tobytes() for v in drawn}
        assert len(pictures) == len(drawn), (attribute, list(drawn))


def replaced_value(face, attribute, value):
    return dataclasses.replace(face, **{attribute: value})


def test_every_option_of_every_style_exists_and_every_component_is_decided():
    pytest.importorskip("dicebear")
    for style, art in STYLES.items():
        components = {
            name for name, c in avatar_faces.definition(style)["components"].items()
            if "extends" not in c
        }  # fmt: skip
        for attribute, drawn in art.draws.items():
            for value, alternatives in drawn.items():
                for options in alternatives:
                    avatar_faces.check_options(style, options)
                assert value in ATTRIBUTES[attribute]
        options = resolved_options(replaced(style=style))
        avatar_faces.check_options(style, options)
        undecided = {
            name
            for name in components
            if f"{name}Variant" not in options and options.get(f"{name}Probability") != 0
        }
        # The graphic on a shirt that no face wears.
        assert undecided <= {"clothesGraphic"}, style


def test_every_word_has_a_substitute_in_every_style():
    for style in STYLES:
        for attribute, values in ATTRIBUTES.items():
            for value in values:
                shown = labels(replaced_value(replaced(style=style), attribute, value))
                if attribute in STYLES[style].draws and attribute in shown:
                    assert shown[attribute] in STYLES[style].draws[attribute]


def test_unknown_words_and_options_raise_and_name_the_nearest():
    with pytest.raises(ValueError, match=r"hair_color: 'gren'.*Did you mean 'green'"):
        replaced(hair_color="gren")
    with pytest.raises(ValueError, match="Did you mean 'glasses'"):
        counterfactual(FACE, "glases", "none")
    pytest.importorskip("dicebear")
    with pytest.raises(ValueError, match=r"mouthVariant.*'smyle'.*Did you mean 'smile'"):
        avatar_faces.check_options("avataaars", {"mouthVariant": "smyle"})
    with pytest.raises(ValueError, match="Did you mean 'mouthVariant'"):
        avatar_faces.check_options("avataaars", {"mouthVarint": "smile"})


def test_changes_that_cannot_be_seen_raise():
    with pytest.raises(ValueError, match="'hair_color' cannot be seen"):
        counterfactual(replaced(hair_style="bald"), "hair_color", "red")
    with pytest.raises(ValueError, match="'eyes' cannot be seen"):
        counterfactual(replaced(glasses="sunglasses"), "eyes", "closed")
    with pytest.raises(ValueError, match="'lorelei' does not draw 'clothes'"):
        counterfactual(replaced(style="lorelei"), "clothes", "blazer")
    with pytest.raises(ValueError, match="beard of the art style lorelei"):
        counterfactual(replaced(style="lorelei"), "beard", "moustache")


@pytest.mark.parametrize(
    ("attribute", "value", "most"),
    [("mouth", "smile", 0.04), ("eyes", "closed", 0.03), ("hair_color", "red", 0.2),
     ("glasses", "glasses", 0.12), ("clothes_color", "red", 0.25)],
)  # fmt: skip
def test_a_counterfactual_changes_its_region_only(attribute, value, most):
    pytest.importorskip("dicebear")
    changed = (render(FACE, 64) != render(counterfactual(FACE, attribute, value), 64)).any(-1)
    assert 0.002 < changed.mean() < most


def test_rendering_is_deterministic_and_variants_depend_on_the_seed():
    pytest.importorskip("dicebear")
    np.testing.assert_array_equal(render(FACE, 48), render(FACE, 48))
    assert render(FACE, 48).shape == (48, 48, 3)
    tops = {resolved_options(replaced(seed=s))["topVariant"] for s in range(30)}
    assert tops == {"shortFlat", "shortWaved", "theCaesarAndSidePart"}


def test_the_background_is_where_it_should_be():
    pytest.importorskip("dicebear")
    assert tuple(render(replaced(background="blue"), 64)[1, 1]) == (0xA5, 0xD1, 0xF5)


def test_records_survive_json():
    assert from_json(to_json(FACE)) == FACE


def test_faces_are_drawn_with_the_right_shares():
    drawn = [draw_face(5, i, tuple(STYLES), 0.7) for i in range(600)]
    assert drawn[:10] == [draw_face(5, i, tuple(STYLES), 0.7) for i in range(10)]
    main = np.mean([face.style == "avataaars" for face in drawn])
    assert abs(main - 0.7) < 0.06
    expected = ATTRIBUTES["glasses"]["glasses"] / sum(ATTRIBUTES["glasses"].values())
    found = np.mean([f.glasses == "glasses" for f in drawn if f.style == "avataaars"])
    assert abs(found - expected) < 0.07


def test_splits_hold_out_combinations_and_pictures():
    drawn = [draw_face(0, i, tuple(STYLES), 0.85) for i in range(500)]
    splits = {name: [] for name in ("train", "valid", "test", "unseen")}
    for face in drawn:
        splits[split_of(face)].append(face)
    assert not any(is_held_out(face) for face in splits["train"] + splits["valid"])
    assert any(is_held_out(face) for face in splits["test"])
    assert all(is_held_out(face) for face in splits["unseen"])
    assert 0.75 < len(splits["train"]) / len(drawn) < 0.9
    keys = [{picture_key(face) for face in faces} for faces in splits.values()]
    assert len(set().union(*keys)) == sum(map(len, keys))
    (first, a), (second, b) = HELD_OUT[0]
    held_out = replaced(**{first: a, second: b})
    assert is_held_out(held_out)
    assert split_of(held_out) in ("test", "unseen")


def test_equal_pictures_are_in_one_split_whatever_their_record():
    # In pixel art a bun is drawn as a bob.
    bun, bob = (replaced(style="pixel-art", hair_style=h) for h in ("bun", "bob"))
    assert picture_key(bun) == picture_key(bob)
    assert labels(bun)["hair_style"] == "bob"


def test_what_is_covered_up_has_no_label():
    assert "eyes" not in labels(replaced(glasses="sunglasses"))
    assert "hair_color" not in labels(replaced(hair_style="bald"))
    assert "mouth" not in labels(replaced(style="lorelei", beard="beard"))
    assert "clothes" not in labels(replaced(style="big-ears"))


def test_a_missing_renderer_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(ImportError, match=r"clipdiff_jax\[demo\]"):
        render(FACE, 32)


def test_the_attribution_table_says_what_the_definitions_say():
    pytest.importorskip("dicebear")
    page = (ROOT / "docs" / "avatars.md").read_text()
    for style in STYLES:
        about = avatar_faces.definition(style)["meta"]
        rows = [line for line in page.splitlines() if line.startswith(f"| `{style}` |")]
        parts = ("creator", "source", "license")
        told = [about[part][key] for part in parts for key in ("name", "url")]
        assert any(all(text in row for text in told) for row in rows)
