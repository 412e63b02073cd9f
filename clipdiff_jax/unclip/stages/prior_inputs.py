"""What the stages of all priors share: embeddings to predict, and texts to predict them from.

Every example has the CLIP image embedding of a picture and captions, of which one is drawn each
time. CLIP's text tower is frozen and runs inside of the loss. For classifier-free guidance a text
is sometimes dropped, which here means replaced by the empty text, as in Karlo.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Key

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.clip.outline import outline_clip
from clipdiff_jax.core.request import Number
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.blank import Blank
from clipdiff_jax.data.embeddings import Embeddings, EmbeddingsData, open_embeddings
from clipdiff_jax.data.sources import require_captions
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.data.transforms import draw_caption
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.clip import CLIPConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.unclip import Prior, TextFeatures
from clipdiff_jax.training.left_out import leave_out
from clipdiff_jax.unclip.load import read_part
from clipdiff_jax.unclip.towers import TextTower, towers
from clipdiff_jax.weights.layout import AnyPart
from clipdiff_jax.weights.params import fingerprint

Network = DiffusionPriorConfig | ARPriorConfig | DirectPriorConfig
UNITS = ("embedding_mean", "embedding_std")  # parameters set once from the data, never trained


@dataclass(frozen=True, eq=False)
class PriorInputs:
    """Opened data and CLIP.

    Attributes:
      source, transform: for `Stage`; a batch is `{"embedding": [B, D], "tokens": [B, T]}`.
      clip, clip_fingerprint: the model and the hash of its parameters.
      empty: the token ids [T] of the text "".
      mean, std: [D] of the embeddings, by dimension.
    """

    source: Embeddings | Blank
    transform: Callable[[dict[str, Any], np.random.Generator], dict[str, np.ndarray]]
    clip: Clip
    clip_fingerprint: str
    empty: Int[np.ndarray, " t"]
    mean: Float32[np.ndarray, " d"]
    std: Float32[np.ndarray, " d"]

    def tower(self, dtype: DType) -> TextTower:
        """The text tower, which is frozen."""
        return towers(self.clip, dtype)[0]

    @property
    def units(self) -> dict[str, Array]:
        """The parameters of a network that works on embeddings at mean 0 and deviation 1."""
        return dict(zip(UNITS, (jnp.asarray(self.mean), jnp.asarray(self.std)), strict=True))

    def features(
        self,
        tower: TextTower,
        tokens: Int[Array, "b t"],
        key: Key[Array, ""] | None = None,
        drop: Number = 0.0,
    ) -> TextFeatures:
        """Features of the texts, of which a share of `drop` is replaced by ""."""
        if key is not None:
            dropped = jax.random.bernoulli(key, drop, tokens.shape[:1])
            tokens = leave_out(dropped, tokens, jnp.asarray(self.empty)[None])
        return tower.encode(tokens)


def open_prior_inputs(data: EmbeddingsData, clip: str) -> PriorInputs:
    """Opens the embeddings and loads CLIP, given as `load_clip` takes it.

    Raises `ValueError` where the embeddings are another CLIP's or have no captions, and what
    opening either raises.
    """
    source, model = open_embeddings(data), load_clip(clip)
    found = fingerprint(model.params)
    if source.info.clip != found:
        raise ValueError(
            f"the embeddings in '{data.path}' are of the CLIP {source.info.clip}, but '{clip}' is "
            f"{found}: embed the data again with it"
        )
    require_captions(source, f"learn from in '{data.path}'")
    mean, std = moments(source)
    return PriorInputs(
        source=source,
        transform=Transform(model.tokenizer.silent),
        clip=model,
        clip_fingerprint=found,
        empty=model.tokenizer([""])[0],
        mean=mean,
        std=std,
    )


def all_but_units(network: str) -> str:
    """The pattern (`Stage.trainable`) of a network's parameters without its units."""
    return f"^(?!{network}/({'|'.join(UNITS)})$)"


def read_start(
    source: str | None, part: str, network: AnyPart | DiffusionPriorConfig
) -> Params | None:
    """The parameters of a prior to start from; None where there is no source.

    Raises `ValueError` where it has another network.
    """
    if source is None:
        return None
    loaded, params = read_part(source, part)
    found = loaded.network if isinstance(loaded, Prior) else loaded
    if found != network:
        raise ValueError(f"'{source}' has the prior {found}, not {network}")
    return params


def moments(source: Embeddings) -> tuple[Float32[np.ndarray, " d"], Float32[np.ndarray, " d"]]:
    """Mean and standard deviation of each dimension, in one pass; a constant one has deviation 1"""
    total, squares = np.zeros(source.info.width), np.zeros(source.info.width)
    origin = source[0]["embedding"].astype(np.float64)  # keeps the squares from cancelling
    for index in range(len(source)):
        shifted = source[index]["embedding"] - origin
        total += shifted
        squares += shifted**2
    mean = total / len(source)
    std = np.sqrt(np.maximum(squares / len(source) - mean**2, 0))
    mean, std = (mean + origin).astype(np.float32), std.astype(np.float32)
    return mean, np.where(std > 0, std, np.float32(1))


def standardise(
    z: Float[Array, "*b d"], mean: Float[Array, " d"], std: Float[Array, " d"]
) -> Float[Array, "*b d"]:
    """Embeddings at mean 0 and deviation 1, the units in which priors work."""
    return (z - mean) / std


def check_widths(network: Network, inputs: PriorInputs) -> None:
    """Raises `ValueError` where the network does not take what CLIP gives."""
    for name, (found, wanted) in _widths(network, inputs.clip.config).items():
        if found != wanted:
            raise ValueError(f"{type(network).__name__}.{name} is {found}, but CLIP's is {wanted}")


def outline_inputs(clip: str, network: Network, dtype: DType) -> PriorInputs:
    """Inputs that need not be here, to compile a step: one embedding, and the shapes of CLIP."""

    def fits(config: CLIPConfig) -> bool:
        return all(found == wanted for found, wanted in _widths(network, config).values())

    model, width = outline_clip(clip, fits, dtype), network.embedding_width
    return PriorInputs(
        source=Blank(embedding=width),
        transform=Transform(model.tokenizer.silent),
        clip=model,
        clip_fingerprint="",
        empty=model.tokenizer([""])[0],
        mean=np.zeros(width, np.float32),
        std=np.ones(width, np.float32),
    )


def _widths(network: Network, clip: CLIPConfig) -> dict[str, tuple[int, int]]:
    """By name, what the network takes and what CLIP gives."""
    return {
        "embedding_width": (network.embedding_width, clip.projection_dim),
        "hidden_width": (network.hidden_width or network.embedding_width, clip.text.width),
        "text_length": (network.text_length, clip.text.context_length),
    }


class Transform:
    """An example -> its embedding and the token ids of one of its captions; pickles."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        tokens = self._tokenizer([draw_caption(example, rng)])[0]
        return {"embedding": example["embedding"], "tokens": tokens}
