"""CLIP (Radford et al., 2021): an image tower and a text tower that meet in one space.

Both image towers of the paper are here, the vision transformer (section 2.4) and the modified
ResNet (resnet.py). The numbers are those of OpenAI's and transformers' `CLIPModel`, so that their
weights can be loaded (`weights/layouts/`). Images come in normalised (`normalise`), NHWC.
"""

from dataclasses import dataclass, field

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.resnet import ModifiedResNet, ModifiedResNetConfig
from clipdiff_jax.models.transformer import Activation, Transformer

MAX_LOGIT_SCALE = 100.0

# Tokenizers before transformers 4.31 wrote eos_token_id 2 into configs whose end-of-text token was
# in truth the largest id; such a config means "pool at the largest id" and nothing else.
LEGACY_EOS_TOKEN_ID = 2


@dataclass(frozen=True)
class VisionTransformerConfig:
    """The ViT image tower; the defaults are ViT-B/32."""

    image_size: int = 224
    patch_size: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    activation: Activation = "quick_gelu"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not split into {self.heads} heads")
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} < patch_size {self.patch_size}")


@dataclass(frozen=True)
class TextConfig:
    """The causal text transformer; the defaults are those of the base CLIPs.

    `eos_token_id` says where a text is pooled: at its first such token; 2 means at its largest id
    (the convention of older configs).
    """

    vocab_size: int = 49408
    context_length: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp_width: int = 2048
    activation: Activation = "quick_gelu"
    eps: float = 1e-5
    eos_token_id: int = 49407

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not split into {self.heads} heads")


@dataclass(frozen=True)
class CLIPConfig:
    """Both towers, the width of the common space and how its pixels are normalised."""

    vision: VisionTransformerConfig | ModifiedResNetConfig = field(
        default_factory=VisionTransformerConfig
    )
    text: TextConfig = field(default_factory=TextConfig)
    projection_dim: int = 512
    logit_scale_init: float = 2.6592  # ln(1 / 0.07)
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


def normalise(images: Float[Array, "b h w 3"], config: CLIPConfig) -> Float[Array, "b h w 3"]:
    """Images in [-1, 1] -> what the image tower is fed: ((x + 1)/2 - mean) / std, by channel."""
    mean, std = jnp.asarray(config.image_mean), jnp.asarray(config.image_std)
    return ((images + 1) / 2 - mean) / std


