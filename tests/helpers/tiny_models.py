"""The smallest models that have every part of real ones, with random weights, for tests."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.clip.model import Clip, save_clip
from clipdiff_jax.data.tokenize import Tokenizer, train_tokenizer
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models import ar_prior, arcface, direct_prior, pca, pixel
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.arcface import ArcFaceConfig
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.clip import init_params as init_clip
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unclip import Decoder, Prior, Upsampler
from clipdiff_jax.models.unclip import init_params as init_part
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.perceptual.identity import FaceEncoder
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.unclip.priors import autoregressive
from clipdiff_jax.weights.layouts.unclip_ours import write_part
from clipdiff_jax.weights.params import fingerprint

SIZE = 16


def tiny_base(seed: int = 0, **changes) -> Diffusion:
    """A UNet of two levels; no weight is zero, so that every output depends on every input."""
    network = {
        "channels": (8, 8), "blocks": 1, "attention_levels": (), "middle_attention": False,
        "norm_groups": 4, "patch": 2,
    }  # fmt: skip
    config = DiffusionConfig(unet=UNetConfig(**network), image_size=SIZE, **changes)
    params = drawn(functools.partial(pixel.init_params, config), seed)
    return Diffusion(config, params)


def tiny_clip(seed: int = 0) -> Clip:
    """A vision transformer and a text transformer of one block, over a byte vocabulary."""
    config, tokenizer = tiny_clip_config()
    params = drawn(functools.partial(init_clip, config), seed)
    return Clip(config, params, tokenizer)


def tiny_clip_config() -> tuple[CLIPConfig, Tokenizer]:
    """What `tiny_clip` is, without its parameters."""
    tokenizer = train_tokenizer(["a face", "a smiling face"], 520, 12)
    vision = VisionTransformerConfig(SIZE, 8, width=16, depth=1, heads=2, mlp_width=32)
    text = TextConfig(
        tokenizer.vocab_size, 12, width=16, depth=1, heads=2, mlp_width=32,
        eos_token_id=tokenizer.end_id,
    )  # fmt: skip
    return CLIPConfig(vision, text, projection_dim=8), tokenizer


def tiny_face(seed: int = 0) -> FaceEncoder:
    """ArcFace with one block a stage."""
    config = ArcFaceConfig(width=4, depths=(1, 1, 1, 1), reduction=4, features=8)
    return FaceEncoder(config, drawn(functools.partial(arcface.init_params, config), seed))


def write_unclip(folder: Path, seed: int = 0) -> Path:
    """A folder with every part of an unCLIP: three priors, a decoder, an upsampler to 32 pixels.

    No weight is zero, so that every output depends on every input.
    """
    clip, tokenizer = tiny_clip_config()
    params = drawn(functools.partial(init_clip, clip), seed)
    save_clip(folder / "clip", clip, params, tokenizer)
    of, text = fingerprint(params), {"hidden_width": 16, "text_length": 12}
    transformer = {"width": 16, "depth": 1, "heads": 2}
    schedule = DiscreteSchedule("squared_cosine")
    unet = {"channels": (8, 8), "blocks": 1, "attention_levels": (), "norm_groups": 4, "patch": 2}
    conditioning = DecoderConditioningConfig(8, 16, 32, 16, extra_tokens=2, unit_norm=True)
    parts = {
        "prior": Prior(DiffusionPriorConfig(8, **text, **transformer), schedule),
        "decoder": Decoder(
            UNetConfig(out_channels=6, pooled_width=32, context_width=16, **unet),
            conditioning, SIZE, schedule,
        ),
        "upsampler": Upsampler(
            UNetConfig(in_channels=6, **unet), 2 * SIZE, SIZE, schedule, last=False
        ),
    }  # fmt: skip
    for name, config in parts.items():
        params = drawn(functools.partial(init_part, config), seed)
        write_part(folder / name, config, params, clip="" if name == "upsampler" else of)
    without = DirectPriorConfig(8, **text, **transformer)
    params = drawn(functools.partial(direct_prior.init_params, without), seed)
    write_part(folder / "direct_prior", without, params, clip=of)
    ar = ARPriorConfig(8, **text, dims=5, buckets=7, dot_buckets=4, **transformer)
    params = drawn(functools.partial(ar_prior.init_params, ar), seed)
    embeddings = np.random.default_rng(seed).normal(size=(200, 8)) * 0.7 ** np.arange(8)
    dots = np.random.default_rng(seed).uniform(-1, 1, 200).astype(np.float32)
    fitted = autoregressive.fitted_params(ar, pca.fit([embeddings.astype(np.float32)]), dots, 3.0)
    write_part(folder / "ar_prior", ar, params | fitted, clip=of)
    return folder


def drawn(init, seed: int):
    """Random parameters in the shapes of `init(key)`, which is not compiled: kernels keep the
    scale of what they are given, and norms and scales are about one."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape)
        if path[-1].key in ("scale", "var", "embedding_std"):
            value = 1 + 0.1 * noise
        elif path[-1].key == "logit_scale":
            value = np.log(1 / 0.07)
        elif len(leaf.shape) > 1:
            value = noise / np.sqrt(np.prod(leaf.shape[:-1]))
        else:
            value = 0.1 * noise
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init, jax.random.key(0)))


def stirred(params, seed: int, size: float):
    """The parameters plus normal noise."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noisy = [
        leaf + size * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, noisy)


def pictures(count: int = 4, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Smooth random pictures in [-1, 1]."""
    coarse = jax.random.uniform(jax.random.key(seed), (count, 4, 4, 3), minval=-1.0)
    return np.asarray(jnp.clip(jax.image.resize(coarse, (count, size, size, 3), "cubic"), -1, 1))
