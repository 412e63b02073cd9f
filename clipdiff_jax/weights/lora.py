"""LoRA (Hu et al. 2021, arXiv 2106.09685) for latent diffusion models, in kohya's and peft's names.

    W' = W + strength (alpha / rank) up down                                                 (1)

in float32, added while W is read. Every key of a file is used or it is refused: a LoRA that acts in
part looks like a weak one. What a key names is looked up among the names that the model's parts
have in any layout, with "." written as "_" for kohya's; it is never guessed.
"""

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipdiff_jax.core.config import nearest
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.latent_reading import Lora
from clipdiff_jax.weights.read import find_lora, open_tensors
from clipdiff_jax.weights.safetensors_file import read_metadata
from clipdiff_jax.weights.tables import Axes, Change, Place

logger = logging.getLogger(__name__)

_LISTED = 6
# What stands before a key's path, and the part that it is of.
_KOHYA = {
    "lora_unet_": "unet",
    "lora_te_": "texts/0",
    "lora_te1_": "texts/0",
    "lora_te2_": "texts/1",
}
_DOTTED = {
    "base_model.model.unet.": "unet",
    "base_model.model.": "unet",
    "unet.": "unet",
    "text_encoder.": "texts/0",
    "text_encoder_2.": "texts/1",
}
# Endings of a key: which of the two matrices it is.
_ENDINGS = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".alpha": "alpha",
}
# diffusers' first: "attn1.processor.to_q_lora.down.weight".
_PROCESSOR = re.compile(r"(.*)\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
# By the last parts of a key.
_OTHER_KINDS = {
    r"\.hada_\w+": "LoHa",
    r"\.lokr_\w+": "LoKr",
    r"\.lora_mid\.weight": "a LoRA with a Tucker core",
    r"\.(dora_scale|lora_magnitude_vector.*)": "DoRA",
    r"\.diff(_b)?": "a full difference of weights",
    r"\.on_input": "IA3",
    r"\.b?oft_\w+": "OFT",
}
_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}


@dataclass
class _Pair:
    """One module's matrices, with the key that names them."""

    part: str
    module: str
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class LoraChange:
    """Eq. 1's second term for the part of a parameter at `index`."""

    index: tuple[int, ...]
    axes: Axes
    shape: tuple[int, ...]
    down: np.ndarray
    up: np.ndarray
    scale: float

    def delta(self) -> np.ndarray:
        """As our parameter lies, float32."""
        up = np.asarray(self.up, np.float32).reshape(self.up.shape[0], -1)
        down = np.asarray(self.down, np.float32).reshape(self.down.shape[0], -1)
        return self.axes.to_ours((np.float32(self.scale) * (up @ down)).reshape(self.shape))


def read_changes(
    loras: Sequence[Lora], places: Mapping[str, Mapping[str, Place]]
) -> dict[str, dict[str, list[Change]]]:
    """What LoRAs add to the parameters: by part, by path.

    places: of each part, where its tensors are among the parameters, by every name of theirs.

    Raises `WeightsError` for a file with anything that is not used, of another kind than LoRA, or
    made for another model. A strength of 0 changes no bit.
    """
    changes: dict[str, dict[str, list[Change]]] = {}
    for one in loras:
        for part, path, change in _read(one, places):
            if one.strength != 0:
                changes.setdefault(part, {}).setdefault(path, []).append(change)
    return changes


def _read(
    lora: Lora, places: Mapping[str, Mapping[str, Place]]
) -> Iterator[tuple[str, str, Change]]:
    file = find_lora(lora.path)
    tensors = open_tensors(file, strip=False)
    if not tensors:
        raise WeightsError(f"'{file}' holds no tensors")
    _check_kind(file, tensors)
    pairs = _pairs(file, tensors)
    modules = {part: _modules(found) for part, found in places.items()}
    _check_modules(file, pairs, modules)
    alphas = _Alphas(file)
    for pair in pairs:
        place = modules[pair.part][_flat(pair.module)]
        yield pair.part, place.path, _change(file, pair, place, alphas, lora.strength)


def _check_kind(file: Path, tensors: Mapping[str, np.ndarray]) -> None:
    for mark, kind in _OTHER_KINDS.items():
        if found := sorted(name for name in tensors if re.search(f"{mark}$", name)):
            raise WeightsError(
                f"'{file}' is {kind}, and LoRA is supported: it has {_listed(found)}"
            )


def _pairs(file: Path, tensors: Mapping[str, np.ndarray]) -> list[_Pair]:
    """The keys as pairs; `WeightsError` for a key of no pattern and a pair that is not whole."""
    pairs: dict[tuple[str, str], _Pair] = {}
    unknown = []
    for name, tensor in tensors.items():
        parsed = _parse(name)
        if parsed is None:
            unknown.append(name)
            continue
        part, module, role = parsed
        pair = pairs.setdefault((part, _flat(module)), _Pair(part, module))
        if role in pair.tensors:
            raise WeightsError(f"'{file}' has two keys for {role} of '{module}', one is '{name}'")
        pair.tensors[role] = tensor
    if unknown:
        raise WeightsError(
            f"'{file}' has keys that are no LoRA's: {_listed(sorted(unknown))}; expected names "
            "such as 'lora_unet_....lora_down.weight' or 'unet.....lora_A.weight'"
        )
    for pair in pairs.values():
        if lacking := [role for role in ("down", "up") if role not in pair.tensors]:
            raise WeightsError(f"'{file}' has no {lacking[0]} matrix for '{pair.module}'")
    return list(pairs.values())


