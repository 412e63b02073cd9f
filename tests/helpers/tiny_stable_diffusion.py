"""Stable Diffusion 1, 2 and XL in miniature, with random weights: what foreign layouts can hold."""

import functools
from dataclasses import replace

from clipdiff_jax.data.tokenize import Tokenizer, train_tokenizer
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.latent import WALK, LatentConfig, TextTower, init_params, init_text
from clipdiff_jax.models.unet_config import UNetConfig
from clipdiff_jax.weights.layout import LatentWeights
from helpers.tiny_models import drawn

KINDS = ("sd1", "sd2", "xl", "inpaint", "instruct")
_AUTOENCODER = AutoencoderConfig(channels=(32, 32), blocks=1, wide_range=True)
_TEXT = TextConfig(520, 12, width=8, depth=3, heads=2, mlp_width=16, eos_token_id=1)
_UNET = UNetConfig(
    in_channels=4, out_channels=4, channels=(32, 64), blocks=1, attention_levels=(0,), heads=8,
    norm_eps=1e-5, time_order="cos_sin", time_shift=0.0, downsample_padding="both",
    context_width=8, attention="cross",
)  # fmt: skip


def config(kind: str) -> LatentConfig:
    """A model of a published kind."""
    gelu = replace(_TEXT, activation="gelu")
    if kind == "sd2":
        unet = replace(_UNET, heads=(2, 4), linear_projection=True)
        return LatentConfig(unet, _AUTOENCODER, (TextTower(gelu),), 16, prediction="v")
    if kind == "xl":
        unet = replace(
            _UNET, heads=(2, 4), linear_projection=True, attention_levels=(1,),
            transformer_depth=(1, 2), pooled_width=6, time_ids=6, time_ids_width=4,
            context_width=16,
        )  # fmt: skip
        towers = (TextTower(_TEXT, None, 1, False), TextTower(gelu, 6, 1, False))
        vae = replace(_AUTOENCODER, scaling=0.13025)
        walk = replace(WALK, ends_clean=True)
        return LatentConfig(unet, vae, towers, 16, guidance=5.0, zero_null=True, sampling=walk)
    channels, task = {"sd1": (4, "text"), "inpaint": (9, "inpaint"), "instruct": (8, "instruct")}[
        kind
    ]
    unet = replace(_UNET, in_channels=channels)
    return LatentConfig(unet, _AUTOENCODER, (TextTower(_TEXT),), 16, task=task)


@functools.cache
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a red cube", "two dogs"], _TEXT.vocab_size, _TEXT.context_length)


@functools.cache
def weights(kind: str, seed: int = 0) -> LatentWeights:
    """Random weights of one."""
    of = config(kind)
    params = drawn(functools.partial(init_params, of), seed)
    texts = tuple(
        drawn(functools.partial(init_text, one), seed + 1 + i) for i, one in enumerate(of.texts)
    )
    one = tokenizer()
    pads = [one.end_id, one.backend.token_to_id("!")][: len(texts)]
    if kind == "sd2":
        pads = pads[-1:]
    tokenizers = tuple(replace(one, pad_id=pad) for pad in pads)
    return LatentWeights(of, params | {"texts": texts}, tokenizers)
