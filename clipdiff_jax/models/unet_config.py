"""What a UNet is: the options of all the published families, and the checks of their values."""

from dataclasses import dataclass, field
from typing import Literal

from clipdiff_jax.core.config import LATER


@dataclass(frozen=True)
class UNetConfig:
    """Describes a `UNet`.

    Attributes:
      in_channels: channels of the input image (with a low-resolution image concatenated, if any).
      out_channels: 3, or 6 when the network also predicts the variance.
      channels: width of each resolution level, finest first.
      blocks: residual blocks per level on the way down (one more on the way up); one number or one
        per level.
      attention_levels: levels (0 = finest) whose residual blocks are followed by self-attention.
      middle_attention: attention between the two residual blocks of the middle.
      head_width: channels per attention head; None for a single head.
      attention: what attention is. "pixels": of the pixels to each other, with context tokens as
        further keys. "cross": spatial transformers, in which pixels look at each other and then at
        the context (Rombach et al. 2022); their sides may be odd, see `stride`.
      heads: attention heads at every level, or of each level, in place of `head_width`; those of
        the middle are the last level's.
      linear_projection: other libraries' files of the network hold the dense layers around those
        blocks as matrices, rather than as 1x1 convolutions; of matter to such files alone.
      transformer_depth: blocks of each spatial transformer, at every level or of each; those of
        the middle are the last level's.
      patch: side of the squares of pixels folded into channels before the first convolution.
      input_skip: the last convolution also sees the input, scaled by a function of time. A network
        with patches would otherwise spend its first thousands of steps on learning to pass all of
        a patch's noise through.
      refine_channels: width of a last stage at the full resolution, in which a network with patches
        sees its output and its input pixel by pixel, across the patches' borders; None for none.
      norm_groups, norm_eps: of every GroupNorm (DDPM 1e-6, guided-diffusion 1e-5).
      sinusoid_width: of the sinusoid that the time embedding is made from; None for the first
        level's.
      time_width: width of the time embedding; None for four times the first level's.
      time_order, time_shift: convention of the sinusoid, see `layers.sinusoid`.
      scale_shift: time enters as scale and shift of the second norm, rather than by addition.
      residual_resampling: resample inside a residual block rather than by a convolution.
      downsample_padding: "right" (DDPM) or "both" (guided-diffusion), for convolutional resampling.
      dropout: of the residual blocks.
      num_classes: size of a class embedding added to the time embedding; None for none.
      pooled_width: width of a vector (such as a CLIP image embedding) added to the time embedding.
      pooled_projection: that vector passes a dense layer first; without, it is added as it is, and
        has the width of the time embedding.
      time_ids: how many numbers (sizes and crops of pictures) enter beside the pooled vector: their
        sinusoids of `time_ids_width` are joined to it, and an MLP of both is added to the time
        embedding (SDXL, Podell et al. 2023, section 2.2); None for none.
      context_width: width of the tokens that attention sees beside the pixels; None for none.
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    in_channels: int = 3
    out_channels: int = 3
    channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    blocks: int | tuple[int, ...] = 2
    attention_levels: tuple[int, ...] = (4,)
    middle_attention: bool = True
    head_width: int | None = None
    heads: int | tuple[int, ...] | None = None
    patch: int = 1
    input_skip: bool = False
    refine_channels: int | None = field(default=None, metadata=LATER)
    norm_groups: int = 32
    norm_eps: float = 1e-6
    sinusoid_width: int | None = None
    time_width: int | None = None
    time_order: Literal["sin_cos", "cos_sin"] = "sin_cos"
    time_shift: float = 1.0
    scale_shift: bool = False
    residual_resampling: bool = False
    downsample_padding: Literal["right", "both"] = "right"
    dropout: float = 0.0
    num_classes: int | None = None
    pooled_width: int | None = None
    pooled_projection: bool = True
    context_width: int | None = None
    remat: bool = False
    attention: Literal["pixels", "cross"] = field(default="pixels", metadata=LATER)
    transformer_depth: int | tuple[int, ...] = field(default=1, metadata=LATER)
    linear_projection: bool = field(default=False, metadata=LATER)
    time_ids: int | None = field(default=None, metadata=LATER)
    time_ids_width: int = field(default=256, metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("blocks", "heads", "transformer_depth"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(self.channels):
                raise ValueError(
                    f"{name} has {len(value)} entries for {len(self.channels)} levels of channels"
                )
        for width in self.channels:
            if width % self.norm_groups:
                raise ValueError(f"{width} channels do not divide into {self.norm_groups} groups")
        for level in self.attention_levels:
            if not 0 <= level < len(self.channels):
                raise ValueError(
                    f"attention level {level} does not exist: levels 0 .. {len(self.channels) - 1}"
                )
        if self.heads is not None and self.head_width is not None:
            raise ValueError(
                f"heads {self.heads} and head_width {self.head_width} are both given, expected one"
            )
        if self.refine_channels is not None and (self.patch == 1 or self.refine_channels < 1):
            raise ValueError(
                f"refine_channels is {self.refine_channels} with patch {self.patch}: expected a "
                "width above 0 and patches whose borders it is to smooth"
            )
        if not self.pooled_projection and self.pooled_width != self.embedding_width:
            raise ValueError(
                f"pooled_width is {self.pooled_width}: without a projection it must be that of the "
                f"time embedding, {self.embedding_width}"
            )
        self._check_transformers()

    def _check_transformers(self) -> None:
        if self.attention not in ("pixels", "cross"):
            raise ValueError(f"attention is {self.attention!r}, expected 'pixels' or 'cross'")
        if self.attention == "cross":
            if self.context_width is None:
                raise ValueError("attention 'cross' needs a context_width, got None")
            if self.time_ids is not None and (self.pooled_width is None or self.time_ids < 1):
                raise ValueError(
                    f"time_ids is {self.time_ids} with pooled_width {self.pooled_width}: expected "
                    "at least 1, and a pooled vector that they are joined to"
                )
            levels = [*self.attention_levels, *([-1] if self.middle_attention else [])]
            for level in levels:
                self.heads_of(self.channels[level], level)
                if self.depth_of(level) < 1:
                    raise ValueError(
                        f"transformer_depth is {self.transformer_depth}, expected at least 1"
                    )
        elif self.transformer_depth != 1 or self.time_ids is not None:
            raise ValueError(
                f"transformer_depth {self.transformer_depth} and time_ids {self.time_ids} are of "
                "attention 'cross' alone"
            )

    @property
    def embedding_width(self) -> int:
        """Of the embedding of time, class and pooled vector."""
        return self.time_width or 4 * self.channels[0]

    @property
    def blocks_per_level(self) -> tuple[int, ...]:
        if isinstance(self.blocks, tuple):
            return self.blocks
        return (self.blocks,) * len(self.channels)

    def heads_of(self, channels: int, level: int = -1) -> int:
        """Attention heads at a level of `channels`; `ValueError` where they do not divide."""
        heads = self.heads[level] if isinstance(self.heads, tuple) else self.heads
        if heads is not None:
            if heads < 1 or channels % heads:
                raise ValueError(f"{channels} channels do not divide into {heads} heads")
            return heads
        width = self.head_width or channels
        if channels % width:
            raise ValueError(f"{channels} channels do not divide into heads of {width}")
        return channels // width

    def depth_of(self, level: int) -> int:
        """Blocks of a spatial transformer at a level."""
        depth = self.transformer_depth
        return depth[level] if isinstance(depth, tuple) else depth

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this many pixels.

        Where convolutions halve a side, rounding up, what is enlarged again is cut to the size that
        it had, so any will do.
        """
        rounds_up = not self.residual_resampling and self.downsample_padding == "both"
        if self.attention == "cross" and rounds_up:
            return self.patch
        return self.patch * 2 ** (len(self.channels) - 1)