def _parse(name: str) -> tuple[str, str, str] | None:
    """(part, module, role) of a key; None for one of no pattern."""
    if match := _PROCESSOR.fullmatch(name):
        module, layer, role = match.groups()
        module = f"{module}.{layer}" + (".0" if layer == "to_out" else "")
    else:
        ending = next((end for end in _ENDINGS if name.endswith(end)), None)
        if ending is None:
            return None
        module, role = name.removesuffix(ending), _ENDINGS[ending]
    for prefix, part in (_KOHYA | _DOTTED).items():
        if module.startswith(prefix):
            return part, module.removeprefix(prefix), role
    # Files of a UNet's attention alone have no prefix.
    return "unet", module, role


def _flat(module: str) -> str:
    return module.replace(".", "_")


def _modules(places: Mapping[str, Place]) -> dict[str, Place]:
    """The places of all weights, by the names of their modules with "_" for "."."""
    weights = {n.removesuffix(".weight"): p for n, p in places.items() if n.endswith(".weight")}
    return {_flat(module): place for module, place in weights.items() if len(place.shape) > 1}


def _check_modules(
    file: Path, pairs: Sequence[_Pair], modules: Mapping[str, Mapping[str, Place]]
) -> None:
    """Raises `WeightsError` for a LoRA of another model: by its towers, widths and modules."""
    towers = {pair.part for pair in pairs} - modules.keys()
    if towers:
        raise WeightsError(
            f"'{file}' was made for SDXL, which has two text towers; this model has one"
        )
    for pair in pairs:
        place, width = modules[pair.part].get(_flat(pair.module)), pair.tensors["down"].shape[-1:]
        if pair.part != "unet" or place is None or not re.search(r"attn2.to_k$", pair.module):
            continue
        width, wanted = pair.tensors["down"].shape[1], place.shape[1]
        if width != wanted:
            made = _WIDTHS.get(width, f"a context of width {width}")
            model = _WIDTHS.get(wanted, f"a context of width {wanted}")
            raise WeightsError(f"'{file}' was made for {made}, and this model is of {model}")
    missing = [pair for pair in pairs if _flat(pair.module) not in modules[pair.part]]
    if missing:
        named = [
            f"'{pair.module}'{nearest(_flat(pair.module), modules[pair.part])}"
            for pair in missing[:_LISTED]
        ]
        more = ", ..." if len(missing) > _LISTED else ""
        raise WeightsError(
            f"'{file}' was made for another model: of its {len(pairs)} modules this one lacks "
            f"{len(missing)}: {', '.join(named)}{more}"
        )


def _change(file: Path, pair: _Pair, place: Place, alphas: "_Alphas", strength: float) -> Change:
    down, up = pair.tensors["down"], pair.tensors["up"]
    rank, sizes = down.shape[0], (up.size, down.size)
    fits = (
        down.ndim >= 2
        and up.ndim >= 2
        and up.shape == (place.shape[0], rank, *[1] * (up.ndim - 2))
        and math.prod(down.shape[1:]) == math.prod(place.shape[1:])
    )
    if not fits or 0 in sizes:
        raise WeightsError(
            f"'{file}' has matrices of shapes {list(up.shape)} and {list(down.shape)} for "
            f"'{pair.module}', which do not make its {list(place.shape)}"
        )
    given = pair.tensors.get("alpha")
    if given is not None and given.size != 1:
        raise WeightsError(f"'{file}' has an alpha of shape {list(given.shape)}, expected a number")
    alpha = alphas.of(pair, rank) if given is None else float(np.asarray(given).reshape(()))
    scale = strength * alpha / rank
    return LoraChange(place.index, place.axes, place.shape, down, up, scale)


class _Alphas:
    """What peft writes of alpha beside the matrices: into the file's metadata, or into a file
    beside it. Where nothing is said it is the rank."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.settings = self._settings()

    def of(self, pair: _Pair, rank: int) -> float:
        """Raises `WeightsError` where what is said is not understood."""
        settings = self.settings.get(pair.part, {})
        for option in ("use_dora", "use_rslora"):
            if settings.get(option):
                raise WeightsError(f"'{self.file}' was trained with {option}, which is not read")
        patterns = settings.get("alpha_pattern") or {}
        if not isinstance(patterns, dict):
            raise WeightsError(f"'{self.file}' has alpha_pattern {patterns!r}, expected an object")
        alpha = settings.get("lora_alpha", rank)
        for pattern, value in patterns.items():
            if pair.module == pattern or pair.module.endswith(f".{pattern}"):
                alpha = value
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise WeightsError(f"'{self.file}' has lora_alpha {alpha!r}, expected a number")
        return float(alpha)

    def _settings(self) -> dict[str, dict[str, Any]]:
        parts = {prefix.removesuffix("."): part for prefix, part in _DOTTED.items()}
        text = read_metadata(self.file).get("lora_adapter_metadata")
        beside = self.file.with_name("adapter_config.json")
        if text is None and not beside.is_file():
            return {}
        where = f"the metadata of '{self.file}'" if text is not None else f"'{beside}'"
        try:
            found = json.loads(beside.read_text() if text is None else text)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{where} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise WeightsError(f"{where} holds a {type(found).__name__}, expected an object")
        if text is None:
            return {part: found for part in parts.values()}
        settings: dict[str, dict[str, Any]] = {}
        for name, value in found.items():
            root, _, option = name.partition(".")
            if root not in parts:
                raise WeightsError(f"{where} is of '{root}', expected one of {', '.join(parts)}")
            settings.setdefault(parts[root], {})[option] = value
        return settings


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _LISTED else ""
    return ", ".join(f"'{name}'" for name in names[:_LISTED]) + more
