"""Stage `clip`: train CLIP from scratch with its contrastive loss.

With I, T the unit embeddings of B images and their captions and s the learned temperature
(Radford et al. 2021, figure 3),

    logits = s I T^T,    loss = (CE(logits, rows) + CE(logits, columns)) / 2

where the right answer of row i is column i. Under `jit` B is the global batch: each image is told
from the captions on all devices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.tokenize import Tokenizer, load_tokenizer, train_tokenizer
from clipdiff_jax.data.transforms import prepare
from clipdiff_jax.models.clip import (
    CLIP,
    LEGACY_EOS_TOKEN_ID,
    CLIPConfig,
    TextConfig,
    normalise,
    unit,
)
from clipdiff_jax.perceptual.directional import shared_views
from clipdiff_jax.pipelines.clip import init_params, save_clip
from clipdiff_jax.train.stage import Aux, Stage


@dataclass(frozen=True, kw_only=True)
class ClipStage:
    """Describes the stage.

    Attributes:
      data: images with captions; each time an image comes up one of its captions is drawn.
      clip: the network. Its vocabulary size bounds that of a trained tokenizer.
      tokenizer: folder of the tokenizer; "" trains one on the captions.
      tokenizer_examples: how many examples' captions it is trained on.
      flip: mirror half of the images.
      crop: smallest side of the random square crops, as a share of the picture; 1 leaves it whole.
      noise: largest standard deviation of noise on the images, uniform from 0; 0 for none.
      remat: recompute the towers' blocks in the backward pass.
      dtype: what the towers compute in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
    """

    data: DataConfig
    clip: CLIPConfig
    tokenizer: str = ""
    tokenizer_examples: int = 2000
    flip: bool = True
    crop: float = 1.0
    noise: float = 0.0
    remat: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    export_dtype: Literal["float32", "bfloat16"] = "float32"


def build(config: ClipStage) -> Stage:
    """Opens the data, loads or trains the tokenizer and joins network and loss.

    Raises `ValueError` where the data has no captions or the tokenizer does not fit the network,
    `TokenizerError` where its folder has none.
    """
    source = open_source(config.data)
    tokenizer = _tokenizer(config, source)
    network = CLIP(config.clip, remat=config.remat, dtype=jnp.dtype(config.dtype))

    def loss(params, frozen, batch, key):
        del frozen
        images = augment(key, batch["image"], config.crop, config.noise)
        pixels = normalise(images, config.clip)
        image, text, scale = network.apply({"params": params}, pixels, batch["tokens"])
        return contrastive_loss(image, text, scale)

    def export(path: Path, params):
        save_clip(path, config.clip, params, tokenizer, dtype=jnp.dtype(config.export_dtype))

    return Stage(
        init=partial(init_params, config.clip),
        loss=loss,
        source=source,
        transform=_Transform(config.clip.vision.image_size, config.flip, tokenizer),
        export=export,
    )


def contrastive_loss(
    image: Float[Array, "b d"], text: Float[Array, "b d"], scale: Float[Array, ""]
) -> tuple[Float[Array, ""], Aux]:
    """The symmetric contrastive loss of B pairs of embeddings (not normalised) at temperature s.

    Metrics: `image_to_text` and `text_to_image`, the share of images (texts) whose own text
    (image) is the most similar of the batch; `temperature`.
    """
    logits = scale * unit(image) @ unit(text).T
    labels = jnp.arange(logits.shape[0])
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    rows, columns = cross_entropy(logits, labels).mean(), cross_entropy(logits.T, labels).mean()
    metrics = {
        "image_to_text": (logits.argmax(1) == labels).mean(),
        "text_to_image": (logits.argmax(0) == labels).mean(),
        "temperature": scale,
    }
    return (rows + columns) / 2, Aux(metrics)


def augment(
    key: Key[Array, ""], images: Float[Array, "b h w 3"], crop: float, noise: float
) -> Float[Array, "b h w 3"]:
    """A random square crop of each image and noise of a random strength; colours stay theirs."""
    view_key, level_key, noise_key = jax.random.split(key, 3)
    if crop < 1:
        (images,) = shared_views(view_key, (images,), 1, crop=crop, noise=0.0)
    if noise:
        level = jax.random.uniform(level_key, (images.shape[0], 1, 1, 1), maxval=noise)
        images = images + level * jax.random.normal(noise_key, images.shape)
    return images


class _Transform:
    """Example -> image and the token ids of one of its captions. A class, so that it pickles."""

    def __init__(self, size: int, flip: bool, tokenizer: Tokenizer) -> None:
        self._image, self._tokenizer = prepare(size, flip), tokenizer

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        captions = example["captions"]
        caption = captions[int(rng.integers(len(captions)))]
        return self._image(example, rng) | {"tokens": self._tokenizer(caption)[0]}


def _tokenizer(config: ClipStage, source: DataSource) -> Tokenizer:
    text: TextConfig = config.clip.text
    if not source[0].get("captions"):
        raise ValueError(f"{type(config.data).__name__} has no captions to train CLIP on")
    if config.tokenizer:
        tokenizer = load_tokenizer(config.tokenizer, text.context_length)
    else:
        captions = _captions(source, config.tokenizer_examples)
        tokenizer = train_tokenizer(captions, text.vocab_size, text.context_length)
    if tokenizer.vocab_size > text.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, clip.text.vocab_size is "
            f"{text.vocab_size}"
        )
    if text.eos_token_id not in (tokenizer.end_id, LEGACY_EOS_TOKEN_ID):
        raise ValueError(
            f"clip.text.eos_token_id is {text.eos_token_id}, but this tokenizer ends a text with "
            f"{tokenizer.end_id}"
        )
    return tokenizer


def _captions(source: DataSource, count: int) -> Iterator[str]:
    for index in range(min(count, len(source))):
        yield from source[index]["captions"]
