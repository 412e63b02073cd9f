"""Stage `clip`: train CLIP from scratch with its contrastive loss.

With I, T the unit embeddings of B images and their captions and s the learned temperature
(Radford et al. 2021, figure 3),

    logits = s I T^T,    loss = (CE(logits, rows) + CE(logits, columns)) / 2

where the right answer of row i is column i. Under `jit` B is the global batch: each image is told
from the captions on all devices.

Small things can be slow to start: while images do not show them, texts had better not name them,
and while texts do not, nothing teaches the images to show them. Where `words` is not 0 the images'
embeddings also predict the words of their captions (Joulin et al. 2016), which needs no text tower:

    loss += words * mean over images, over the words w of the caption, of -log softmax(A I + c)_w
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.clip.model import save_clip
from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.compilation import jit_once
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.devices import in_parts, joined_parts, keep_batch_split
from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.blank import Blank, blank_tokenizer
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source, require_captions
from clipdiff_jax.data.tokenize import Tokenizer, load_tokenizer, train_tokenizer
from clipdiff_jax.data.transforms import draw_caption, prepare
from clipdiff_jax.models.clip import (
    CLIP,
    LEGACY_EOS_TOKEN_ID,
    CLIPConfig,
    TextConfig,
    init_params,
    normalise,
    unit,
)
from clipdiff_jax.perceptual.directional import shared_views
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig
from clipdiff_jax.weights.hub import locate_files
from clipdiff_jax.weights.layouts import clip_ours
from clipdiff_jax.weights.params import take_fitting

TOKENIZER_FILES = ("*.json", "merges.txt")
HEAD = "words"  # the parameters of the head that predicts words; not part of the model

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClipStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: images with captions; each time an image comes up one of its captions is drawn.
      clip: the network. Its vocabulary size bounds that of a trained tokenizer.
      start: model folder to start from; "" starts from random parameters. Parameters are taken
        where path and shape agree, so a tower may differ; what is new is named on standard error.
      tokenizer: folder of the tokenizer, or repository of the Hub; "" trains one on the captions.
      tokenizer_examples: how many examples' captions it is trained on.
      flip: mirror half of the images.
      crop: smallest side of the random square crops, as a share of the picture; 1 leaves it whole.
      noise: largest standard deviation of noise on the images, uniform from 0; 0 for none.
      group_by, group_size: draw each example together with others that share these attributes. In
        such a batch what all share tells nobody apart, so small things (a mouth, a pair of glasses)
        are learned that colours would otherwise hide. The batch size counts groups.
      words: weight of the loss of predicted words.
      remat: recompute the towers' blocks in the backward pass.
      parts: embed the batch in so many parts, each computed again in the backward pass: memory is
        that of one part, and the loss still that of the whole batch, which accumulated gradients
        are not (Gao et al. 2021, arXiv 2101.06983).
      dtype: what the towers compute in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
    """

    data: DataConfig
    clip: CLIPConfig
    start: str = ""
    tokenizer: str = ""
    tokenizer_examples: int = 2000
    flip: bool = True
    crop: float = 1.0
    noise: float = 0.0
    group_by: tuple[str, ...] = ()
    group_size: int = 1
    words: float = 0.0
    remat: bool = False
    parts: int = 1
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"

    def __post_init__(self) -> None:
        whole_number("parts", self.parts, low=1)
        if self.group_size < 1 or (self.group_size > 1) != bool(self.group_by):
            raise ValueError(
                f"group_size={self.group_size} does not go with group_by={self.group_by}: groups "
                "need both, no groups neither"
            )

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self)

    def outline(self) -> Stage:
        tokenizer = blank_tokenizer(self.clip.text.context_length)
        source = Blank(self.clip.vision.image_size, attributes=self.group_by)
        return make_stage(replace(self, start=""), source, tokenizer)


def build(config: ClipStage) -> Stage:
    """Opens the data, loads or trains the tokenizer and joins network and loss.

    Raises `ValueError` where the data has no captions (or lacks an attribute to group by) or the
    tokenizer does not fit the network, `TokenizerError` where its folder has none.
    """
    source = open_source(config.data)
    return make_stage(config, source, _tokenizer(config, source))


def make_stage(config: ClipStage, source: DataSource, tokenizer: Tokenizer) -> Stage:
    """The stage over a given source and tokenizer; those of `config` are not looked at."""
    network = CLIP(config.clip, remat=config.remat, dtype=as_dtype(config.dtype))

    def init(key: Key[Array, ""]) -> Params:
        params = init_params(config.clip, key)
        return params | {HEAD: _init_head(config.clip)} if config.words else params

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        del frozen
        batch = {name: value.reshape(-1, *value.shape[2:]) for name, value in batch.items()}
        images = augment(key, batch["image"], config.crop, config.noise)

        def embed(images: Array, tokens: Array) -> tuple[Array, Array, Array]:
            return run(network, _model(params), normalise(images, config.clip), tokens)

        image, text, scale = _embed_in_parts(embed, images, batch["tokens"], config.parts)
        value, aux = contrastive_loss(image, text, scale)
        if config.words:
            special = (tokenizer.start_id, tokenizer.end_id)
            words = words_loss(params[HEAD], image, batch["tokens"], special)
            value += config.words * words
            aux = Aux(aux.metrics | {"words": words})
        return value, aux

    def export(path: Path, params: Params) -> None:
        dtype = as_dtype(config.export_dtype)
        save_clip(path, config.clip, _model(params), tokenizer, dtype=dtype)

    return Stage(
        init=init,
        loss=loss,
        start=_start(config, init) if config.start else None,
        source=_Groups(source, config.group_by, config.group_size),
        transform=_Transform(config.clip.vision.image_size, config.flip, tokenizer),
        export=export,
    )


