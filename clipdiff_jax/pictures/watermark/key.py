"""The key of a watermark: a secret, and where in the noise its pattern is; kept in a file."""

import dataclasses
import hashlib
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

from clipdiff_jax.core.checks import check_fields, checked_options, one_of
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import json_bytes, writing
from clipdiff_jax.core.json_files import read_json
from clipdiff_jax.core.request import option
from clipdiff_jax.diffusion.tree_ring import (
    SHARE,
    Band,
    Direction,
    Pattern,
    check_band,
    direction_of,
)

logger = logging.getLogger(__name__)
SECRET = 32  # bytes
_KIND = "clipdiff_jax watermark key"
_MOST = 2**16  # bytes of a key file


class Home(NamedTuple):
    """Where a mark is if its key does not say.

    channel: None is the mean of all. radius: a share of the side. hollow: the share of the radius
    up to which frequencies are left alone.
    """

    channel: int | None
    radius: float
    hollow: float


# JPEG keeps little but the mean of the channels, and the lowest frequencies say what is drawn.
PIXELS = Home(None, 13 / 64, 0.4)
LATENTS = Home(-1, SHARE, 0.0)  # as published


@dataclass(frozen=True, kw_only=True)
class Key:
    """A watermark's secret, and where in the noise it is.

    Attributes:
      secret: 32 bytes; who has them finds the mark, and can put it anywhere.
      pattern: "rand" is strongest, and its p-value says whose mark it is; "ring" outlives mirroring
        and small turns, but tells marked from unmarked rather than key from key.
      channel: of the noise, from 0, or from the end, -1; None is the last of latents, and of pixels
        the mean of all, which is what JPEG keeps.
      radius: the highest frequency, in cycles a picture; None is 13 of 64 of pixels, 10 of latents.
      inner: frequencies up to it are left alone, and with them what is drawn; None is 0.4 of the
        radius of pixels, and 0 of latents.
      steps: of generation and detection; None is any number of the first and 25 of the second.
      size: side of the pictures in pixels, before upsamplers; None is the model's.

    Raises `ValueError` for a secret of another length, and for numbers out of range.
    """

    secret: bytes = field(repr=False)
    pattern: Pattern = "rand"
    channel: int | None = option(None, "of the noise; the last of latents, the mean of pixels")
    radius: int | None = option(
        None, "highest frequency, in cycles a picture; 13 of 64, of latents 10", low=1
    )
    inner: int | None = option(None, "frequencies up to it are left alone", low=0)
    steps: int | None = option(
        None, "of generation and detection, if they are to be the same", low=1
    )
    size: int | None = option(None, "side of the pictures in pixels; the model's", low=1)

    def __post_init__(self) -> None:
        check_fields(self)
        _checked_secret(self.secret)
        one_of("pattern", self.pattern, get_args(Pattern))

    @classmethod
    def new(cls, **options: Any) -> "Key":
        """A key with a secret from the system's own randomness; options: the other fields."""
        return cls(secret=secrets.token_bytes(SECRET), **options)

    @classmethod
    def load(cls, path: str | Path) -> "Key":
        """The key of a file. Warns where others may read it.

        Raises `ValueError` that names the file where it is no key, or another's than it should be.
        """
        path = Path(path).expanduser()
        found = read_json(path, _MOST)
        if not isinstance(found, dict) or found.pop("kind", None) != _KIND:
            raise ValueError(f"'{path}' is no watermark key: `clipdiff watermark new` writes one")
        if os.name == "posix" and path.stat().st_mode & 0o077:
            logger.warning(
                "others on this machine may read the watermark key '%s': chmod 600 '%s'", path, path
            )
        names = [one.name for one in dataclasses.fields(cls)]
        for name in found:
            if name not in names:
                raise ValueError(f"'{path}' has a field '{name}'.{nearest(name, names)}")
        secret, pattern = found.pop("secret", None), found.pop("pattern", "rand")
        try:
            numbers = checked_options(cls, found)
            whole = bytes.fromhex(secret) if isinstance(secret, str) else b""
            _checked_secret(whole)
            return cls(
                secret=whole, pattern=one_of("pattern", pattern, get_args(Pattern)), **numbers
            )
        except ValueError as error:
            raise ValueError(f"'{path}' is no watermark key: {error}") from error

    def save(self, path: str | Path) -> None:
        """Writes the key for its owner's eyes alone (mode 0600). Nothing is overwritten.

        Raises `FileExistsError` where there is a file.
        """
        path = Path(path).expanduser()
        values = {"kind": _KIND, **dataclasses.asdict(self), "secret": self.secret.hex()}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError as error:
                raise FileExistsError(
                    f"'{path}' exists: a key that pictures were marked with must not be lost"
                ) from error
            with os.fdopen(handle, "wb") as file:
                file.write(json_bytes(values))

    @property
    def fingerprint(self) -> str:
        """What records say of the key: neither the secret nor the pattern follows from it."""
        header = (
            f"{self.pattern} {self.channel} {self.radius} {self.inner} {self.steps} {self.size}"
        )
        told = hashlib.sha256(b"clipdiff_jax watermark\0" + self.secret + header.encode())
        return told.hexdigest()[:16]

    def place(self, shape: tuple[int, int, int], home: Home) -> tuple[Direction, Band]:
        """Where among the channels, and at which frequencies, the mark is in noise of this height,
        width and channels.

        home: where they are if the key does not say. Raises `ValueError` for what the noise has
        not.
        """
        height, width, channels = shape
        channel = home.channel if self.channel is None else self.channel
        if channel is not None and not -channels <= channel < channels:
            raise ValueError(
                f"channel={channel} of the watermark key, expected {-channels} to {channels - 1}: "
                f"the noise of this model has {channels} channels"
            )
        if self.radius is None:
            radius = max(1, round(home.radius * min(height, width)))
        else:
            radius = self.radius
        band = Band(radius, int(home.hollow * radius) if self.inner is None else self.inner)
        check_band(band, height, width)
        return direction_of(channel, channels), band


def _checked_secret(secret: bytes) -> bytes:
    """The secret, which no message repeats."""
    if len(secret) != SECRET:
        raise ValueError(f"the secret must be {SECRET} bytes, here are {len(secret)}")
    return secret
