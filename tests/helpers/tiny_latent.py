"""Tiny latent diffusion models with random weights, in an instant: every task, one tower or two."""

import functools

import jax

from clipdiff_jax.data.tokenize import train_tokenizer
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.latent import LatentConfig, TextTower, init_params, init_text
from clipdiff_jax.models.taesd import TinyAutoencoderConfig
from clipdiff_jax.models.unet_config import UNetConfig
from clipdiff_jax.weights.layout import LatentWeights
from helpers.tiny_models import drawn

SIZE, FACTOR = 16, 2
CAPTIONS = ["a red cube", "a blue cube on a red one", "two dogs"]
AUTOENCODER = AutoencoderConfig(
    channels=(8,), blocks=1, norm_groups=4, middle_attention=False, patch=2, scaling=0.5
)
TEXT = TextConfig(
    vocab_size=520, context_length=16, width=8, depth=2, heads=2, mlp_width=16, eos_token_id=1
)
CHANNELS = {"text": 4, "inpaint": 9, "instruct": 8}


def config(task: str = "text", two: bool = False, **options) -> LatentConfig:
    """A description; two: SDXL's towers, pooled embedding and numbers."""
    more = dict(pooled_width=6, time_ids=6, time_ids_width=4) if two else {}
    unet = UNetConfig(
        in_channels=CHANNELS[task],
        out_channels=4,
        channels=(8,),
        blocks=1,
        attention_levels=(0,),
        attention="cross",
        heads=2,
        norm_groups=4,
        norm_eps=1e-5,
        time_order="cos_sin",
        time_shift=0.0,
        downsample_padding="both",
        context_width=16 if two else 8,
        **more,
    )
    pair = (TextTower(TEXT, None, 1, False), TextTower(TEXT, 6, 1, False))
    values = dict(
        unet=unet,
        autoencoder=AUTOENCODER,
        texts=pair if two else (TextTower(TEXT),),
        image_size=SIZE,
        task=task,
    )
    return LatentConfig(**values | options)


@functools.cache
def tokenizer():
    return train_tokenizer(CAPTIONS, TEXT.vocab_size, TEXT.context_length)


def weights(seed: int = 0, **options) -> LatentWeights:
    """Random weights of `config(**options)`."""
    of = config(**options)
    params = drawn(functools.partial(init_params, of), seed)
    towers = tuple(
        drawn(functools.partial(init_text, one), seed + 1 + i) for i, one in enumerate(of.texts)
    )
    return LatentWeights(of, params | {"texts": towers}, (tokenizer(),) * len(towers))


def model(seed: int = 0, **options) -> LatentDiffusion:
    """A model of `weights`."""
    of, params, tokenizers, _ = weights(seed, **options)
    return LatentDiffusion(
        of, params["unet"], params["autoencoder"], params["texts"], tokenizers,
        params.get("preview"),
    )  # fmt: skip


PREVIEW = TinyAutoencoderConfig(4, 8, (1, 1), (1, 1))
KEY = jax.random.key(7)
