"""Stage `ar_prior`: learn to write CLIP image embeddings of texts, code by code.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2. Before training, the principal components of the
embeddings, the bounds of their buckets and the distribution of z_i . z_t are taken from the data
and kept with the weights. With y the text, d the bucket of the dot product and c_k the codes

    loss = -(log p(d | y) + sum over k of log p(c_k | y, d, c_1 .. c_{k-1})) / (K + 1)

The bucket d is always that of the picture's own text, also where the text is dropped: guidance
then compares two predictions about pictures that fit their texts equally well.
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from clipdiff_jax.core.batching import filled
from clipdiff_jax.core.config import formerly
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models import pca
from clipdiff_jax.models.ar_prior import NETWORK, ARPriorConfig, init_params
from clipdiff_jax.models.pca import PCA
from clipdiff_jax.training.left_out import check_share, leave_out
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig
from clipdiff_jax.unclip.priors.autoregressive import (
    ARPriorModel,
    dot_products,
    fitted_params,
)
from clipdiff_jax.unclip.stages.prior_inputs import (
    PriorInputs,
    check_widths,
    open_prior_inputs,
    outline_inputs,
    read_start,
)
from clipdiff_jax.weights.layouts.unclip_ours import write_part
from clipdiff_jax.weights.params import cast

FITTED_AT_ONCE = 256  # examples in a batch of those that components and buckets are fitted to

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ARPriorStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: the embeddings, see `clipdiff embed`.
      clip: the CLIP they are of, as `load_clip` takes it.
      model: the network, and how many components and buckets there are.
      start: unCLIP to start from, as `load_unclip` takes it, with an autoregressive prior of the
        same network; its components and buckets are kept. None starts from random parameters.
      drop_text: the share of texts replaced by "", for classifier-free guidance.
      deviations: each code's buckets reach so many standard deviations from the mean; the paper
        does not say. What lies beyond is in the last bucket: one of 15,800 normal numbers.
      fit_examples: how many examples, evenly spread, components and buckets are fitted to.
      remat: recompute the network's blocks in the backward pass.
      dtype: what the networks compute in; parameters stay float32.
      export_dtype: what the network's exported parameters are stored in.
    """

    data: EmbeddingsData
    clip: str = "demo"
    model: ARPriorConfig = field(default_factory=ARPriorConfig)
    start: str | None = formerly(None, {"": None})
    drop_text: float = 0.1
    deviations: float = 4.0
    fit_examples: int = 100_000
    remat: bool = False
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"

    def __post_init__(self) -> None:
        check_share("drop_text", self.drop_text)
        if self.fit_examples < 2:
            raise ValueError(f"fit_examples={self.fit_examples}, expected at least 2")

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self, fit=not only_shapes)

    def outline(self) -> Stage:
        inputs = outline_inputs(self.clip, self.model, as_dtype(self.dtype))
        return make_stage(replace(self, start=None), inputs, fit=False)


def build(config: ARPriorStage, *, fit: bool = True) -> Stage:
    """Opens embeddings and CLIP, fits components and buckets and joins them with the network.

    fit: whether they are fitted to the data; else they are of the right shape and nothing more.
    Raises `ValueError` where CLIP's widths are not the network's or `start` holds another network,
    and what opening the data and loading the models raises.
    """
    return make_stage(config, open_prior_inputs(config.data, config.clip), fit=fit)


def make_stage(config: ARPriorStage, inputs: PriorInputs, *, fit: bool = True) -> Stage:
    """The stage over opened inputs; `config.data` and `config.clip` are not looked at."""
    model, dtype = config.model, as_dtype(config.dtype)
    check_widths(model, inputs)
    start = read_start(config.start, "ar_prior", model)
    if start is not None:
        fitted = {name: value for name, value in start.items() if name != NETWORK}
    elif fit:
        fitted = fit_to_data(config, inputs)
    else:
        width = model.embedding_width
        blank = PCA(np.zeros(width), np.zeros((width, width)), np.ones(width))
        fitted = fitted_params(model, blank, np.zeros(1), config.deviations)

    def init(key: Key[Array, ""]) -> Params:
        return init_params(model, key) | jax.tree.map(jnp.asarray, fitted)

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        image, tokens = batch["embedding"], batch["tokens"]
        prior = ARPriorModel(model, params, dtype, config.remat)
        text = frozen.encode(tokens)
        dot, codes = prior.to_codes(image, text.embedding)
        dropped = jax.random.bernoulli(key, config.drop_text, tokens.shape[:1])
        empty = frozen.encode(jnp.asarray(inputs.empty)[None])
        dot_logits, logits = prior.apply(leave_out(dropped, text, empty), dot, codes)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        of_dot, of_codes = cross_entropy(dot_logits, dot).mean(), cross_entropy(logits, codes)
        value = (of_dot + of_codes.sum(axis=1).mean()) / (model.dims + 1)
        return value, Aux({"dot": of_dot, "first_code": of_codes[:, 0].mean()})

    def export(path: Path, params: Params) -> None:
        # What the network was fitted to stays exact.
        stored = jax.tree.map(lambda p: cast(p, as_dtype(config.export_dtype)), params[NETWORK])
        write_part(path, model, params | {NETWORK: stored}, clip=inputs.clip_fingerprint)

    return Stage(
        init=init,
        loss=loss,
        source=inputs.source,
        transform=inputs.transform,
        frozen=inputs.tower(dtype),
        start=start,
        trainable=f"^{NETWORK}/",
        export=export,
    )


def fit_to_data(config: ARPriorStage, inputs: PriorInputs) -> dict[str, Any]:
    """The components and buckets of the data, see `fitted_params`; says what they keep."""
    source, tower = inputs.source, inputs.tower(as_dtype(config.dtype))
    count = min(config.fit_examples, len(source))
    indices = np.linspace(0, len(source) - 1, count).round().astype(int)
    moments, dots = None, []
    for start in range(0, count, FITTED_AT_ONCE):
        part = indices[start : start + FITTED_AT_ONCE]
        examples = [inputs.transform(source[int(i)], np.random.default_rng(int(i))) for i in part]
        image = np.stack([example["embedding"] for example in examples])
        tokens = np.stack([example["tokens"] for example in examples])
        moments = pca.update(moments, image)
        # One shape, so that the text tower is compiled once.
        padded = jnp.asarray(filled(tokens, FITTED_AT_ONCE))
        text = tower.encode(padded).embedding[: len(part)]
        dots.append(np.asarray(dot_products(jnp.asarray(image), text)))
    assert moments is not None
    components = pca.of_moments(moments)
    kept = 1 - pca.lost_share(components, config.model.dims)
    width = config.model.embedding_width
    logger.info(f"{config.model.dims} of {width} dimensions keep {kept:.2%} of variance")
    return fitted_params(config.model, components, np.concatenate(dots), config.deviations)
