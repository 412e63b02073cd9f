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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.checks import Number as Number
from clipdiff_jax.core.checks import check_fields, checked_options
from clipdiff_jax.core.config import from_dict, nearest, to_dict

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
    """Options of a call, checked on creation, see `core.checks.check_fields`.

    Raises `ValueError` that names the option, its value and what is expected.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    def replace(self: R, **options: Any) -> R:
        """The same with some options changed. Raises `TypeError` that names the nearest option for
        one that does not exist."""
        names = [one.name for one in dataclasses.fields(self)]
        for name in options:
            if name not in names:
                raise TypeError(
                    f"no option '{name}'.{nearest(name, names)} Options: {', '.join(names)}"
                )
        return dataclasses.replace(self, **checked_options(type(self), options))

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
