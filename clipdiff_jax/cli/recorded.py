"""What records must say to be made again, checked whole before anything that they name is opened.

A record may come from anywhere: its values are of the types and within the bounds of what writes
them, or it is refused by name.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from clipdiff_jax.cli import latent_pictures
from clipdiff_jax.cli.arguments import DTYPES
from clipdiff_jax.cli.layouts import are_entries
from clipdiff_jax.cli.marks import MARK
from clipdiff_jax.cli.paths import SECOND
from clipdiff_jax.cli.sources import DIGEST, SQUARES
from clipdiff_jax.cli.unclip_model import DECODED
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.request import Request
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.edit.editing import Editing
from clipdiff_jax.guided.guiding import Guiding
from clipdiff_jax.pictures.records import Record, RecordError, request_of
from clipdiff_jax.pictures.results import check_name
from clipdiff_jax.unclip.drawing import Drawing

_NEEDED = ("model", "model_fingerprint", "dtype", "seed", "index", "steps")
_SOURCE = ("source", DIGEST)
_SECOND = tuple(f"{SECOND}{name}" for name in _SOURCE)
# The commands, what their records need beside that, and the request that they hold.
_MADE_BY: dict[str, tuple[tuple[str, ...], type[Request]]] = {
    "generate": ((), Sampling),
    "edit": (("edits", "edit_fingerprints", "strength", *_SOURCE), Editing),
    "guide": (("prompts", "clips", "clip_fingerprints"), Guiding),
    "vary": ((*DECODED, *_SOURCE), Drawing),
    "interpolate": (("theta", "latents", *DECODED, *_SOURCE, *_SECOND), Drawing),
    "textdiff": (("theta", "source_text", "target_text", *DECODED, *_SOURCE), Drawing),
    "reconstruct": (("dims", *DECODED, *_SOURCE), Drawing),
}
COMMANDS = tuple(_MADE_BY)


def check_record(record: Record) -> None:
    """Raises `RecordError` for a record of an unknown command, without what that needs, or with a
    value that it cannot have."""
    command, file = record["command"], record["file"]
    if command not in COMMANDS:
        raise RecordError(
            f"{file!r} was made by {command!r}, not one of {', '.join(COMMANDS)}."
            f"{nearest(str(command), COMMANDS)}"
        )
    needed, request = _MADE_BY[command]
    if record.get("system") == latent_pictures.SYSTEM:
        needed, request = _of_latent(record)
    check_name(file)
    if MARK in record and command != "generate":
        raise RecordError(f"the record of {file!r} has a watermark, which '{command}' makes none")
    missing = [name for name in (*_NEEDED, *needed) if name not in record]
    if missing:
        raise RecordError(f"the record of {file!r} lacks {', '.join(missing)}")
    for name, value in record.items():
        expected, fits = _FIELDS.get(name, ("", lambda value: True))
        if not fits(value):
            shown = repr(value)
            shown = shown if len(shown) < 80 else f"{shown[:80]}..."
            raise RecordError(f"the record of {file!r} has {name}={shown}, expected {expected}")
    for one in ("edit", "clip"):
        if len(record.get(f"{one}s", ())) != len(record.get(f"{one}_fingerprints", ())):
            raise RecordError(f"the record of {file!r} has not one fingerprint for each {one}")
    if request is Sampling and "prompt" in record:
        request = Drawing
    if command not in ("generate", "edit", "guide"):  # of the rest these commands have their own
        record = {name: record[name] for name in (*DECODED, "file")}
    request_of(request, record)


def _of_latent(record: Record) -> tuple[tuple[str, ...], type[Request]]:
    """What a record of a latent model needs, and the request that it holds."""
    command, method = record["command"], record.get("method")
    if command not in ("generate", "edit"):
        raise RecordError(f"{record['file']!r} was made by {command!r}, which no latent model does")
    if command == "edit" and method not in latent_pictures.METHODS:
        raise RecordError(
            f"the record of {record['file']!r} has method={method!r}, expected one of "
            f"{', '.join(latent_pictures.METHODS)}"
        )
    texts = ["prompt", "negative"]
    if method in ("p2p", "ledits"):
        texts.append("source_prompt")
    sources = () if command == "generate" else (*_SOURCE, *(_SECOND if method == "inpaint" else ()))
    return (*texts, *sources), latent_pictures.request_type(record)


def _is_whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_squares(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST_FACES
        and all(isinstance(one, list) and len(one) == 4 for one in value)
        and all(_is_number(number) for one in value for number in one)
        and all(any(one[2:]) for one in value)
    )


def _one_of(names: Sequence[str]) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(names)}", lambda value: value in names


MOST_FACES = 1000
_TEXT = ("a text", _is_text)
_NUMBER = ("a finite number", _is_number)
# What values of fields are beside those of a request, which are its own to check.
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(
        ("model", "model_fingerprint", MARK, "prompt", "source_text", "target_text"), _TEXT
    ),
    **dict.fromkeys((*_SOURCE, *_SECOND), _TEXT),
    **dict.fromkeys(
        ("prompts", "edits", "edit_fingerprints", "clips", "clip_fingerprints"),
        ("a list of texts", _are_texts),
    ),
    **dict.fromkeys(("theta", "strength"), _NUMBER),
    "eta": ("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    "seed": ("a whole number from 0 to 2^63 - 1", _is_whole(0, 2**63 - 1)),
    "index": ("a whole number from 0 to 2^31 - 1", _is_whole(0, 2**31 - 1)),
    **dict.fromkeys(
        ("negative", "source_prompt"),
        ("a text or none", lambda value: value is None or _is_text(value)),
    ),
    "regions": ("regions of a layout", are_entries),
    "blend": (
        "two texts or none",
        lambda value: value is None or (_are_texts(value) and len(value) == 2),
    ),
    "weights": (
        "a number for each word",
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    ),
    "system": _one_of((latent_pictures.SYSTEM,)),
    "class": ("a whole number of at least 0", _is_whole(0, 2**31 - 1)),
    "size": ("a whole number of at least 1", _is_whole(1, 2**31 - 1)),
    "dims": ("a whole number of at least 0", _is_whole(0, 2**31 - 1)),
    "dtype": _one_of(DTYPES),
    "latents": _one_of(("slerp", "fixed")),
    "embedding": _one_of(("prior", "text", "none")),
    SQUARES: ("squares of faces, four finite numbers each", _are_squares),
    "inverted": ("true or false", lambda value: isinstance(value, bool)),
}
