"""A request is one value: the options of a call as a frozen dataclass.

It is checked where it is made, so that nothing wrong reaches a model, and it is the same thing
everywhere: the keywords of a call fill it (`fill`), the options of a command are made from its
fields (`cli.options`), and a picture's record is its `to_dict`.

    @dataclass(frozen=True, kw_only=True)
    class Sampling(Request):
        steps: int = option(50, "evaluations of the network", low=1)

    sampling = fill(Sampling(), None, {"steps": 20})
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.config import from_dict, nearest, to_dict

Number = int | float
Scale = Number | Float[Array | np.ndarray, "..."]  # one number, or one for each picture
R = TypeVar("R", bound="Request")


def option(
    default: Any,
    help: str,
    *,
    low: Number | None = None,
    high: Number | None = None,
    above: Number | None = None,
    unit: str = "",
) -> Any:
    """A field of a request: its default, what it is, its bounds (inclusive, or strictly `above`).

    unit: what its number counts, for a command's help.
    """
    bounds = {"low": low, "high": high, "above": above}
    return field(default=default, metadata={"help": help, "unit": unit, **bounds})


@dataclass(frozen=True, kw_only=True)
class Request:
    """Options of a call. Numbers are checked against the bounds of their fields on creation.

    Raises `ValueError` that names the option, its value and what is expected. What is traced is
    not looked at.
    """

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            check_number(one.name, getattr(self, one.name), **_bounds(one))

    def replace(self: R, **options: Any) -> R:
        """The same with some options changed. Raises `TypeError` that names the nearest option for
        one that does not exist."""
        names = [one.name for one in dataclasses.fields(self)]
        for name in options:
            if name not in names:
                raise TypeError(
                    f"no option '{name}'.{nearest(name, names)} Options: {', '.join(names)}"
                )
        return dataclasses.replace(self, **options)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values by name."""
        return {k: v for k, v in to_dict(self).items() if k != "type"}

    @classmethod
    def from_dict(cls: type[R], values: Mapping[str, Any]) -> R:
        """The request that `to_dict` wrote; what is left out takes its default.

        Raises `ConfigError` for an option that does not exist and a value of another type.
        """
        return from_dict(cls, dict(values), cls.__name__)


def fill(default: R, given: R | None, options: Mapping[str, Any]) -> R:
    """The request of a call: the one given, or the call's default, with single options changed.

    Raises `TypeError` for an option that does not exist, `ValueError` for one out of its bounds.
    """
    request = default if given is None else given
    return request.replace(**options) if options else request


def check_number(
    name: str,
    value: Any,
    *,
    low: Number | None = None,
    high: Number | None = None,
    above: Number | None = None,
) -> None:
    """Raises `ValueError` for a number, or an array of them, that is not finite or out of bounds.

    Whatever is no number is passed over, and so are arrays that are being traced.
    """
    if isinstance(value, jax.core.Tracer):
        return
    if isinstance(value, (jax.Array, np.ndarray)):
        numbers = (
            np.asarray(value, np.float64).ravel().tolist() if value.dtype.kind in "fiu" else []
        )
    else:
        items = value if isinstance(value, (list, tuple)) else [value]
        numbers = [v for v in items if isinstance(v, (int, float)) and not isinstance(v, bool)]
    for number in numbers:
        fits = (
            math.isfinite(number)
            and (low is None or number >= low)
            and (high is None or number <= high)
            and (above is None or number > above)
        )
        if not fits:
            raise ValueError(f"{name}={number:g}, expected {_expected(low, high, above)}")


def _expected(low: Number | None, high: Number | None, above: Number | None) -> str:
    if above is not None:
        return f"a number above {above:g}" + ("" if high is None else f", to {high:g}")
    if low is not None and high is not None:
        return f"a number from {low:g} to {high:g}"
    if low is not None:
        return f"a number of at least {low:g}"
    return "a finite number" if high is None else f"a number of at most {high:g}"


def _bounds(one: "dataclasses.Field[Any]") -> dict[str, Any]:
    return {name: one.metadata.get(name) for name in ("low", "high", "above")}
