"""The smallest models that have every part of real ones, with random weights, for tests."""

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.data.tokenize import train_tokenizer
from clipdiff_jax.models.arcface import ArcFaceConfig
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pipelines import clip as clip_pipeline
from clipdiff_jax.pipelines import diffusion as diffusion_pipeline
from clipdiff_jax.pipelines import face as face_pipeline
from clipdiff_jax.pipelines.clip import Clip
from clipdiff_jax.pipelines.diffusion import Diffusion, DiffusionConfig
from clipdiff_jax.pipelines.face import FaceEncoder

SIZE = 16


def tiny_base(seed: int = 0, **changes) -> Diffusion:
    """A UNet of two levels; no weight is zero, so that every output depends on every input."""
    network = {
        "channels": (8, 8), "blocks": 1, "attention_levels": (), "middle_attention": False,
        "norm_groups": 4, "patch": 2,
    }  # fmt: skip
    config = DiffusionConfig(unet=UNetConfig(**network), image_size=SIZE, **changes)
    params = diffusion_pipeline.init_params(config, jax.random.key(seed))
    return Diffusion(config, stirred(params, seed, 0.05))


def tiny_clip(seed: int = 0) -> Clip:
    """A vision transformer and a text transformer of one block, over a byte vocabulary."""
    tokenizer = train_tokenizer(["a face", "a smiling face"], 520, 12)
    vision = VisionTransformerConfig(SIZE, 8, width=16, depth=1, heads=2, mlp_width=32)
    text = TextConfig(
        tokenizer.vocab_size, 12, width=16, depth=1, heads=2, mlp_width=32,
        eos_token_id=tokenizer.end_id,
    )  # fmt: skip
    config = CLIPConfig(vision, text, projection_dim=8)
    params = clip_pipeline.init_params(config, jax.random.key(seed))
    return Clip(config, stirred(params, seed, 0.05), tokenizer)


def tiny_face(seed: int = 0) -> FaceEncoder:
    """ArcFace with one block a stage."""
    config = ArcFaceConfig(width=4, depths=(1, 1, 1, 1), reduction=4, features=8)
    return FaceEncoder(config, face_pipeline.init_params(config, jax.random.key(seed)))


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
