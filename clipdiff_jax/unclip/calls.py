"""What functions of an unCLIP ask of it, without naming the class that has them as methods."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array


@runtime_checkable
class Calls(Protocol):
    """The calls of `unclip.model.UnClip`."""

    part: Callable[[str], Any]
    prior_name: Callable[..., str]
    guidance_of: Callable[..., Array]
    encode_texts: Callable[..., Any]
    encode_with_empty: Callable[..., Any]
    embed_images: Callable[..., Array]
    embed_prompts: Callable[..., Array]
    decode: Callable[..., Array]
    invert: Callable[..., Array]
    small: Callable[..., Array]
    upsample_all: Callable[..., Array]
