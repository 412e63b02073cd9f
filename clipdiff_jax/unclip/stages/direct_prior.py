"""Stage `direct_prior`: learn the CLIP image embedding of a text in one evaluation.

ECLIPSE (Patel et al. 2024, arXiv 2312.04655, section 3.2). With z the image embedding at mean 0 and
deviation 1 in every dimension, f(y) the network's of the text y, u the unit vectors of f(y) brought
back to CLIP's units, v those of the batch's text embeddings and s CLIP's temperature,

    loss = mean (f(y) - z)^2  -  w mean over i of log softmax_j(s u_i . v_j)_i

Text is never dropped: nothing is drawn, so there is nothing to guide.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.config import formerly
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models.clip import unit
from clipdiff_jax.models.direct_prior import NETWORK, DirectPriorConfig, init_params
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig
from clipdiff_jax.unclip.priors.autoregressive import dot_products
from clipdiff_jax.unclip.priors.direct import DirectPriorModel
from clipdiff_jax.unclip.stages.prior_inputs import (
    UNITS,
    PriorInputs,
    all_but_units,
    check_widths,
    open_prior_inputs,
    outline_inputs,
    read_start,
    standardise,
)
from clipdiff_jax.weights.layouts.unclip_ours import write_part


@dataclass(frozen=True, kw_only=True)
class DirectPriorStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: the embeddings, see `clipdiff embed`.
      clip: the CLIP they are of, as `load_clip` takes it.
      model: the network.
      start: unCLIP to start from, as `load_unclip` takes it, with a direct prior of the same
        network; its units are kept. None starts from random parameters.
      contrastive: the weight w of the contrastive term, 0.2 in the paper.
      remat: recompute the network's blocks in the backward pass.
      dtype: what the networks compute in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
    """

    data: EmbeddingsData
    clip: str = "demo"
    model: DirectPriorConfig = field(default_factory=DirectPriorConfig)
    start: str | None = formerly(None, {"": None})
    contrastive: float = 0.2
    remat: bool = False
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self)

    def outline(self) -> Stage:
        inputs = outline_inputs(self.clip, self.model, as_dtype(self.dtype))
        return make_stage(replace(self, start=None), inputs)


def build(config: DirectPriorStage) -> Stage:
    """Opens embeddings and CLIP and joins them with the network.

    Raises `ValueError` where CLIP's widths are not the network's or `start` holds another network,
    and what opening the data and loading the models raises.
    """
    return make_stage(config, open_prior_inputs(config.data, config.clip))


def make_stage(config: DirectPriorStage, inputs: PriorInputs) -> Stage:
    """The stage over opened inputs; `config.data` and `config.clip` are not looked at."""
    model, dtype = config.model, as_dtype(config.dtype)
    check_widths(model, inputs)
    temperature = inputs.clip.temperature

    def init(key: Key[Array, ""]) -> Params:
        return {NETWORK: init_params(model, key)[NETWORK] | inputs.units}

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        del key
        prior = DirectPriorModel(model, params, dtype, config.remat)
        text = frozen.encode(batch["tokens"])
        z = standardise(batch["embedding"], *(params[NETWORK][name] for name in UNITS))
        predicted = prior.apply(text)
        error = jnp.square(predicted - z).mean()
        restored = prior.restore(predicted)
        contrast = contrastive_term(restored, text.embedding, temperature)
        cosine = dot_products(restored, batch["embedding"]).mean()
        metrics = {"error": error, "contrast": contrast, "cosine": cosine}
        return error + config.contrastive * contrast, Aux(metrics)

    def export(path: Path, params: Params) -> None:
        write_part(
            path, model, params, clip=inputs.clip_fingerprint, dtype=as_dtype(config.export_dtype)
        )

    return Stage(
        init=init,
        loss=loss,
        source=inputs.source,
        transform=inputs.transform,
        frozen=inputs.tower(dtype),
        start=read_start(config.start, "direct_prior", model),
        trainable=all_but_units(NETWORK),
        export=export,
    )


def contrastive_term(
    image: Float[Array, "b d"], text: Float[Array, "b d"], temperature: float
) -> Float[Array, ""]:
    """How badly each image embedding tells its own text from the batch's others, in nats."""
    logits = temperature * unit(image) @ unit(text).T
    labels = jnp.arange(len(logits))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
