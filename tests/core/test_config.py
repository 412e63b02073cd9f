"""Strict configs: round trips, overrides, and errors that name the nearest key."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from clipdiff_jax.core.config import LATER, ConfigError, apply_overrides, from_dict, to_dict
from clipdiff_jax.core.recipes import load_config


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-4
    name: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True)
class Folder:
    path: str


@dataclass(frozen=True)
class Synthetic:
    size: int = 8


@dataclass(frozen=True)
class Run:
    data: Folder | Synthetic
    optimizer: Optimizer = field(default_factory=Optimizer)
    steps: int = 10
    levels: tuple[int, ...] = (1, 2)
    clip: float | None = None


def test_round_trip_keeps_unions_tuples_and_none():
    run = Run(Folder("x"), Optimizer(3e-4, "sgd"), levels=(4,), clip=2.0)
    assert from_dict(Run, to_dict(run)) == run
    assert from_dict(Run, {"data": {"type": "Synthetic"}}) == Run(Synthetic())


def test_overrides_are_typed():
    run = apply_overrides(
        Run(Synthetic()),
        ["optimizer.learning_rate=1", "steps=3e2", "levels=[5, 6, 7]", "clip=null", "data.size=4"],
    )
    assert run == Run(Synthetic(4), Optimizer(1.0), steps=300, levels=(5, 6, 7))
    assert isinstance(run.optimizer.learning_rate, float)
    assert isinstance(run.steps, int)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rat=1", "Did you mean 'learning_rate'"),
        ("stepz=1", "Did you mean 'steps'"),
        ("steps=1.5", "expected a whole number"),
        ("steps=many", "expected a whole number"),
        ("optimizer.name=adm", "Did you mean 'adam'"),
        ("steps.more=1", "has no key 'more'"),
        ("steps", "has no '='"),
        ("levels=3", "expected a list"),
    ],
)
def test_wrong_overrides_name_what_was_expected(override, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides(Run(Synthetic()), [override])


def test_wrong_dictionaries():
    with pytest.raises(ConfigError, match="lacks the required key 'data'"):
        from_dict(Run, {})
    with pytest.raises(ConfigError, match="Did you mean 'Folder'"):
        from_dict(Run, {"data": {"type": "Foldr"}})
    with pytest.raises(ConfigError, match="Did you mean 'path'"):
        from_dict(Run, {"data": {"type": "Folder", "pth": "x"}})


def test_config_files(tmp_path):
    (tmp_path / "good.py").write_text("def get_config():\n    return 3\n")
    (tmp_path / "empty.py").write_text("")
    assert_error = pytest.raises(ConfigError, match="returned int, not Run")
    with assert_error:
        load_config(tmp_path / "good.py", Run)
    with pytest.raises(ConfigError, match="defines no get_config"):
        load_config(tmp_path / "empty.py", Run)
    with pytest.raises(ConfigError, match=r"Did you mean 'good\.py'"):
        load_config(tmp_path / "goood.py", Run)


@dataclass(frozen=True)
class Inner:
    a: int = 1


@dataclass(frozen=True)
class Outer:
    b: int = 2
    inner: Inner = field(default_factory=Inner, metadata=LATER)


def test_a_field_that_came_later_is_written_where_it_says_something():
    assert to_dict(Outer()) == {"type": "Outer", "b": 2}
    changed = Outer(inner=Inner(3))
    assert to_dict(changed)["inner"] == {"type": "Inner", "a": 3}
    assert to_dict(apply_overrides(Outer(), ["inner.a=4"])) == to_dict(Outer(inner=Inner(4)))


@dataclass(frozen=True)
class Files:
    path: str
    on_error: str = "raise"


@dataclass(frozen=True)
class Drawn:
    count: int = 3


@dataclass(frozen=True)
class WithData:
    data: Files | Drawn


@pytest.mark.parametrize("first", [True, False])
def test_another_type_needs_no_json(first):
    """In whatever order, and whether the keys are of the type before or of the new one."""
    overrides = ["data.type=Files", "data.path=photos"]
    found = apply_overrides(WithData(Drawn()), overrides if first else overrides[::-1])
    assert found == WithData(Files("photos"))
    kept = apply_overrides(WithData(Files("a", "skip")), ["data.type=Files", "data.path=b"])
    assert kept == WithData(Files("b", "skip"))
    with pytest.raises(ConfigError, match="lacks the required key 'path'"):
        apply_overrides(WithData(Drawn()), ["data.type=Files"])
    with pytest.raises(ConfigError, match="unknown key 'count'"):
        apply_overrides(WithData(Drawn()), [*overrides, "data.count=2"])
    with pytest.raises(ConfigError, match=r"has type 'Filez', not one of Files, Drawn.* 'Files'"):
        apply_overrides(WithData(Drawn()), ["data.type=Filez"])
