"""Recipes are Python files with a `get_config()`; those of this library are found by name.

They lie in `configs/`: at the top of a checkout, inside of the package where it is installed. A
name is what one writes for a file of one's own as well:

    avatars/edit_smile            one of ours
    configs/avatars/edit_smile.py a file
    edit_presets:smile            a file that holds several, by `get_config(name)`
"""

import ast
import importlib.util
import inspect
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import clipdiff_jax
from clipdiff_jax.core.config import ConfigError, apply_overrides, nearest

T = TypeVar("T")
FOLDER = "configs"


def recipes_folder() -> Path:
    """Where the recipes of this library are."""
    package = Path(clipdiff_jax.__file__).parent
    installed = package / FOLDER
    return installed if installed.is_dir() else package.parent / FOLDER


def recipe_names() -> dict[str, str]:
    """What each recipe of this library is, by its name: the first line of its docstring."""
    folder = recipes_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): _first_line(path)
        for path in sorted(folder.rglob("*.py"))
    }


def load_config(name: str | Path, expected: type[T], overrides: Sequence[str] = ()) -> T:
    """Runs `get_config()` of a recipe and applies the overrides to what it returns.

    name: see above; `get_config("x")` runs for "file.py:x" and "file:x". Raises `ConfigError` if
    there is no such recipe (naming the nearest), if it fails, has no `get_config` or not one that
    takes a name, or returns something that is not an `expected`.
    """
    path, part = find_recipe(name)
    module = _run(path)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"'{path}' defines no get_config()")
    takes_name = bool(inspect.signature(module.get_config).parameters)
    if takes_name != (part is not None):
        hint = "holds several: write PATH.py:NAME" if takes_name else f"has no part '{part}'"
        raise ConfigError(f"the recipe '{path}' {hint}")
    try:
        config = module.get_config() if part is None else module.get_config(part)
    except ConfigError:
        raise
    except Exception as error:
        raise _failed(path, error) from error
    if not isinstance(config, expected):
        raise ConfigError(
            f"get_config() of '{path}' returned {type(config).__name__}, not {expected.__name__}"
        )
    return apply_overrides(config, overrides)


def find_recipe(name: str | Path) -> tuple[Path, str | None]:
    """The file of a recipe, and the part of it that is meant (None for a file that holds one).

    A file that is there comes first, then the recipes of this library. Raises `ConfigError` that
    names the nearest where there is neither.
    """
    text, several, part = str(name).partition(":")
    file = Path(text if text.endswith(".py") else f"{text}.py")
    ours = recipes_folder() / Path(text.removeprefix(f"{FOLDER}/")).with_suffix(".py")
    for path in (file, ours):
        if path.is_file():
            return path, part if several else None
    if file.parent.is_dir() and text.endswith(".py"):
        beside = [path.name for path in file.parent.glob("*.py")]
        if hint := nearest(file.name, beside):
            raise ConfigError(f"no config file at '{file}'.{hint}")
    hint = nearest(text.removeprefix(f"{FOLDER}/").removesuffix(".py"), recipe_names())
    raise ConfigError(
        f"no config file at '{file}', nor a recipe '{text}' in '{recipes_folder()}'.{hint}"
    )


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"clipdiff_config_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise _failed(path, error) from error
    return module


def _failed(path: Path, error: Exception) -> ConfigError:
    """What is wrong in a recipe, and in which line of it."""
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__)
             if Path(one.filename).resolve() == path.resolve()]  # fmt: skip
    line: Any = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    where = "" if line is None else f", line {line}"
    what = error.msg if isinstance(error, SyntaxError) else error
    return ConfigError(f"the recipe '{path}'{where}: {type(error).__name__}: {what}")


def _first_line(path: Path) -> str:
    documented = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return documented.split("\n")[0]
