"""Which files of a folder are a model's, whatever its layout: weights, configs, tokenizers.

A folder that people work in has more: pictures, notes, checkpoints. None of that is a model's, so
none of it is given away with one.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from clipdiff_jax.core.config import nearest
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME, is_our_folder, model_folder

CARD = "README.md"
_SHARD = r"(-\d{5}-of-\d{5})?"
_WEIGHTS = re.compile(
    rf"(model|diffusion_pytorch_model|open_clip_model|pytorch_lora_weights){_SHARD}"
    r"(\.(fp16|bf16))?\.safetensors(\.index\.json)?"
)
_TOKENIZER = re.compile(
    r"(tokenizer|tokenizer_config|vocab|merges|special_tokens_map|added_tokens)(_\d+)?\.(json|txt)"
)
_DOCUMENTS = (
    CONFIG_NAME, "model_index.json", "scheduler_config.json", "preprocessor_config.json",
    "open_clip_config.json", "generation_config.json", CARD,
)  # fmt: skip
_SHOWN = 5  # names in a message


def model_files(folder: Path, include: Sequence[str] = ()) -> list[str]:
    """The files of a model's folder, as paths in it, sorted; hidden ones are never among them.

    include: other files that are wanted too. Raises `WeightsError`, with their names, for others
    that are not, for one of `include` that is not there, and for a folder without weights.
    """
    if not folder.is_dir():
        raise WeightsError(f"'{folder}' is no folder of a model")
    every = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    shown = sorted(
        one.as_posix() for one in every if not any(part.startswith(".") for part in one.parts)
    )
    for name in include:
        if name not in shown:
            raise WeightsError(f"'{folder}' has no file '{name}'.{nearest(name, shown)}")
    ours = [name for name in shown if name in include or _is_model_file(name)]
    if foreign := [name for name in shown if name not in ours]:
        more = ", ..." if len(foreign) > _SHOWN else ""
        listed = ", ".join(foreign[:_SHOWN]) + more
        raise WeightsError(
            f"'{folder}' holds other files than a model's ({listed}): name those that are meant to "
            "go along, or move them away"
        )
    if not any(is_weights(name) for name in ours):
        raise WeightsError(f"'{folder}' holds no weights (.safetensors): no model")
    return ours


def is_weights(name: str) -> bool:
    """Whether a file of a model's folder holds its arrays."""
    return name.endswith(".safetensors")


def find_model_folder(source: str | Path) -> Path:
    """The model folder meant: itself, what a run in it has exported, or the parts of an unCLIP."""
    path = Path(source).expanduser()
    if not path.exists():
        beside = [one.name for one in path.parent.glob("*")] if path.parent.is_dir() else []
        raise WeightsError(f"no folder '{source}'.{nearest(path.name, beside)}")
    found = model_folder(path)
    run = path / CONFIG_NAME
    if found == path and run.is_file() and (path / "checkpoints").is_dir():
        raise WeightsError(f"the run in '{path}' has exported no model yet: there is no 'model'")
    return found


def parts_of(folder: Path) -> list[str]:
    """The folders in a folder that are models of ours: the parts of an unCLIP."""
    return sorted(one.name for one in folder.iterdir() if one.is_dir() and is_our_folder(one))


def _is_model_file(path: str) -> bool:
    name = path.rpartition("/")[2]
    return bool(
        path.count("/") <= 1
        and (name in _DOCUMENTS or _WEIGHTS.fullmatch(name) or _TOKENIZER.fullmatch(name))
        and (name != CARD or path == CARD)
    )
