"""Checks of foreign `config.json`s: what a document says must be what our networks can be."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipdiff_jax.core.config import nearest
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.errors import WeightsError

_MAX_TEXT = 2000  # characters of another's message


def check_class(document: Mapping[str, Any], name: str) -> None:
    """Raises `WeightsError` where the document describes another class than `name`."""
    found = document.get("_class_name")
    if found != name:
        raise WeightsError(f"config.json describes {found!r}, expected '{name}'")


def check_options(
    document: Mapping[str, Any],
    supported: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Raises `WeightsError` for an option whose value is not the supported one.

    An option that is left out has its value in `defaults`, or the supported one where it has none.
    """
    for name, wanted in supported.items():
        value = document.get(name, (defaults or {}).get(name, wanted))
        if value != wanted:
            raise WeightsError(f"config.json has {name} {value!r}, supported is {wanted!r}")


def sample_size(document: Mapping[str, Any]) -> int:
    """The side of a model's square images in pixels; `WeightsError` where there is no such one."""
    size = document.get("sample_size")
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        size = size[0]
    if not isinstance(size, int):
        raise WeightsError(f"config.json has sample_size {size!r}, expected the side of an image")
    return size


def learns_variance(unet: UNetConfig, channels: int | None, path: Path) -> bool:
    """Whether a network of pictures alone has the variance among its outputs, by its channels.

    channels: of the pictures, where the caller says it.

    A super-resolution network takes the low-resolution picture beside x_t: 6 channels in, and 3
    out, or 6 with the variance. Raises `WeightsError` that names it such where the channels can
    mean that and the caller does not say otherwise.
    """
    taken, given = unet.in_channels, unet.out_channels
    if channels is not None and channels != taken:
        raise WeightsError(
            f"'{path}' has a network of {taken} channels in and {given} out, which does not fit "
            f"pictures of {channels} channels"
        )
    if 2 * given == taken or (channels is None and taken == given and taken in (2, 6)):
        meant = "" if 2 * given == taken else f" (GuidedFlags(channels={taken}) where it is one)"
        raise WeightsError(
            f"'{path}' is an upsampler: its network takes {taken} channels, a low-resolution "
            f"picture beside x_t, and gives {given}. `load_diffusion` is for networks of x_t alone"
            f"{meant}"
        )
    if given not in (taken, 2 * taken):
        raise WeightsError(
            f"'{path}' has a network of {taken} channels in and {given} out, expected {taken} or "
            f"{2 * taken} (with the variance) out"
        )
    return given == 2 * taken


def log_guess(logger: logging.Logger, path: Path, config: DiffusionConfig) -> None:
    """Says in the log what a file of weights alone leaves open, and what it is taken to be."""
    logger.warning(
        "nothing in '%s' tells its schedule, target, heads and image size: taking %s, %s and %d "
        "px, as in the published models; give `flags` (GuidedFlags) for others",
        path, config.schedule, config.prediction, config.image_size,
    )  # fmt: skip


@contextmanager
def untrusted(path: Path) -> Iterator[None]:
    """The last line where files of others are read: whatever a reader stumbles over becomes a
    `WeightsError` that names `path`. What is known to go wrong is said by who reads it."""
    try:
        yield
    except OSError:
        raise
    except WeightsError as error:
        if str(path) not in str(error):
            error.args = (f"in '{path}': {error}",)
        raise
    except ValueError as error:
        said = str(error)[:_MAX_TEXT]
        where = "" if str(path) in said else f"in '{path}': "
        raise WeightsError(f"{where}{said}") from error
    except Exception as error:
        kind = type(error).__name__
        raise WeightsError(f"'{path}' cannot be read: {kind} {str(error)[:_MAX_TEXT]}") from error


@contextmanager
def named(folder: Path) -> Iterator[None]:
    """Adds the folder to the message of a `ValueError` that does not name it."""
    try:
        yield
    except ValueError as error:
        if str(folder) in str(error):
            raise
        raise WeightsError(f"in '{folder}': {error}") from error


def check_blocks(
    down: Sequence[str], up: Sequence[str], known_down: Sequence[str], known_up: Sequence[str]
) -> None:
    """Raises `WeightsError` for an unknown block type and for halves that are no mirror images.

    known_down, known_up: the types there are; equal places mirror each other.
    """
    for blocks, known in ((down, known_down), (up, known_up)):
        for block in blocks:
            if block not in known:
                raise WeightsError(
                    f"config.json has the block type '{block}', not one of {', '.join(known)}."
                    f"{nearest(block, known)}"
                )
    mirrored = [known_up[known_down.index(block)] for block in reversed(down)]
    if mirrored != list(up):
        raise WeightsError(f"up_block_types {list(up)} do not mirror down_block_types {list(down)}")
