"""Data of which only shapes matter: one grey picture with a caption, over and over.

For programs that are compiled and not run: neither the data of a recipe nor what was made of it
has to be there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clipdiff_jax.data.tokenize import Tokenizer, train_tokenizer


class Blank:
    """A `DataSource` of grey pictures of one size, all with one caption."""

    fingerprint = "blank"

    def __init__(
        self,
        size: int = 8,
        *,
        embedding: int | None = None,
        latent: tuple[int, int, int] | None = None,
        attributes: Sequence[str] = (),
    ) -> None:
        """embedding: of how many numbers there is one beside each picture. latent: the shape of
        what stands in the picture's place, if anything does. attributes: names."""
        self._example: dict[str, Any] = {
            "image": np.full((size, size, 3), 127, np.uint8),
            "captions": ["a face"],
            "attributes": dict.fromkeys(attributes, "any"),
        }
        if latent is not None:
            del self._example["image"]
            self._example["latent"] = np.zeros(latent, np.float32)
        if embedding is not None:
            self._example["embedding"] = np.zeros(embedding, np.float32)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._example


def blank_tokenizer(context: int) -> Tokenizer:
    """A tokenizer of so many tokens, to give ids their shape."""
    return train_tokenizer(["a face"], 520, context)
