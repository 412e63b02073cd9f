"""A model is a folder: `config.json` says what it is, `model.safetensors` holds its arrays.

The arrays' names are their paths in the parameter tree, `"vision/stem/kernel"`. Whatever this
library trains or converts is written so, and every `load_*` reads it. Reading is lazy: the arrays
are views of the memory-mapped file until something computes with them.
"""

import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from safetensors.numpy import save_file

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import json_bytes, writing
from clipdiff_jax.core.json_files import read_json
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.params import cast, flatten, unflatten
from clipdiff_jax.weights.safetensors_file import read_safetensors

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT_VERSION = 1
MAX_CONFIG = 2**22  # bytes of a config.json
# Numbers of layers, and of times, by the words in their names; and any other number.
_COUNTS = {
    re.compile("layer|block(?!_out_channels)|depth|level"): 1000,
    re.compile("timesteps|num_steps"): 10**6,
}
_MAX_NUMBER = 10**31  # transformers writes 1e30 for "without limit"
_LISTED = 6  # faults in a message
# Whatever the layouts that can write put into a model folder.
MODEL_FILES = (
    CONFIG_NAME, WEIGHTS_NAME, "diffusion_pytorch_model.safetensors", "scheduler_config.json",
    "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
    "merges.txt", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
ASSETS = Path(__file__).parent.parent / "assets"


def save_folder(
    path: str | Path,
    config: Mapping[str, Any],
    params: Params,
    dtype: DType | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes the model folder `path`, replacing what was there in one step.

    Args:
      path: the folder; its parents are made.
      config: JSON-ready; must hold `"kind"`. `"version"` is added.
      params: nested mapping of arrays.
      dtype: what floating-point arrays are stored in; None keeps each array's own.
      extra_files: further files by name, such as a tokenizer.

    Everything is written to a temporary sibling and synced before it takes the folder's name, so
    an interrupted write leaves the old folder untouched.
    """
    if "kind" not in config:
        raise ValueError(f"the config of a model folder needs a 'kind', got keys {list(config)}")
    arrays = {
        name: np.ascontiguousarray(cast(leaf, dtype)).reshape(np.shape(leaf))
        for name, leaf in flatten(params).items()
    }
    document = {"version": FORMAT_VERSION, **config}
    files = {CONFIG_NAME: json_bytes(document), **(extra_files or {})}
    return write_folder(path, files, {WEIGHTS_NAME: arrays})


def write_folder(
    path: str | Path,
    files: Mapping[str, bytes],
    weights: Mapping[str, Mapping[str, np.ndarray]],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes the folder `path`, replacing what was there in one step, see `save_folder`.

    Args:
      path: the folder; its parents are made.
      files: contents by name, which may be of a folder in it.
      weights: tensors by name, by name of their safetensors file.
      metadata: of each safetensors file.

    Raises `OSError` that names the folder where it cannot be written, such as on a full disk, and
    `WeightsError` where it holds anything that is no model's (`check_replaceable`): then nothing
    is touched.
    """
    path = Path(path).absolute()
    check_replaceable(path, (*files, *weights))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            temporary.chmod(0o755)
            for name in (*files, *weights):
                (temporary / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            for name, arrays in weights.items():
                save_file(dict(arrays), temporary / name, dict(metadata) if metadata else None)
            for file in temporary.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)
                _sync(file)
            _sync(temporary)
            _replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync(path.parent)
    return path


def check_replaceable(path: Path, names: Iterable[str] = ()) -> None:
    """Raises `WeightsError` where writing a model to `path` would destroy what is no model.

    Replaced may be nothing, an empty folder, or a model folder and nothing else: its config says
    what model it is, and every file in it is one that models consist of, or one of `names`.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir() or path.is_symlink():
        raise WeightsError(f"'{path}' is no folder: nothing was written")
    allowed = {*MODEL_FILES, *names}
    found = sorted(path.iterdir())
    foreign = [one.name for one in found if not one.is_file() or one.name not in allowed]
    if found and not foreign and not _is_model(path):
        foreign = [one.name for one in found]
    if foreign:
        listed = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise WeightsError(
            f"'{path}' holds other files than a model's ({listed}): nothing was written. Give an "
            "empty folder, or one that does not exist"
        )


def _is_model(path: Path) -> bool:
    try:
        config = read_config(path)
    except WeightsError:
        return False
    return any(key in config for key in ("kind", "_class_name", "model_type"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(new: Path, path: Path) -> None:
    """Gives `new` the name `path`. A folder cannot be renamed onto a full one, hence the detour."""
    old = Path(f"{new}.old")
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def load_folder(path: str | Path, dtype: DType | None = None) -> tuple[dict[str, Any], Params]:
    """Reads a model folder -> (config, nested parameters as host arrays).

    Args:
      path: the folder.
      dtype: what floating-point arrays are turned into; None leaves them as they are stored, as
        views of the memory-mapped file.

    Raises `WeightsError` where the folder is not one of ours, is incomplete or is too new.
    """
    path = Path(path)
    config = read_config(path)
    if config.get("version") != FORMAT_VERSION or "kind" not in config:
        raise WeightsError(
            f"'{path / CONFIG_NAME}' has kind {config.get('kind')!r} and version "
            f"{config.get('version')!r}; expected a kind and version {FORMAT_VERSION}"
        )
    arrays = read_safetensors(path / WEIGHTS_NAME)
    return config, unflatten({name: cast(array, dtype) for name, array in arrays.items()})


def read_config(path: str | Path, name: str = CONFIG_NAME) -> dict[str, Any]:
    """Reads a JSON file of the folder `path`; `WeightsError` where there is none to read."""
    file = Path(path) / name
    if not file.is_file():
        hint = nearest(Path(path).name, [p.name for p in Path(path).parent.glob("*") if p.is_dir()])
        raise WeightsError(f"no '{name}' in '{path}': not a model folder.{hint}")
    try:
        config = read_json(file, MAX_CONFIG)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    if not isinstance(config, dict):
        raise WeightsError(f"'{file}' holds a {type(config).__name__}, expected an object")
    _check_counts(config, file)
    return config


def _check_counts(document: Mapping[str, Any], file: Path) -> None:
    """Raises `WeightsError` for a network of more layers, or a schedule of more times, than any
    has: whoever reads the document loops over them."""
    pending: list[tuple[str, object]] = list(document.items())
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += ((name, one) for one in value)
        elif isinstance(value, int | float):
            of = next((most for words, most in _COUNTS.items() if words.search(name)), _MAX_NUMBER)
            if not -of <= value <= of and value not in (math.inf, -math.inf):
                shown = f"{value:.3g}" if abs(value) < 1e300 else "a number of many digits"
                raise WeightsError(f"'{file}' has {name} {shown}, expected at most {of:,}")


def is_our_folder(path: str | Path) -> bool:
    """Whether `path` is a folder that `save_folder` wrote (and not, say, a transformers one)."""
    if not (Path(path) / CONFIG_NAME).is_file():
        return False
    config = read_config(path)
    return "kind" in config and "version" in config


def demo_folder(name: str) -> Path:
    """The folder of the built-in demo model `name`: "base", "clip" or "attributes"."""
    path = ASSETS / name
    if not (path / CONFIG_NAME).is_file():
        found = sorted(p.parent.name for p in ASSETS.glob(f"*/{CONFIG_NAME}"))
        raise WeightsError(f"no built-in model '{name}'; there is: {', '.join(found) or 'none'}")
    return path


def model_folder(source: str | Path) -> Path:
    """The model folder meant by `source`: itself, or what a run in it has exported last."""
    exported = Path(source) / "model"
    return exported if is_our_folder(exported) else Path(source)


def check_params(path: str | Path, params: Params, init: Callable[[Array], Params]) -> None:
    """Raises `WeightsError` that names the file at `path` where its parameters are not those that
    `init(key)` would make: by name, shape, and whether they are floating-point."""
    shapes = flatten(jax.eval_shape(init, jax.random.key(0)))
    found = flatten(params)
    wrong = [f"lacks '{name}'" for name in shapes if name not in found]
    wrong += [f"has '{name}', which the network has not" for name in found if name not in shapes]
    for name in found.keys() & shapes.keys():
        array, wanted = found[name], shapes[name]
        floating = jnp.issubdtype(array.dtype, jnp.floating)
        if np.shape(array) != wanted.shape:
            wrong.append(f"has '{name}' of shape {np.shape(array)}, expected {wanted.shape}")
        elif floating != jnp.issubdtype(wanted.dtype, jnp.floating):
            wrong.append(f"has '{name}' in {array.dtype}, expected {wanted.dtype}")
    if wrong:
        file, more = Path(path) / WEIGHTS_NAME, len(wrong) - _LISTED
        said = "; ".join(sorted(wrong)[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
        raise WeightsError(f"'{file}' does not fit the {CONFIG_NAME} beside it: it {said}")
