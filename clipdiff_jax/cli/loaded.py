"""Models that are loaded already, in place of the names that commands load them by.

`clipdiff app` runs the commands again and again with the same models; a record still says the name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Loaded(str):
    """The name of a model, with the model."""

    model: object

    @classmethod
    def of(cls, name: str, model: object) -> "Loaded":
        """The model under the name by which it was loaded."""
        named = cls(name)
        named.model = model
        return named


def held(source: str | Path, kind: type[T] | tuple[type[T], ...], load: Callable[[], T]) -> T:
    """The model that comes with `source`, or what `load` gives.

    Raises `TypeError` where it is of another kind.
    """
    if not isinstance(source, Loaded):
        return load()
    if not isinstance(source.model, kind):
        wanted = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"'{source}' is a {type(source.model).__name__}, not a {wanted}")
    return source.model
