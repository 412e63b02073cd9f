"""Recipes are found by name from anywhere, and what is wrong with one is one line."""

import pytest

from clipdiff_jax.clip.embed import EmbedConfig
from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.recipes import find_recipe, load_config, recipe_names, recipes_folder
from clipdiff_jax.training.config import RunConfig


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name", ["avatars/edit_smile", "avatars/edit_smile.py", "configs/avatars/edit_smile.py"]
)
def test_ours_are_found_by_name(name):
    assert find_recipe(name) == (recipes_folder() / "avatars" / "edit_smile.py", None)


def test_a_part_of_a_file_with_several():
    smile = load_config("avatars/edit_smile", RunConfig)
    for name in ("edit_presets:smile", "edit_presets.py:smile", "configs/edit_presets.py:smile"):
        assert load_config(name, RunConfig) == smile
    assert find_recipe("edit_presets:published/smile")[1] == "published/smile"


def test_a_file_of_ones_own_comes_first(tmp_path):
    (tmp_path / "avatars").mkdir()
    own = tmp_path / "avatars" / "edit_smile.py"
    own.write_text("def get_config():\n    return 3\n")
    assert load_config("avatars/edit_smile", int) == 3
    assert load_config(own, int) == 3


def test_every_recipe_has_a_name_and_a_line():
    names = recipe_names()
    assert {"avatars/edit_smile", "edit_presets", "unclip/paper/decoder"} <= set(names)
    assert names["avatars/edit_smile"] == "Edit: serious faces smile."
    assert all(names.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("avatars/edit_smil", r"Did you mean 'avatars/edit_smile'\?"),
        ("configs/avatar/base.py", r"Did you mean 'avatars/base'\?"),
        ("edit_presets", "holds several"),
        ("avatars/edit_smile:smile", "has no part 'smile'"),
        ("edit_presets:smlie", "smile"),
    ],
)
def test_what_is_not_there_names_the_nearest(name, message):
    with pytest.raises(ConfigError, match=message):
        load_config(name, RunConfig)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def get_config(:\n", "line 1: SyntaxError"),
        ("import json\nimport nowhere_at_all\n", "line 2: ModuleNotFoundError: No module named"),
        ("def get_config():\n    return dict(\n        **3)\n", "line [23]: TypeError"),
    ],
)
def test_a_recipe_that_fails_says_where(tmp_path, code, message):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ConfigError, match=rf"the recipe 'mine\.py', {message}"):
        load_config("mine.py", RunConfig)


def test_another_kind_of_config_is_refused():
    assert isinstance(load_config("unclip/avatars/embed", EmbedConfig), EmbedConfig)
    with pytest.raises(ConfigError, match="returned EmbedConfig, not RunConfig"):
        load_config("unclip/avatars/embed", RunConfig)
