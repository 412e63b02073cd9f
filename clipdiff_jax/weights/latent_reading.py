"""What may be asked of a latent diffusion model that is read, and what its files do not tell."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.weights.params import on_device


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA file and how strongly it acts: W + strength (alpha / rank) up down."""

    path: Path
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise ValueError(f"the strength of '{self.path}' is {self.strength}, expected a number")


@dataclass(frozen=True, kw_only=True)
class LatentReading:
    """What is asked of a layout of latent diffusion.

    Attributes:
      prediction: what the network predicts, in place of what the source says. Of a single file of
        Stable Diffusion 2 nothing tells: None takes "v".
      heads: of the UNet's attention, at every level or of each, for a file of an unpublished size;
        None where they are as published.
      text_heads: of the text towers' attention, for such a file; None for heads of 64 channels.
      image_size: side of the pictures in pixels, of a single file; None for the published one.
      tokenizers: of the text towers, in place of the source's own; one will do for both, with each
        tower's padding. A single file has none.
      autoencoder: another one, in its diffusers folder or a file of it alone.
      preview: a tiny autoencoder (TAESD), see `layouts.latent_preview`.
      loras: what is added to the networks.
      place: (path, host array) -> what is kept of a parameter.
    """

    prediction: Literal["eps", "v"] | None = None
    heads: int | tuple[int, ...] | None = None
    text_heads: int | None = None
    image_size: int | None = None
    tokenizers: tuple[Tokenizer, ...] = ()
    autoencoder: Path | None = None
    preview: Path | None = None
    loras: tuple[Lora, ...] = ()
    place: Callable[[str, np.ndarray], Any] = on_device

    def __post_init__(self) -> None:
        if self.prediction not in (None, "eps", "v"):
            raise ValueError(f"prediction is {self.prediction!r}, expected 'eps' or 'v'")
