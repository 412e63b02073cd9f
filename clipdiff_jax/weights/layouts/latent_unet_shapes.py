"""The UNet of a latent diffusion file of the original names, read off its tensors' shapes."""

import logging
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from clipdiff_jax.models.unet_config import UNetConfig
from clipdiff_jax.weights.errors import WeightsError

logger = logging.getLogger(__name__)


def read_shapes(
    tensors: Mapping[str, np.ndarray],
    pooled_width: int | None,
    heads: int | tuple[int, ...] | None = None,
    is_sd1: bool = False,
) -> UNetConfig:
    """The network of a file's tensors, which have the original's names (without a prefix).

    heads: of every level or each; None for those of the published models, see `published_heads`.
    is_sd1: whether it is a network of Stable Diffusion 1.

    Raises `WeightsError` that names what is missing, and for channels that do not divide so.
    """
    shape = _Shapes(tensors)
    channels, depths, blocks, at = [0], [0], [0], 1
    while f"input_blocks.{at}.0.op.weight" in tensors or shape.has(f"input_blocks.{at}.0."):
        if f"input_blocks.{at}.0.op.weight" in tensors:
            channels, depths, blocks = [*channels, 0], [*depths, 0], [*blocks, 0]
        else:
            channels[-1] = shape.of(f"input_blocks.{at}.0.out_layers.3.weight")[0]
            depths[-1] = max(depths[-1], shape.depth(f"input_blocks.{at}.1"))
            blocks[-1] += 1
        at += 1
    levels_attended = [level for level, depth in enumerate(depths) if depth]
    middle = shape.depth("middle_block.1")
    if not levels_attended or not middle:
        raise WeightsError("the UNet has no spatial transformers under 'input_blocks' and 'middle'")
    depths = [depth or 1 for depth in (*depths[:-1], depths[-1] or middle)]
    if depths[-1] != middle:
        raise WeightsError(
            f"the UNet's middle has {middle} transformer blocks and its last level {depths[-1]}, "
            "expected as many"
        )
    first = next(f"input_blocks.{i}.1" for i in range(1, at) if shape.depth(f"input_blocks.{i}.1"))
    context = shape.of(f"{first}.transformer_blocks.0.attn2.to_k.weight")[1]
    base, width = channels[0], shape.of("time_embed.0.weight")[0]
    numbers, numbers_width = _added_shapes(shape, pooled_width)
    return UNetConfig(
        in_channels=shape.of("input_blocks.0.0.weight")[1],
        out_channels=shape.of("out.2.weight")[0],
        channels=tuple(channels),
        blocks=blocks[0] if len(set(blocks)) == 1 else tuple(blocks),
        attention_levels=tuple(levels_attended),
        heads=published_heads(channels, is_sd1) if heads is None else heads,
        norm_eps=1e-5,
        time_width=width if width != 4 * base else None,
        time_order="cos_sin",
        time_shift=0.0,
        downsample_padding="both",
        pooled_width=None if numbers is None else pooled_width,
        context_width=context,
        attention="cross",
        linear_projection=len(shape.of(f"{first}.proj_in.weight")) == 2,
        transformer_depth=depths[0] if len(set(depths)) == 1 else tuple(depths),
        time_ids=numbers,
        time_ids_width=numbers_width,
    )


def published_heads(channels: Sequence[int], is_sd1: bool) -> int | tuple[int, ...]:
    """The heads of each level as published: 8 everywhere in Stable Diffusion 1, and heads of 64
    channels in the later ones.

    Nothing in a file tells them. Channels that do not divide so are no published model's: there it
    says what it takes.
    """
    if is_sd1 and all(width % 8 == 0 for width in channels):
        return 8
    if not is_sd1 and all(width % 64 == 0 for width in channels):
        return tuple(width // 64 for width in channels)
    heads = tuple(width // math.gcd(64, width) for width in channels)
    logger.warning(
        "nothing in the file tells the UNet's heads, and levels of %s channels are no published "
        "model's: taking %s heads; give `heads` for others", list(channels), list(heads),
    )  # fmt: skip
    return heads


class _Shapes:
    """Shapes by name; `WeightsError` for one that is missing."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.tensors = tensors

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    def of(self, name: str) -> tuple[int, ...]:
        if name not in self.tensors:
            raise WeightsError(f"the UNet lacks '{name}'")
        shape = tuple(self.tensors[name].shape)
        if len(shape) not in (2, 4):
            raise WeightsError(f"the UNet has '{name}' of shape {shape}, expected 2 or 4 axes")
        return shape

    def depth(self, transformer: str) -> int:
        """How many blocks a spatial transformer has; 0 where there is none."""
        pattern = re.compile(re.escape(transformer) + r"\.transformer_blocks\.(\d+)\.")
        found = [match[1] for name in self.tensors if (match := pattern.match(name))]
        return len(set(found))


def _added_shapes(shape: _Shapes, pooled_width: int | None) -> tuple[int | None, int]:
    if not shape.has("label_emb."):
        return None, 256
    width = shape.of("label_emb.0.0.weight")[1] - (pooled_width or 0)
    if pooled_width is None or width < 1 or width % 6:
        raise WeightsError(
            f"the UNet's 'label_emb' takes {width + (pooled_width or 0)} numbers, expected the "
            f"pooled embedding's {pooled_width} and six sinusoids, as in SDXL"
        )
    return 6, width // 6
