"""Which of a file's state dicts is meant, and what tools put before its names.

Training writes more into a file than a model: weights and their moving average beside each other,
as entries (`{"model": ..., "ema": ...}`, `[model, optimizer, ..., ema]`) or as one dictionary of
two prefixes (`online_model.a`, `ema_model.a`). Which is meant is asked for, never guessed. What a
wrapper put before every name (`module.`, `_orig_mod.`) says nothing, and is dropped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from clipdiff_jax.weights.errors import WeightsError

T = TypeVar("T")

# Of torch's data parallel, torch.compile, Lightning and its kin, averages of weights.
PREFIXES = ("module.", "_orig_mod.", "model.", "ema_model.", "model_ema.", "online_model.")
# What averages keep beside the weights.
_COUNTERS = ("n_averaged", "initted", "step", "num_updates", "decay")


class SeveralPartsError(WeightsError):
    """A file of several state dicts, of which none was chosen.

    Attributes:
      parts: their names, as `part` takes them.
    """

    def __init__(self, parts: Sequence[str], path: Path | None = None) -> None:
        found = ", ".join(parts)
        said = f"expected one state dict, found {found or 'none'}"
        # Where one is said to be an average it is what samples were drawn from.
        likely = [*parts[-1:], *(part for part in parts if "ema" in part)]
        chosen = f"; choose one with `part`, such as part='{likely[-1]}'" if parts else ""
        super().__init__((f"'{path}': " if path else "") + said + chosen)
        self.parts = tuple(parts)


def choose(
    tensors: Mapping[str, T], part: str | None, strip: bool = True
) -> tuple[dict[str, T], bool]:
    """One state dict of a flat mapping, without what tools put before its names.

    part: the prefix of the one that is meant, such as "ema_model"; None where there is but one.
    strip: False leaves the names of the one as they are.

    Returns it, and whether its names had a prefix. Raises `WeightsError` where there is no such
    part, `SeveralPartsError` where there are several and none is chosen.
    """
    chosen, wrapped = dict(tensors), False
    if part is not None:
        below = {
            n.removeprefix(f"{part}."): t for n, t in chosen.items() if n.startswith(f"{part}.")
        }
        if not below:
            found = ", ".join(_parts(chosen)) or "none"
            raise WeightsError(f"no state dict '{part}'; there is: {found}")
        chosen, wrapped = below, True
    while strip and (parts := _parts(chosen)):
        if len(parts) > 1:
            raise SeveralPartsError(parts)
        prefix = f"{parts[0]}."
        chosen = {n.removeprefix(prefix): t for n, t in chosen.items() if n.startswith(prefix)}
        wrapped = True
    return chosen, wrapped


def _parts(names: Mapping[str, object]) -> list[str]:
    """The known prefixes that the names have, where each but counters has one; else none."""
    found: dict[str, None] = {}
    for name in names:
        if name in _COUNTERS:
            continue
        prefix = next((p for p in PREFIXES if name.startswith(p)), None)
        if prefix is None:
            return []
        found[prefix.removesuffix(".")] = None
    return list(found)
