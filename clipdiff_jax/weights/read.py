"""Opens other libraries' weight files -> {name: array}, lazily: arrays are views of mapped files.

safetensors, single or sharded, and torch's `.pt`, `.pth`, `.th`, `.ckpt`, `.bin` (zip and legacy
format), the latter without torch and without executing anything they contain (see `torch_file`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.json_files import read_json
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.safetensors_file import read_safetensors
from clipdiff_jax.weights.state_dicts import SeveralPartsError, choose
from clipdiff_jax.weights.torch_file import TORCH_SUFFIXES, Tensors, read_torch

SAFETENSORS_SUFFIXES = (".safetensors",)
# What a folder's weights are called by transformers and diffusers, best first.
_STEMS = ("model", "diffusion_pytorch_model", "pytorch_model")
_VARIANTS = ("", ".fp16")


def open_tensors(path: str | Path, part: str | None = None, *, strip: bool = True) -> Tensors:
    """Opens a weight file, or the weights of a folder.

    Args:
      path: file, or folder of a transformers or diffusers model.
      part: which of several state dicts a file holds, such as "ema"; None where there is but one.
        A row of tensors is read under the names "0", "1", ...

      strip: drop what tools put before every name, see `state_dicts`.

    Raises `WeightsError` where nothing is there, for a file that is damaged or incomplete, and
    for a pickle that holds anything but tensors.
    """
    return open_state(path, part, strip=strip).tensors


class State(NamedTuple):
    """The tensors of a file, and whether they lay below something else: beside an optimiser, or
    behind a wrapper's prefix, as training leaves them and releases do not."""

    tensors: Tensors
    wrapped: bool


def open_state(path: str | Path, part: str | None = None, *, strip: bool = True) -> State:
    """The same, with what is known of how the file was made."""
    path = Path(path)
    if path.is_dir():
        path = find_weights(path)
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise WeightsError(f"no file '{path}'.{nearest(path.name, siblings)}")
    if path.name.endswith(".index.json"):
        return _chosen(path, _read_shards(path), part, strip)
    if path.suffix in SAFETENSORS_SUFFIXES:
        return _chosen(path, read_safetensors(path), part, strip)
    if path.suffix in TORCH_SUFFIXES:
        tensors, rest, nested, _ = read_torch(path, part)
        chosen, wrapped = _chosen(path, tensors, rest, strip)
        return State(chosen, nested or wrapped)
    known = (*SAFETENSORS_SUFFIXES, *TORCH_SUFFIXES)
    raise WeightsError(f"'{path}' has none of the endings {', '.join(known)}")


def file_has(path: str | Path, name: str, *, strip: bool = True) -> bool:
    """Whether `path` is a weight file with a tensor of this name, in any of its state dicts.

    Raises what `open_tensors` does. A file of another kind raises too: that tells more than that it
    has not the tensor.
    """
    if not Path(path).is_file():
        return False
    try:
        return name in open_tensors(path, strip=strip)
    except SeveralPartsError as error:
        return any(name in open_tensors(path, part, strip=strip) for part in error.parts)


def _chosen(path: Path, tensors: Tensors, part: str | None, strip: bool) -> State:
    try:
        return State(*choose(tensors, part, strip))
    except SeveralPartsError as error:
        raise SeveralPartsError(error.parts, path) from error
    except WeightsError as error:
        raise WeightsError(f"'{path}': {error}") from error


def find_weights(folder: Path) -> Path:
    """The weight file (or index of shards) in the folder of a transformers or diffusers model."""
    names = [
        f"{stem}{variant}{ending}"
        for variant in _VARIANTS
        for ending in (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
        for stem in _STEMS
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(p.name for p in folder.glob("*"))[:8]) or "nothing"
    raise WeightsError(f"no weights in '{folder}': expected {names[0]} or alike, found {found}")


def find_lora(path: Path) -> Path:
    """The file of a LoRA: `path`, or in a folder that of diffusers or of peft."""
    if not path.is_dir():
        return path
    names = ("pytorch_lora_weights", "adapter_model")
    for name in (f"{stem}{ending}" for ending in (".safetensors", ".bin") for stem in names):
        if (path / name).is_file():
            return path / name
    found = ", ".join(sorted(p.name for p in path.glob("*"))[:8]) or "nothing"
    raise WeightsError(
        f"no LoRA in '{path}': expected {names[0]}.safetensors or alike, found {found}"
    )


def _read_shards(index: Path) -> Tensors:
    try:
        files: Mapping[str, str] = read_json(index)["weight_map"]
        if not all(isinstance(file, str) for file in files.values()):
            raise TypeError("a tensor is in no named file")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"'{index}' is no index of shards: {error}") from error
    shards = {}
    for file in sorted(set(files.values())):
        if Path(file).name != file or not (index.parent / file).is_file():
            raise WeightsError(f"'{index}' names the shard '{file}', which is not beside it")
        if file.endswith(".json"):  # it may be itself
            raise WeightsError(f"'{index}' names the shard '{file}', which holds no tensors")
        shards[file] = open_tensors(index.parent / file)
    lacking = [name for name, file in files.items() if name not in shards[file]]
    if lacking:
        raise WeightsError(f"'{index}' promises '{lacking[0]}' in '{files[lacking[0]]}': not there")
    return {name: shards[file][name] for name, file in files.items()}
