"""Pictures as files: their pixels, and what those say of themselves. Every picture goes this way.

What is said besides never costs a picture: one that cannot be signed is saved unsigned, and a
warning says so.
"""

import dataclasses
import io
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from clipdiff_jax.pictures.labels import PNG_CHUNK, Label, packet, pixels_digest
from clipdiff_jax.pictures.signing import Made, ProvenanceError, Signer

logger = logging.getLogger(__name__)
Format = Literal["png", "jpg", "webp"]
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # by ending
QUALITY = 95  # of the formats that lose some
_LONGEST = {"JPEG": 65_504}  # bytes of XMP
_WIDEST = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}  # pixels along a side


@dataclass(frozen=True)
class Saving:
    """What pictures that commands make say of themselves.

    Attributes:
      label: that a model made them, see `pictures.labels`.
      record: how, so that they can be made again, see `pictures.records`.
      publish_prompt: whether a manifest repeats the prompt.
      signer: who signs a manifest; None writes none.
      format: of pictures and grids; but PNG, all lose a little.
    """

    label: bool = True
    record: bool = True
    publish_prompt: bool = False
    signer: Signer | None = None
    format: Format = "png"


PLAIN = Saving()


def encoded(
    pixels: UInt8[np.ndarray, "h w 3"],
    kind: str,
    *,
    made: Made | None = None,
    labelled: bool = True,
    signer: Signer | None = None,
    texts: Mapping[str, str] | None = None,
) -> bytes:
    """A picture as a file; kind: "PNG", "JPEG" or "WEBP".

    made: what it is, which a label says and a manifest; None says nothing. labelled: whether there
    is a label. signer: who signs a manifest. texts: of ours, by name; a JPEG has no place for long
    ones, and is written without them.
    """
    picture = Image.fromarray(pixels)
    label = Label(made.source_type) if made is not None and labelled else None
    if texts and len(packet(label, texts).encode()) > _LONGEST.get(kind, math.inf):
        title = "a picture" if made is None else f"'{made.title}'"
        logger.warning("%s says not how it was made: that is too long for a %s", title, kind)
        texts = None
    if made is not None and signer is not None:
        signed = None if label is None else _with_digest(label, picture, kind)
        try:
            return signer.sign(written(picture, kind, signed, texts), kind, made)
        except ProvenanceError as error:
            logger.warning("'%s' is saved without a manifest: %s", made.title, error)
    return written(picture, kind, label, texts)


def _with_digest(label: Label, picture: Image.Image, kind: str) -> Label:
    """The label with the digest of the pixels that will be read: formats but PNG change them."""
    read = picture
    if kind != "PNG":
        read = Image.open(io.BytesIO(written(picture, kind)))
    return dataclasses.replace(label, signed_pixels=pixels_digest(read))


def holds(kind: str, picture: Image.Image) -> bool:
    """Whether a format can hold a picture of this size."""
    return max(picture.size) <= _WIDEST[kind]


def written(
    picture: Image.Image,
    kind: str,
    label: Label | None = None,
    texts: Mapping[str, str] | None = None,
) -> bytes:
    """A picture as a file of a kind, with a label and texts."""
    options: dict[str, Any] = {}
    if kind == "PNG":
        described = PngInfo()
        for name, text in (texts or {}).items():
            described.add_itxt(name, text)
        if label is not None:
            described.add_itxt(PNG_CHUNK, label.packet())
        options["pnginfo"] = described
    else:
        options["quality"] = QUALITY
        if label is not None or texts:
            options["xmp"] = packet(label, texts).encode()
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
