"""The UNet of every diffusion model here: one network, described by one config.

The options cover the published families: DDPM (Ho et al. 2020; CelebA-HQ 256), guided-diffusion
(Dhariwal & Nichol 2021: scale-shift norm, residual resampling, fixed head width), and the decoders
of unCLIP (Ramesh et al. 2022: extra conditioning added to the time embedding, context tokens that
attention sees beside the pixels), and latent diffusion (Rombach et al. 2022: spatial transformers
that look at the context). A space-to-depth stem makes small models cheap on small machines.

Time is an int index array [B]; the network knows no noise schedule.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.layers import (
    Downsample,
    Dtype,
    TimeEmbedding,
    Upsample,
    depth_to_space,
    sinusoid,
    space_to_depth,
)
from clipdiff_jax.models.spatial_transformer import Attention, SpatialTransformer
from clipdiff_jax.models.unet_blocks import AttentionBlock, Refinement, ResBlock, group_norm
from clipdiff_jax.models.unet_config import UNetConfig

BottleneckShift = Callable[[Array, Array], Array]  # (h [B,H,W,C], embedding [B,E]) -> like h


class UNet(nn.Module):
    """The network: `UNet(config).apply({"params": p}, x, t, cond)`.

    `x` is [B, H, W, in_channels] with sides that are multiples of `config.stride`; `t` is [B].
    `cond` holds what the config asks for: `classes` [B], `pooled` [B, D], `time_ids` [B, N],
    `context` [B, T, D] and `context_mask` [B, T] (True where a token counts; optional). What
    `bottleneck_shift` makes of the middle's output and the time embedding is added to the former;
    `attention` takes the place of every attention of a spatial transformer, see there. Returns
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
        attention: Attention | None = None,
    ) -> Float[Array, "b h w o"]:
        cfg, dtype = self.config, self.dtype
        cond = cond or {}
        _check_inputs(cfg, x, cond)
        if attention is not None:
            _check_attention(cfg, cond)
        block = nn.remat(ResBlock, static_argnums=(3,)) if cfg.remat else ResBlock
        pixels = nn.remat(AttentionBlock) if cfg.remat else AttentionBlock
        context, context_mask = cond.get("context"), cond.get("context_mask")

        def attended(h: Array, level: int, name: str) -> Array:
            if cfg.attention == "cross":
                assert context is not None  # it is checked
                transformer = SpatialTransformer(cfg, level, attention, dtype, name=name)
                return transformer(h, context, context_mask)
            return pixels(cfg, dtype, level, name=name)(h, context, context_mask)

        emb = _Embedding(cfg, dtype, name="embedding")(t, cond)
        image = x
        if cfg.patch > 1:
            x = space_to_depth(x, cfg.patch)
        x = x.astype(dtype)
        h = Conv(cfg.channels[0], (3, 3), dtype=dtype, name="conv_in")(x)
        skips = [h]
        last = len(cfg.channels) - 1

        for level, width in enumerate(cfg.channels):
            for i in range(cfg.blocks_per_level[level]):
                name = f"down_{level}_res_{i}"
                h = block(cfg, width, dtype=dtype, name=name)(h, emb, train)
                if level in cfg.attention_levels:
                    h = attended(h, level, f"down_{level}_attn_{i}")
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
            h = attended(h, last, "mid_attn")
        h = block(cfg, cfg.channels[-1], dtype=dtype, name="mid_res_1")(h, emb, train)
        if bottleneck_shift is not None:
            h = h + bottleneck_shift(h, emb)

        for level, width in reversed(list(enumerate(cfg.channels))):
            for i in range(cfg.blocks_per_level[level] + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(cfg, width, dtype=dtype, name=f"up_{level}_res_{i}")(h, emb, train)
                if level in cfg.attention_levels:
                    h = attended(h, level, f"up_{level}_attn_{i}")
            if level > 0:
                name = f"up_{level}_upsample"
                if cfg.residual_resampling:
                    h = block(cfg, width, "up", dtype=dtype, name=name)(h, emb, train)
                else:
                    _, height, across, _ = skips[-1].shape
                    h = Upsample(width, dtype, name=name)(h, (height, across))

        h = features = nn.silu(group_norm(cfg, dtype, "norm_out")(h))
        if cfg.input_skip:
            scale = nn.Dense(x.shape[-1], dtype=dtype, name="input_scale")(nn.silu(emb))
            h = jnp.concatenate([h, x * (1 + scale[:, None, None, :])], axis=-1)
        zeros = nn.initializers.zeros_init()
        out = cfg.out_channels * cfg.patch**2
        h = Conv(out, (3, 3), kernel_init=zeros, dtype=dtype, name="conv_out")(h)
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
            if cfg.time_ids is not None:
                pooled = self._with_time_ids(pooled, cond["time_ids"])
            elif cfg.pooled_projection:
                pooled = nn.Dense(width, dtype=self.dtype, name="pooled")(pooled)
            emb += pooled.astype(emb.dtype)
        return emb

    def _with_time_ids(
        self, pooled: Float[Array, "b p"], numbers: Num[Array, "b n"]
    ) -> Float[Array, "b e"]:
        """The MLP of the pooled vector and the sinusoids of the numbers, one after the other."""
        cfg = self.config
        waves = sinusoid(numbers.reshape(-1), cfg.time_ids_width, cfg.time_order, cfg.time_shift)
        waves = waves.reshape(len(numbers), -1).astype(pooled.dtype)
        h = jnp.concatenate([pooled, waves], axis=-1)
        h = nn.silu(nn.Dense(cfg.embedding_width, dtype=self.dtype, name="added_0")(h))
        return nn.Dense(cfg.embedding_width, dtype=self.dtype, name="added_1")(h)


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
        "time_ids": config.time_ids,
        "context": config.context_width,
    }
    for key, width_of in wanted.items():
        if width_of is not None and cond.get(key) is None:
            raise ValueError(f"this UNet needs '{key}' in its conditioning, got {sorted(cond)}")
        if width_of is None and cond.get(key) is not None:
            raise ValueError(f"this UNet takes no '{key}', but the conditioning holds it")


def _check_attention(config: UNetConfig, cond: dict[str, Any]) -> None:
    if config.attention != "cross":
        raise ValueError("this UNet has no spatial transformers whose attention could be replaced")
    if cond.get("context_mask") is not None:
        raise ValueError("an attention that replaces ours sees no 'context_mask': give none")