def _embed_in_parts(
    embed: Callable[[Array, Array], tuple[Array, Array, Array]],
    images: Float[Array, "b h w 3"],
    tokens: Int[Array, "b t"],
    parts: int,
) -> tuple[Float[Array, "b d"], Float[Array, "b d"], Float[Array, ""]]:
    """What `embed` gives of all examples: embeddings of images and texts, and the temperature."""
    if parts == 1:
        return embed(images, tokens)
    if len(images) % parts:
        raise ValueError(f"a batch of {len(images)} examples does not divide into parts={parts}")

    def of_part(part: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        return embed(*map(keep_batch_split, part))

    split = (in_parts(images, parts), in_parts(tokens, parts))
    image, text, scale = jax.lax.map(jax.checkpoint(of_part), split)
    return joined_parts(image), joined_parts(text), scale[0]


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


def words_loss(
    head: dict[str, Array],
    image: Float[Array, "b d"],
    tokens: Int[Array, "b t"],
    special: Sequence[int],
) -> Float[Array, ""]:
    """How badly the embeddings of images (not normalised) predict the words of their captions.

    Cross-entropy of a linear softmax over the vocabulary against the caption's words, each counted
    once, without the `special` ids (Joulin et al. 2016, "Learning visual features from large weakly
    supervised data", section 3.2).
    """
    vocabulary = head["bias"].shape[0]
    named = jax.nn.one_hot(tokens, vocabulary).max(axis=1).at[:, jnp.asarray(special)].set(0)
    logits = image.shape[1] ** 0.5 * unit(image) @ head["kernel"] + head["bias"]
    of_each = -(named * jax.nn.log_softmax(logits)).sum(axis=1)
    return (of_each / jnp.maximum(named.sum(axis=1), 1)).mean()


def _model(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of CLIP, without the head that only training has."""
    return {name: value for name, value in params.items() if name != HEAD}


def _init_head(config: CLIPConfig) -> dict[str, Array]:
    size = config.text.vocab_size
    return {"kernel": jnp.zeros((config.projection_dim, size)), "bias": jnp.zeros((size,))}


def augment(
    key: Key[Array, ""], images: Float[Array, "b h w 3"], crop: float, noise: float
) -> Float[Array, "b h w 3"]:
    """A random square crop of each image and noise of a random strength; colours stay theirs."""
    view_key, level_key, noise_key = jax.random.split(key, 3)
    if crop < 1:
        (images,) = shared_views(view_key, (images,), 1, crop=crop, noise=0.0)
    if noise:
        level = jax.random.uniform(level_key, (images.shape[0], 1, 1, 1), jnp.float32, maxval=noise)
        images = images + level * jax.random.normal(noise_key, images.shape, jnp.float32)
    return images


class _Groups:
    """A source of groups: example i and the `size` - 1 that follow it among those of its kind.

    Lacking an attribute (the hair colour of a bald head) is a kind too.
    """

    def __init__(self, source: DataSource, by: Sequence[str], size: int) -> None:
        self._source, self._size = source, size
        self.fingerprint = source.fingerprint
        kinds: dict[tuple[str, ...], list[int]] = {}
        self._place: list[tuple[list[int], int]] = []
        known: set[str] = set()
        for index in range(len(source)):
            # Without groups nothing is read here.
            shown = source[index].get("attributes", {}) if by else {}
            known |= shown.keys()
            kind = kinds.setdefault(tuple(shown.get(name, "") for name in by), [])
            self._place.append((kind, len(kind)))
            kind.append(index)
        if unknown := [name for name in by if name not in known]:
            raise ValueError(
                f"no example has an attribute '{unknown[0]}' to group by."
                f"{nearest(unknown[0], known)}"
            )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        kind, first = self._place[index]
        chosen = [kind[(first + i) % len(kind)] for i in range(self._size)]
        return {"members": [self._source[i] for i in chosen]}


class _Transform:
    """A group -> its images and the token ids of a caption of each. A class, so that it pickles."""

    def __init__(self, size: int, flip: bool, tokenizer: Tokenizer) -> None:
        self._image, self._tokenizer = prepare(size, flip), tokenizer

    def __call__(self, group: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        images, captions = [], []
        for example in group["members"]:
            images.append(self._image(example, rng)["image"])
            captions.append(draw_caption(example, rng))
        return {"image": np.stack(images), "tokens": self._tokenizer(captions)}


def _start(config: ClipStage, init: Callable[[Array], Any]) -> Any:
    """New parameters, and in their place those of `config.start` that fit."""
    _, stored = clip_ours.read_towers(config.start)
    fresh = jax.device_get(jit_once(init)(jax.random.key(0)))
    params, new = take_fitting(stored, fresh, config.start)
    if new:
        logger.info(f"not in '{config.start}', so new: {', '.join(new)}")
    return params


def _tokenizer(config: ClipStage, source: DataSource) -> Tokenizer:
    text: TextConfig = config.clip.text
    require_captions(source, "train CLIP on", type(config.data).__name__)
    if config.tokenizer:
        folder = locate_files(config.tokenizer, TOKENIZER_FILES)
        tokenizer = load_tokenizer(folder, text.context_length)
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
