"""Values as people hand them in, checked against what a field or an argument is declared to take.

A number is finite and within its bounds, a count is whole, and NumPy's scalars are numbers like
Python's. What is wrong is named with its value and what was expected, before anything is computed.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray

from clipdiff_jax.core.config import nearest

Number = int | float
Whole = int | np.integer
Bounds = dict[str, Number | None]
D = TypeVar("D")
C = TypeVar("C", bound=str)
_LONGEST = 60  # characters of a value that a message shows


class MissingExtra(ImportError, ValueError):
    """A package that is not installed is needed; the message says which extra of ours brings it."""


class Kind(NamedTuple):
    """What a field is declared to take.

    what: "whole" and "number" are numbers, "switch" is true or false, "numbers" are several of
    them; None for whatever is not checked here. array: whether there may be one number for each
    picture. optional: whether it may be None.
    """

    what: Literal["whole", "number", "switch", "numbers"] | None
    array: bool
    optional: bool


def check_fields(instance: Any) -> None:
    """Checks the fields of a frozen dataclass by their types and the bounds in their metadata.

    NumPy's and jax's scalars become Python's, and lists of numbers where arrays may be arrays, so
    that a config is the same however its numbers came. Raises `ValueError` that names the field.
    What is traced is not looked at.
    """
    values = {one.name: getattr(instance, one.name) for one in dataclasses.fields(instance)}
    for name, found in checked_options(type(instance), values).items():
        if found is not values[name]:
            object.__setattr__(instance, name, found)


def checked_options(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same of values for some fields of a dataclass that is still to be made."""
    fields = {one.name: one for one in dataclasses.fields(cls)}
    kinds = _kinds(cls)
    return {
        name: _checked(name, value, kinds[name], _bounds(fields[name]))
        for name, value in options.items()
    }


def _kinds(cls: type) -> dict[str, Kind]:
    """The kind of each field of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {one.name: _kind(hints[one.name]) for one in dataclasses.fields(cls)}


def _bounds(field: "dataclasses.Field[Any]") -> Bounds:
    return {name: field.metadata.get(name) for name in ("low", "high", "above")}


def whole_number(
    name: str, value: object, *, low: Number | None = None, high: Number | None = None
) -> int:
    """A count as an int. Raises `ValueError` for what is not whole, or out of its bounds."""
    return int(_checked(name, value, Kind("whole", False, False), {"low": low, "high": high}))


def one_of(name: str, value: object, choices: Sequence[C]) -> C:
    """The choice that a value is. Raises `ValueError` that names all of them, and the nearest."""
    for choice in choices:
        if value == choice:
            return choice
    raise ValueError(
        f"{name} is {value!r}, expected one of {', '.join(choices)}.{nearest(str(value), choices)}"
    )


def check_number(
    name: str,
    value: Any,
    *,
    low: Number | None = None,
    high: Number | None = None,
    above: Number | None = None,
) -> None:
    """Raises `ValueError` for a number, or numbers, not finite or out of bounds.

    Whatever is no number is passed over, and so are arrays that are being traced.
    """
    if isinstance(value, jax.core.Tracer):
        return
    if isinstance(value, (jax.Array, np.ndarray)):
        known = jnp.issubdtype(value.dtype, jnp.floating) or value.dtype.kind in "iu"
        numbers = np.asarray(value, np.float64).ravel().tolist() if known else []
    else:
        items = value if isinstance(value, (list, tuple)) else [value]
        numbers = [v for v in items if _is_number(v)]
    for number in numbers:
        fits = (
            (isinstance(number, (int, np.integer)) or math.isfinite(number))
            and (low is None or number >= low)
            and (high is None or number <= high)
            and (above is None or number > above)
        )
        if not fits:
            shown = f"{number:g}" if isinstance(number, float) else _shown(number)
            raise ValueError(f"{name}={shown}, expected {_expected(low, high, above)}")


def _checked(name: str, value: Any, kind: Kind, bounds: Bounds) -> Any:
    """The value as it is kept."""
    if isinstance(value, jax.core.Tracer) or (value is None and kind.optional):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (np.ndarray, jax.Array)) and not kind.array:
        value = value.tolist()
    if kind.array and isinstance(value, (list, tuple)):
        value = np.asarray(value) if all(map(_is_number, value)) else value
    fits = {
        None: lambda: True,
        "switch": lambda: isinstance(value, bool),
        "whole": lambda: isinstance(value, int) and not isinstance(value, bool),
        "number": lambda: _is_number(value) or (kind.array and _are_numbers(value)),
        "numbers": lambda: isinstance(value, Sequence) and all(map(_is_number, value)),
    }
    if not fits[kind.what]():
        wanted = {
            "switch": "True or False",
            "whole": _expected(bounds.get("low"), bounds.get("high"), None, "whole number"),
            "number": _expected(bounds.get("low"), bounds.get("high"), bounds.get("above"))
            + (", or one for each picture" if kind.array else ""),
            "numbers": "numbers",
        }
        raise ValueError(f"{name}={_shown(value)}, expected {wanted[str(kind.what)]}")
    check_number(name, value, **bounds)
    return value


def _kind(hint: Any) -> Kind:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = set(typing.get_args(hint) if union else (hint,))
    optional = type(None) in members
    array = any(isinstance(m, type) and issubclass(m, AbstractArray) for m in members)
    rest = {m for m in members if not (isinstance(m, type) and issubclass(m, AbstractArray))}
    rest -= {type(None)}
    if rest == {bool}:
        return Kind("switch", False, optional)
    if rest == {int}:
        return Kind("whole", array, optional)
    if rest in ({float}, {int, float}):
        return Kind("number", array, optional)
    if rest in ({Sequence[int | float]}, {Sequence[float]}):
        return Kind("numbers", False, optional)
    return Kind(None, array, optional)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _are_numbers(value: object) -> bool:
    if not isinstance(value, (jax.Array, np.ndarray)):
        return False
    return bool(jnp.issubdtype(value.dtype, jnp.floating)) or value.dtype.kind in "iu"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _expected(
    low: Number | None, high: Number | None, above: Number | None = None, what: str = "number"
) -> str:
    shown = lambda bound: str(bound) if isinstance(bound, int) else f"{bound:g}"
    if above is not None:
        return f"a {what} above {shown(above)}" + ("" if high is None else f", to {shown(high)}")
    if low is not None and high is not None:
        return f"a {what} from {shown(low)} to {shown(high)}"
    if low is not None:
        return f"a {what} of at least {shown(low)}"
    kind = what if what != "number" else "finite number"
    return f"a {kind}" if high is None else f"a {kind} of at most {shown(high)}"
