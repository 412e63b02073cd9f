"""Pictures one after another as an animated file."""

import io
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipdiff_jax.pictures.labels import Label

Format = Literal["gif", "webp"]
FORMATS = get_args(Format)


def animation(
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    kind: Format,
    *,
    duration: int = 120,
    back: bool = True,
    label: Label | None = None,
) -> bytes:
    """The file of an endless animation of at least two pictures.

    duration: of a picture, in milliseconds; GIF counts in tens of them. back: from the last picture
    back to the first, rather than to the first at once. label: what a WebP says of itself; GIF has
    no place for it. Raises `ValueError` for fewer than two
    pictures and for a duration that is not positive.
    """
    if len(images) < 2:
        raise ValueError(f"an animation needs at least 2 pictures, got {len(images)}")
    if duration < 1:
        raise ValueError(f"duration must be at least 1 millisecond, got {duration}")
    order = [*images, *images[-2:0:-1]] if back else list(images)
    frames = [Image.fromarray(image) for image in order]
    buffer = io.BytesIO()
    more: dict[str, Any] = {"quality": 90} if kind == "webp" else {}
    if kind == "webp" and label is not None:
        more["xmp"] = label.packet().encode()
    frames[0].save(
        buffer, kind, save_all=True, append_images=frames[1:], duration=duration, loop=0, **more
    )
    return buffer.getvalue()