class VisionTransformer(nn.Module):
    """Patches and a class token through a transformer; the class token's state is projected."""

    config: VisionTransformerConfig
    projection_dim: int
    remat: bool = False
    dtype: DType | None = None

    @nn.compact
    def __call__(self, pixels: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        c = self.config
        size = (c.patch_size, c.patch_size)
        std = c.width**-0.5
        patches = Conv(
            c.width, size, size, "VALID", use_bias=False, dtype=self.dtype, name="patch_embedding"
        )(pixels)
        x = patches.reshape(patches.shape[0], -1, c.width)
        token = self.param("class_embedding", nn.initializers.normal(std), (c.width,), jnp.float32)
        token = jnp.broadcast_to(token, (x.shape[0], 1, c.width)).astype(x.dtype)
        x = jnp.concatenate([token, x], axis=1)
        length = (c.image_size // c.patch_size) ** 2 + 1
        position = self.param(
            "position_embedding", nn.initializers.normal(std), (length, c.width), jnp.float32
        )
        x = x + position.astype(x.dtype)
        x = nn.LayerNorm(epsilon=c.eps, dtype=self.dtype, name="pre_norm")(x)
        x = Transformer(
            c.depth, c.heads, c.mlp_width, c.activation,
            eps=c.eps, remat=self.remat, dtype=self.dtype, name="transformer",
        )(x)  # fmt: skip
        x = nn.LayerNorm(epsilon=c.eps, dtype=self.dtype, name="post_norm")(x[:, 0])
        return _projection(self.projection_dim, c.width, self.dtype)(x)


class TextTransformer(nn.Module):
    """Causal transformer over token ids -> (pooled, states).

    Pooled is the last state, after the final norm, at the end-of-text token, and projected where
    there is a `projection_dim`. The states are those `skip` blocks before the end, after the final
    norm or, for `norm_states` False, before it. Raises `ValueError` for a skip of all the blocks.
    """

    config: TextConfig
    projection_dim: int | None
    remat: bool = False
    dtype: DType | None = None
    skip: int = 0
    norm_states: bool = True

    @nn.compact
    def __call__(self, ids: Int[Array, "b t"]) -> tuple[Float[Array, "b d"], Float[Array, "b t w"]]:
        c = self.config
        if ids.shape[1] > c.context_length:
            raise ValueError(f"{ids.shape[1]} tokens exceed the context of {c.context_length}")
        normal = nn.initializers.normal
        x = nn.Embed(
            c.vocab_size, c.width, embedding_init=normal(0.02), dtype=self.dtype,
            name="token_embedding",
        )(ids)  # fmt: skip
        position = self.param(
            "position_embedding", normal(0.01), (c.context_length, c.width), jnp.float32
        )
        x = x + position[: ids.shape[1]].astype(x.dtype)
        if not 0 <= self.skip < c.depth:
            raise ValueError(
                f"skip is {self.skip}, expected 0 to {c.depth - 1}: there are {c.depth} blocks"
            )
        transformer = Transformer(
            c.depth, c.heads, c.mlp_width, c.activation, causal=True, eps=c.eps, remat=self.remat,
            dtype=self.dtype, keep_states=self.skip > 0, name="transformer",
        )  # fmt: skip
        if self.skip > 0:
            states = transformer.states(x)
            x, chosen = states[-1], states[-1 - self.skip]
        else:
            x = chosen = transformer(x)
        norm = nn.LayerNorm(epsilon=c.eps, dtype=self.dtype, name="final_norm")
        last = norm(x)
        pooled = last[jnp.arange(ids.shape[0]), end_of_text(ids, c.eos_token_id)]
        if self.projection_dim is not None:
            pooled = _projection(self.projection_dim, c.width, self.dtype)(pooled)
        if not self.norm_states:
            return pooled, chosen
        return pooled, norm(chosen) if self.skip > 0 else last


def end_of_text(ids: Int[Array, "b t"], eos_token_id: int) -> Int[Array, " b"]:
    """The position a text is pooled at: its first `eos_token_id`; for 2, that of its largest id."""
    if eos_token_id == LEGACY_EOS_TOKEN_ID:
        return jnp.argmax(ids, axis=-1)
    return jnp.argmax(ids == eos_token_id, axis=-1)


def _projection(features: int, width: int, dtype: DType | None) -> nn.Dense:
    init = nn.initializers.normal(width**-0.5)
    return nn.Dense(features, use_bias=False, kernel_init=init, dtype=dtype, name="projection")


class CLIP(nn.Module):
    """Both towers and the learned temperature.

    Attributes:
      config: the architecture.
      remat: recompute blocks in the backward pass.
      dtype: what the towers compute in; None is float32.
    """

    config: CLIPConfig
    remat: bool = False
    dtype: DType | None = None

    def setup(self) -> None:
        c = self.config
        self.vision: nn.Module
        if isinstance(c.vision, ModifiedResNetConfig):
            self.vision = ModifiedResNet(c.vision, c.projection_dim, self.remat, self.dtype)
        else:
            self.vision = VisionTransformer(c.vision, c.projection_dim, self.remat, self.dtype)
        self.text = TextTransformer(c.text, c.projection_dim, self.remat, self.dtype)
        init = nn.initializers.constant(c.logit_scale_init)
        self.logit_scale = self.param("logit_scale", init, (), jnp.float32)

    def embed_images(self, pixels: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Normalised pixels of the tower's size -> projected embeddings, not L2-normalised."""
        size = self.config.vision.image_size
        if pixels.shape[1:3] != (size, size):
            raise ValueError(f"the image tower takes {size}x{size}, got {pixels.shape[1:3]}")
        return self.vision(pixels).astype(jnp.float32)

    def embed_texts(
        self, ids: Int[Array, "b t"]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b t w"]]:
        """Token ids -> (projected embeddings, not normalised; last states after the norm)."""
        embedding, hidden = self.text(ids)
        return embedding.astype(jnp.float32), hidden

    def temperature(self) -> Float[Array, ""]:
        """What cosines are multiplied by: exp(logit_scale), at most 100."""
        return jnp.minimum(jnp.exp(self.logit_scale), MAX_LOGIT_SCALE)

    def __call__(
        self, pixels: Float[Array, "b h w 3"], ids: Int[Array, "n t"]
    ) -> tuple[Float[Array, "b d"], Float[Array, "n d"], Float[Array, ""]]:
        """(image embeddings, text embeddings, temperature): all the contrastive loss needs."""
        return self.embed_images(pixels), self.embed_texts(ids)[0], self.temperature()


def init_params(config: CLIPConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32)."""
    size = config.vision.image_size
    pixels, ids = jnp.zeros((1, size, size, 3)), jnp.zeros((1, config.text.context_length), int)
    return CLIP(config).init(key, pixels, ids)["params"]


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x / |x| over the last axis, with a finite gradient at zero."""
    return x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
