"""The UNet of every pixel diffusion model here: one network, described by one config.

The options cover the published families: DDPM (Ho et al. 2020; CelebA-HQ 256), guided-diffusion
(Dhariwal & Nichol 2021: scale-shift norm, residual resampling, fixed head width), and the decoders
of unCLIP (Ramesh et al. 2022: extra conditioning added to the time embedding, context tokens that
attention sees beside the pixels). A space-to-depth stem makes small models cheap on small machines.

Time is an int index array [B]; the network knows no noise schedule.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, Num

from clipdiff_jax.core.config import LATER
from clipdiff_jax.models.attention import attend
from clipdiff_jax.models.layers import (
    Downsample,
    Dtype,
    TimeEmbedding,
    Upsample,
    average_pool,
    depth_to_space,
    nearest_upsample,
    space_to_depth,
)

BottleneckShift = Callable[[Array, Array], Array]  # (h [B,H,W,C], embedding [B,E]) -> like h


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
      heads: attention heads at every level, in place of `head_width`.
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
    heads: int | None = None
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

    def __post_init__(self) -> None:
        if isinstance(self.blocks, tuple) and len(self.blocks) != len(self.channels):
            raise ValueError(
                f"blocks has {len(self.blocks)} entries for {len(self.channels)} levels of channels"
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

    @property
    def embedding_width(self) -> int:
        """Of the embedding of time, class and pooled vector."""
        return self.time_width or 4 * self.channels[0]

    @property
    def blocks_per_level(self) -> tuple[int, ...]:
        if isinstance(self.blocks, tuple):
            return self.blocks
        return (self.blocks,) * len(self.channels)

    def heads_of(self, channels: int) -> int:
        """Attention heads where there are `channels`; `ValueError` where they do not divide."""
        if self.heads is not None:
            if channels % self.heads:
                raise ValueError(f"{channels} channels do not divide into {self.heads} heads")
            return self.heads
        width = self.head_width or channels
        if channels % width:
            raise ValueError(f"{channels} channels do not divide into heads of {width}")
        return channels // width

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.channels) - 1)


class ResBlock(nn.Module):
    """norm-SiLU-conv, time (where `emb` is given), norm-SiLU-dropout-conv, plus the shortcut.

    The last convolution starts at zero, so the block starts as its shortcut.
    """

    config: UNetConfig
    channels: int
    resample: Literal["none", "down", "up"] = "none"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], emb: Float[Array, "b e"] | None, train: bool
    ) -> Float[Array, "b h2 w2 d"]:
        cfg = self.config
        h = nn.silu(_norm(cfg, self.dtype, "norm_0")(x))
        if self.resample != "none":
            change = average_pool if self.resample == "down" else nearest_upsample
            h, x = change(h), change(x)
        h = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_0")(h)
        norm, scale, shift = _norm(cfg, self.dtype, "norm_1"), 0.0, 0.0
        if emb is not None:
            width = 2 * self.channels if cfg.scale_shift else self.channels
            time = nn.Dense(width, dtype=self.dtype, name="time")(nn.silu(emb))[:, None, None, :]
            if cfg.scale_shift:
                scale, shift = jnp.split(time, 2, axis=-1)
            else:
                h = h + time
        h = norm(h) * (1 + scale) + shift
        h = nn.Dropout(cfg.dropout, deterministic=not train)(nn.silu(h))
        zeros = nn.initializers.zeros_init()
        h = nn.Conv(self.channels, (3, 3), kernel_init=zeros, dtype=self.dtype, name="conv_1")(h)
        if x.shape[-1] != self.channels:
            x = nn.Conv(self.channels, (1, 1), dtype=self.dtype, name="shortcut")(x)
        return x + h


class AttentionBlock(nn.Module):
    """Self-attention over the pixels; context tokens, where given, are further keys and values.

    The keys are ordered [context, pixels], as in Karlo's decoder.
    """

    config: UNetConfig
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        context: Float[Array, "b t d"] | None = None,
        context_mask: Bool[Array, "b t"] | None = None,
    ) -> Float[Array, "b h w c"]:
        batch, height, width, channels = x.shape
        count = self.config.heads_of(channels)

        def heads(tokens: Array, name: str) -> Array:
            out = nn.Dense(channels, dtype=self.dtype, name=name)(tokens)
            return rearrange(out, "b t (n d) -> b t n d", n=count)

        h = rearrange(_norm(self.config, self.dtype, "norm")(x), "b h w c -> b (h w) c")
        q, k, v = heads(h, "q"), heads(h, "k"), heads(h, "v")
        mask = None
        if context is not None:
            k = jnp.concatenate([heads(context, "context_k"), k], axis=1)
            v = jnp.concatenate([heads(context, "context_v"), v], axis=1)
            if context_mask is not None:
                pixels = jnp.ones((batch, height * width), bool)
                mask = jnp.concatenate([context_mask, pixels], axis=1)[:, None, None, :]
        h = rearrange(attend(q, k, v, mask=mask), "b t n d -> b t (n d)")
        zeros = nn.initializers.zeros_init()
        h = nn.Dense(channels, kernel_init=zeros, dtype=self.dtype, name="out")(h)
        return x + rearrange(h, "b (h w) c -> b h w c", h=height)


class Refinement(nn.Module):
    """What is added to the output at full resolution, from the unfolded features, the output so far
    and the input: two convolutions with time between them, and a last one that starts at zero."""

    config: UNetConfig
    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "b h w c"],
        output: Float[Array, "b h2 w2 o"],
        image: Float[Array, "b h2 w2 i"],
        emb: Float[Array, "b e"],
    ) -> Float[Array, "b h2 w2 o"]:
        cfg, dtype, width = self.config, self.dtype, self.width
        h = nn.Conv(width * cfg.patch**2, (1, 1), dtype=dtype, name="unfold")(features)
        h = jnp.concatenate([depth_to_space(h, cfg.patch), output, image.astype(dtype)], axis=-1)
        h = nn.Conv(width, (3, 3), dtype=dtype, name="conv_0")(h)
        time = nn.Dense(2 * width, dtype=dtype, name="time")(nn.silu(emb))[:, None, None, :]
        scale, shift = jnp.split(time, 2, axis=-1)
        h = nn.silu(h * (1 + scale) + shift)
        h = nn.silu(nn.Conv(width, (3, 3), dtype=dtype, name="conv_1")(h))
        zeros = nn.initializers.zeros_init()
        out = cfg.out_channels
        return nn.Conv(out, (3, 3), kernel_init=zeros, dtype=dtype, name="conv_out")(h)


class UNet(nn.Module):
    """The network: `UNet(config).apply({"params": p}, x, t, cond)`.

    `x` is [B, H, W, in_channels] with sides that are multiples of `config.stride`; `t` is [B].
    `cond` holds what the config asks for: `classes` [B], `pooled` [B, D], `context` [B, T, D] and
    `context_mask` [B, T] (True where a token counts; optional). What `bottleneck_shift` makes of
    the middle's output and the time embedding is added to the former. Returns
    [B, H, W, out_channels]. Dropout needs `train=True` and an rng named "dropout". Raises
    `ValueError` for a side that does not fit and for conditioning that is missing or unknown.
    """

    config: UNetConfig
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Num[Array, " b"],
        cond: dict[str, Any] | None = None,
        train: bool = False,
        bottleneck_shift: BottleneckShift | None = None,
    ) -> Float[Array, "b h w o"]:
        cfg, dtype = self.config, self.dtype
        cond = cond or {}
        _check_inputs(cfg, x, cond)
        block = nn.remat(ResBlock, static_argnums=(3,)) if cfg.remat else ResBlock
        attention = nn.remat(AttentionBlock) if cfg.remat else AttentionBlock
        context, context_mask = cond.get("context"), cond.get("context_mask")

        emb = _Embedding(cfg, dtype, name="embedding")(t, cond)
        image = x
        if cfg.patch > 1:
            x = space_to_depth(x, cfg.patch)
        x = x.astype(dtype)
        h = nn.Conv(cfg.channels[0], (3, 3), dtype=dtype, name="conv_in")(x)
        skips = [h]
        last = len(cfg.channels) - 1

        for level, width in enumerate(cfg.channels):
            for i in range(cfg.blocks_per_level[level]):
                name = f"down_{level}_res_{i}"
                h = block(cfg, width, dtype=dtype, name=name)(h, emb, train)
                if level in cfg.attention_levels:
                    name = f"down_{level}_attn_{i}"
                    h = attention(cfg, dtype, name=name)(h, context, context_mask)
                skips.append(h)
            if level < last:
                name = f"down_{level}_downsample"
                if cfg.residual_resampling:
                    h = block(cfg, width, "down", dtype=dtype, name=name)(h, emb, train)
                else:
                    h = Downsample(width, cfg.downsample_padding, dtype, name=name)(h)
                skips.append(h)

        h = block(cfg, cfg.channels[-1], dtype=dtype, name="mid_res_0")(h, emb, train)
        if cfg.middle_attention:
            h = attention(cfg, dtype, name="mid_attn")(h, context, context_mask)
        h = block(cfg, cfg.channels[-1], dtype=dtype, name="mid_res_1")(h, emb, train)
        if bottleneck_shift is not None:
            h = h + bottleneck_shift(h, emb)

        for level, width in reversed(list(enumerate(cfg.channels))):
            for i in range(cfg.blocks_per_level[level] + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(cfg, width, dtype=dtype, name=f"up_{level}_res_{i}")(h, emb, train)
                if level in cfg.attention_levels:
                    name = f"up_{level}_attn_{i}"
                    h = attention(cfg, dtype, name=name)(h, context, context_mask)
            if level > 0:
                name = f"up_{level}_upsample"
                if cfg.residual_resampling:
                    h = block(cfg, width, "up", dtype=dtype, name=name)(h, emb, train)
                else:
                    h = Upsample(width, dtype, name=name)(h)

        h = features = nn.silu(_norm(cfg, dtype, "norm_out")(h))
        if cfg.input_skip:
            scale = nn.Dense(x.shape[-1], dtype=dtype, name="input_scale")(nn.silu(emb))
            h = jnp.concatenate([h, x * (1 + scale[:, None, None, :])], axis=-1)
        zeros = nn.initializers.zeros_init()
        out = cfg.out_channels * cfg.patch**2
        h = nn.Conv(out, (3, 3), kernel_init=zeros, dtype=dtype, name="conv_out")(h)
        if cfg.patch > 1:
            h = depth_to_space(h, cfg.patch)
        if cfg.refine_channels is not None:
            h = h + Refinement(cfg, cfg.refine_channels, dtype, name="refine")(
                features, h, image, emb
            )
        return h


class _Embedding(nn.Module):
    """Time, and the class and pooled vector where the config has them, summed: [B, time_width]."""

    config: UNetConfig
    dtype: Dtype

    @nn.compact
    def __call__(self, t: Num[Array, " b"], cond: dict[str, Any]) -> Float[Array, "b e"]:
        cfg = self.config
        base = cfg.channels[0]
        width = cfg.embedding_width
        emb = TimeEmbedding(
            cfg.sinusoid_width or base, width, cfg.time_order, cfg.time_shift, self.dtype,
            name="time",
        )(t)  # fmt: skip
        if cfg.num_classes is not None:
            classes: Int[Array, " b"] = cond["classes"]
            emb += nn.Embed(cfg.num_classes, width, dtype=self.dtype, name="classes")(classes)
        if cfg.pooled_width is not None:
            pooled: Float[Array, "b p"] = cond["pooled"]
            if cfg.pooled_projection:
                pooled = nn.Dense(width, dtype=self.dtype, name="pooled")(pooled)
            emb += pooled.astype(emb.dtype)
        return emb


def _norm(config: UNetConfig, dtype: Dtype, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_groups, epsilon=config.norm_eps, dtype=dtype, name=name)


def _check_inputs(config: UNetConfig, x: Array, cond: dict[str, Any]) -> None:
    _, height, width, channels = x.shape
    if height % config.stride or width % config.stride:
        raise ValueError(
            f"image of {height}x{width}: the sides must be multiples of {config.stride}"
        )
    if channels != config.in_channels:
        raise ValueError(f"image with {channels} channels, the network takes {config.in_channels}")
    wanted = {
        "classes": config.num_classes,
        "pooled": config.pooled_width,
        "context": config.context_width,
    }
    for key, width_of in wanted.items():
        if width_of is not None and cond.get(key) is None:
            raise ValueError(f"this UNet needs '{key}' in its conditioning, got {sorted(cond)}")
        if width_of is None and cond.get(key) is not None:
            raise ValueError(f"this UNet takes no '{key}', but the conditioning holds it")
