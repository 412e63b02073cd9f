"""Options made from a request: name, type, help, choices, bounds and default, all from its fields.

    add_options(parser, Sampling(steps=40))
    sampling = from_args(Sampling(steps=40), parser.parse_args())

An option that is not given is not in the parsed arguments, so that what a command makes of it is
the command's own default.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar

from clipdiff_jax.core.request import Request
from clipdiff_jax.diffusion.grids import Steps
from clipdiff_jax.diffusion.steps import SAMPLERS, Sampler

R = TypeVar("R", bound=Request)


def add_options(
    parser: argparse._ActionsContainer,
    request: Request,
    only: Collection[str] | None = None,
    *,
    several: Collection[str] = (),
    shown: Mapping[str, str] | None = None,
) -> None:
    """Adds an option for every field of a request.

    Args:
      request: the fields, and what they are where no option is given.
      only: the names of the fields; None for all.
      several: those of which a command takes several values at once.
      shown: what the help says of a default, where it is not that of the request.
    """
    hints = typing.get_type_hints(type(request))
    for one in dataclasses.fields(request):
        if only is not None and one.name not in only:
            continue
        default = getattr(request, one.name)
        said = (shown or {}).get(one.name, _shown(default))
        help_text = one.metadata["help"] + (f" ({said})" if said else "")
        option: dict[str, Any] = _kind(hints[one.name])
        if one.name in several:
            option["nargs"] = "+"
        parser.add_argument(
            option_name(one.name),
            default=argparse.SUPPRESS,
            help=help_text.replace("%", "%%"),
            **option,
        )


def from_args(request: R, args: argparse.Namespace, leave_out: Collection[str] = ()) -> R:
    """The request with the options that were given.

    leave_out: fields whose options mean something else, such as several values. Raises `ValueError`
    that names the option for a value out of its bounds.
    """
    names = [one.name for one in dataclasses.fields(request) if one.name not in leave_out]
    values = {name: getattr(args, name) for name in names if hasattr(args, name)}
    try:
        return request.replace(**values)
    except ValueError as error:
        name, equals, rest = str(error).partition("=")
        if equals and name in values:
            raise ValueError(f"{option_name(name)} {rest}") from error
        raise


def given(args: argparse.Namespace, names: Collection[str]) -> list[str]:
    """Which of the options, by the names of their fields, are on the command line."""
    return [name for name in names if getattr(args, name, None) is not None]


def option_name(field: str) -> str:
    """The option of a field: "--prior-steps" of "prior_steps"."""
    return f"--{field.replace('_', '-')}"


def steps_of(text: str) -> Steps:
    """The steps that an option names: "25", for the sections of a schedule "10,10,3,2,2", "glide"

    Raises `argparse.ArgumentTypeError` for another text.
    """
    if text == "glide":
        return "glide"
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is neither a number of steps nor numbers for sections of the schedule such "
            "as 10,10,3,2,2, nor 'glide'"
        ) from None
    return counts[0] if len(counts) == 1 else tuple(counts)


def _kind(hint: Any) -> dict[str, Any]:
    """What argparse has to know of a type."""
    members = _members(hint)
    if set(_members(Sampler)) <= set(members):
        return {"choices": tuple(SAMPLERS)}
    if set(_members(Steps)) <= set(members):
        return {"type": steps_of, "metavar": "N"}
    literals = [m for m in members if typing.get_origin(m) is Literal]
    if literals:
        return {"choices": typing.get_args(literals[0])}
    if any(typing.get_origin(m) is Sequence for m in members):
        return {"type": float, "nargs": "+", "metavar": "X"}
    if bool in members:
        return {"action": "store_true"}
    number: Callable[[str], Any] = float if float in members else int
    return {"type": number, "metavar": "X" if number is float else "N"}


def _members(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _shown(default: Any) -> str:
    """A default as the help says it; none where there is none, and of a switch."""
    if default is None or isinstance(default, bool):
        return ""
    return f"{default:g}" if isinstance(default, (int, float)) else str(default)
