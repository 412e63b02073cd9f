"""What a bare file of a CLIP's weights does not tell of its model, and its user has to.

OpenAI's releases                     the defaults
OpenCLIP's, trained with `*-quickgelu`    the defaults, and heads where they are not 64 wide
OpenCLIP's other models               activation="gelu", and heads where they are not 64 wide
"""

from dataclasses import dataclass

from clipdiff_jax.models.transformer import Activation


@dataclass(frozen=True, kw_only=True)
class ClipFlags:
    """What is to be said of a file.

    Attributes:
      activation: of both transformers' MLPs.
      vision_heads, text_heads: of every attention; None for heads of 64 channels.
      part: which of several state dicts in the file, see `weights.state_dicts`.
    """

    activation: Activation = "quick_gelu"
    vision_heads: int | None = None
    text_heads: int | None = None
    part: str | None = None

    def __post_init__(self) -> None:
        for name in ("vision_heads", "text_heads"):
            heads = getattr(self, name)
            if heads is not None and heads < 1:
                raise ValueError(f"{name} is {heads}, expected at least 1")
