"""A classifier that reads an avatar's attributes, to judge edits without the eyes of CLIP.

It is trained on rendered labels only (never on captions or on anything CLIP says), so that an edit
made with CLIP is measured by something else. A small convolutional network with one head per
attribute. The built-in one came from this command, which took 48 minutes with about a quarter of
two CPU cores to itself; its accuracies on held-out faces are in its `config.json`:

    python benchmarks/attributes.py --out clipdiff_jax/assets/attributes
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.compilation import jit_once
from clipdiff_jax.core.networks import run
from clipdiff_jax.core.progress import bar
from clipdiff_jax.core.types import Params
from clipdiff_jax.data.avatars.source import Avatars
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, STYLES
from clipdiff_jax.data.images import Pictures, made_images
from clipdiff_jax.data.loader import batches
from clipdiff_jax.data.sources import DataSource
from clipdiff_jax.data.transforms import prepare, to_float
from clipdiff_jax.training.stage import Batch
from clipdiff_jax.weights.folder import load_folder, save_folder
from clipdiff_jax.weights.loading import find_model

UNLABELLED = -1  # in label arrays: the picture does not show the attribute

Vocabulary = tuple[tuple[str, tuple[str, ...]], ...]
VOCABULARY: Vocabulary = (
    ("style", tuple(STYLES)),
    *((name, tuple(values)) for name, values in ATTRIBUTES.items()),
)


@dataclass(frozen=True)
class AttributesConfig:
    """Image size, channels at each halving of the resolution, and the words of each head."""

    image_size: int = 64
    widths: tuple[int, ...] = (128, 192, 256)
    vocabulary: Vocabulary = VOCABULARY


class AttributeNetwork(nn.Module):
    """Images [B,H,W,3] in [-1,1] -> logits of each attribute's words.

    Convolutions with few channels are slow on CPUs, so 4 x 4 pixels are first folded into
    channels. The heads see where a feature is, since a mouth is always in one place.
    """

    config: AttributesConfig

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> dict[str, Float[Array, "b _"]]:
        x = einops.rearrange(images, "b (h p) (w q) c -> b h w (p q c)", p=4, q=4)
        for i, width in enumerate(self.config.widths):
            x = nn.Conv(width, (3, 3), strides=1 if i == 0 else 2)(x)
            x = nn.gelu(nn.GroupNorm(num_groups=8)(x))
            if i > 0:
                x = x + nn.gelu(nn.GroupNorm(num_groups=8)(nn.Conv(width, (3, 3))(x)))
        x = x.reshape(x.shape[0], -1)
        return {
            name: nn.Dense(len(words), name=f"head_{name}")(x)
            for name, words in self.config.vocabulary
        }


@dataclass(frozen=True, eq=False)
class AttributeClassifier:
    """A trained classifier; `accuracy` was measured on held-out renders, by style and attribute."""

    config: AttributesConfig
    params: Params
    accuracy: Mapping[str, Mapping[str, float]]

    def logits(self, images: Pictures) -> dict[str, Float[Array, "b _"]]:
        """Logits of each attribute's words; square images of any size, see
        `data.images.made_images`."""
        return dict(_logits(self.params, made_images(images), config=self.config))

    def predict(self, images: Pictures) -> list[dict[str, str]]:
        """The likeliest word of every attribute, for each image.

        Also for attributes that cannot be seen: the hair colour of a bald face means nothing.
        """
        best = {name: np.asarray(x).argmax(-1) for name, x in self.logits(images).items()}
        vocabulary = dict(self.config.vocabulary)
        rows = zip(*best.values(), strict=True)
        return [
            {name: vocabulary[name][index] for name, index in zip(best, row, strict=True)}
            for row in rows
        ]


@partial(jax.jit, static_argnames="config")
def _logits(
    params: Params, images: Float[Array, "b h w 3"], *, config: AttributesConfig
) -> dict[str, Float[Array, "b _"]]:
    shape = (images.shape[0], config.image_size, config.image_size, 3)
    if images.shape != shape:
        images = jax.image.resize(images, shape, "linear", antialias=True)
    return run(AttributeNetwork(config), params, images)


def load_attributes(source: str | Path = "demo") -> AttributeClassifier:
    """Loads a classifier: the built-in one (`"demo"`), or one that `save` wrote, here or on the
    Hugging Face Hub."""
    config, params = load_folder(find_model(source, "attributes"))
    if config["kind"] != "attributes":
        raise ValueError(f"'{source}' holds a model of kind '{config['kind']}', not 'attributes'")
    network = AttributesConfig(
        config["image_size"],
        tuple(config["widths"]),
        tuple((name, tuple(words)) for name, words in config["vocabulary"].items()),
    )
    return AttributeClassifier(network, jax.tree.map(jnp.asarray, params), config["accuracy"])


def label_indices(config: AttributesConfig, shown: dict[str, str]) -> Int[np.ndarray, " a"]:
    """The index of each attribute's word among its head's, or `UNLABELLED`."""
    return np.array([
        words.index(shown[name]) if name in shown else UNLABELLED
        for name, words in config.vocabulary
    ])  # fmt: skip


def masked_cross_entropy(
    config: AttributesConfig, logits: dict[str, Float[Array, "b _"]], labels: Int[Array, "b a"]
) -> Float[Array, ""]:
    """The sum over attributes of the mean cross-entropy over the images that show them.

    The columns of `labels` are in the order of the vocabulary.
    """
    total = jnp.zeros(())
    for i, (name, _) in enumerate(config.vocabulary):
        head = logits[name]
        seen = labels[:, i] != UNLABELLED
        loss = optax.softmax_cross_entropy_with_integer_labels(head, jnp.maximum(labels[:, i], 0))
        total += (loss * seen).sum() / jnp.maximum(seen.sum(), 1)
    return total


def augment(images: Float[Array, "b h w 3"], key: Array) -> Float[Array, "b h w 3"]:
    """Shifts, blurs and adds noise, as imperfect edits do."""
    shift_key, blur_key, level_key, noise_key = jax.random.split(key, 4)
    count, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    top, left = jax.random.randint(shift_key, (2,), 0, 3)
    images = jax.lax.dynamic_slice(padded, (0, top, left, 0), images.shape)
    half = jax.image.resize(images, (count, height // 2, width // 2, channels), "linear")
    blurred = jax.image.resize(half, images.shape, "linear")
    # Squared and cubed, so that most images stay nearly as they are.
    images += jax.random.uniform(blur_key, (count, 1, 1, 1), jnp.float32) ** 3 * (blurred - images)
    level = 0.15 * jax.random.uniform(level_key, (count, 1, 1, 1), jnp.float32) ** 2
    return images + level * jax.random.normal(noise_key, images.shape, jnp.float32)


def train(
    source: DataSource, config: AttributesConfig, *, steps: int, batch_size: int, seed: int
) -> Params:
    """Trains the network on the labels of `source` with AdamW and returns its parameters."""
    network = AttributeNetwork(config)
    image = jnp.zeros((1, config.image_size, config.image_size, 3))
    params = jit_once(network.init)(jax.random.key(seed), image)["params"]
    optimizer = optax.adamw(optax.warmup_cosine_decay_schedule(0, 1.5e-3, steps // 20, steps))
    shape = prepare(config.image_size)

    def with_labels(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return shape(example, rng) | {"labels": label_indices(config, example["attributes"])}

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Params, state: optax.OptState, batch: Batch, key: Array) -> Any:
        def loss(params: Params) -> Array:
            logits = run(network, params, augment(batch["image"], key))
            return masked_cross_entropy(config, logits, batch["labels"])

        value, gradient = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, change), state, value

    state = jax.jit(optimizer.init)(params)
    data = batches(source, batch_size=batch_size, seed=seed, transform=with_labels)
    told = bar(range(steps), "training the attribute classifier", unit="step")
    for step in told:
        key = jax.random.fold_in(jax.random.key(seed), step)
        params, state, value = update(params, state, next(data), key)
        if step % 20 == 0:
            told.note(f"loss {float(value):.3f}")
    return params


class Joined:
    """Two sets of avatars, one after the other."""

    def __init__(self, first: Avatars, second: Avatars) -> None:
        self._first, self._second = first, second
        self.fingerprint = f"{first.fingerprint}+{second.fingerprint}"

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, index: int) -> dict[str, Any]:
        first = len(self._first)
        return self._first[index] if index < first else self._second[index - first]


def measure(
    classifier: AttributeClassifier, source: Avatars, batch_size: int = 100
) -> dict[str, dict[str, float]]:
    """Accuracy by art style and attribute, over the faces of `source` that show the attribute."""
    right: dict[tuple[str, str], list[bool]] = {}
    for start in range(0, len(source), batch_size):
        examples = [source[i] for i in range(start, min(start + batch_size, len(source)))]
        images = to_float(np.stack([example["image"] for example in examples]))
        for example, predicted in zip(examples, classifier.predict(images), strict=True):
            shown = example["attributes"]
            for name, word in shown.items():
                right.setdefault((shown["style"], name), []).append(predicted[name] == word)
    styles = dict.fromkeys(style for style, _ in right)
    return {
        style: {name: float(np.mean(hits)) for (s, name), hits in right.items() if s == style}
        for style in styles
    }


def save(classifier: AttributeClassifier, path: str | Path) -> Path:
    """Writes the classifier's folder, its accuracies in `config.json`."""
    config = classifier.config
    description = {
        "kind": "attributes",
        "image_size": config.image_size,
        "widths": list(config.widths),
        "vocabulary": {name: list(words) for name, words in config.vocabulary},
        "accuracy": {
            style: {name: round(value, 4) for name, value in by_name.items()}
            for style, by_name in classifier.accuracy.items()
        },
    }
    return save_folder(path, description, classifier.params, dtype=jnp.bfloat16)
