"""One way in for every model: find the path that is meant, then the first layout that fits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipdiff_jax.weights.documents import untrusted
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME, demo_folder, model_folder, read_config
from clipdiff_jax.weights.hub import DEMO as DEMO
from clipdiff_jax.weights.hub import OTHER_FILES, locate
from clipdiff_jax.weights.layout import Layout, Reading, Weights
from clipdiff_jax.weights.read import open_tensors

_SHOWN = 6  # names in a message


def find_model(
    source: str | Path,
    demo: str,
    *,
    others: Sequence[str] = OTHER_FILES,
    revision: str | None = None,
) -> Path:
    """The file or folder that `source` means.

    Args:
      source: "demo", a path, the work folder of a run, or a repository of the Hugging Face Hub.
      demo: the built-in model that "demo" is, see `demo_folder`.
      others: patterns of the files that a repository must have beside its weights.
      revision: branch, tag or commit of the repository.

    Raises `WeightsError` where there is no such path and no such repository.
    """
    if source == DEMO:
        return demo_folder(demo)
    return model_folder(locate(source, others, revision))


def check_part(path: Path, part: str | None) -> None:
    """Raises `WeightsError` where a `part` is asked of a folder, which has but one."""
    if part is not None and path.is_dir():
        raise WeightsError(f"'{path}' is a folder: `part` is of a file of several state dicts")


def read_first(layouts: Sequence[Layout[Any, Weights]], path: Path, reading: Reading) -> Weights:
    """Reads `path` by the first layout that matches it; raises what `first_match` and it raise."""
    with untrusted(path):
        return first_match(layouts, path).read(path, reading)


def first_match(layouts: Sequence[Layout[Any, Weights]], path: Path) -> Layout[Any, Weights]:
    """The first layout that matches `path`.

    Raises `WeightsError` that says what is there and what would be read, where none does.
    """
    for layout in layouts:
        if layout.matches(path):
            return layout
    marks = [f"no {layout.mark}" for layout in layouts]
    wanted = " and ".join(filter(None, (", ".join(marks[:-1]), *marks[-1:])))
    raise WeightsError(f"'{path}' is no model that is known ({_seen(path)}): {wanted} in it")


def _seen(path: Path) -> str:
    """What a file or folder of no known layout is."""
    if path.is_file():
        tensors = open_tensors(path)
        return f"a file of {len(tensors)} tensors: {_listed(sorted(tensors))}"
    if not path.is_dir():
        return "there is nothing"
    if (path / CONFIG_NAME).is_file():
        config = read_config(path)
        kinds = {
            name: config[name] for name in ("_class_name", "model_type", "kind") if config.get(name)
        }
        said = ", ".join(f"{name} {value!r}" for name, value in kinds.items())
        return f"a folder whose {CONFIG_NAME} has {said or 'no kind of model'}"
    return f"a folder with {_listed(sorted(one.name for one in path.iterdir())) or 'nothing'}"


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
