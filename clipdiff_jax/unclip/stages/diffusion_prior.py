"""Stage `diffusion_prior`: learn to draw CLIP image embeddings of texts.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2. With z the image embedding at mean 0 and
deviation 1 in every dimension, y the text and f the network,

    z_t = alpha_t z + sigma_t eps,    loss = E || f(z_t, t, y) - z ||^2

on the un-noised embedding itself, rather than on eps (the paper's equation 2).
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from clipdiff_jax.core.config import formerly
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.data.transforms import first_examples
from clipdiff_jax.diffusion.grids import even_grid
from clipdiff_jax.diffusion.losses import NoiseLoss, Weighting
from clipdiff_jax.diffusion.steps.analytic import estimate_gamma
from clipdiff_jax.models.unclip import Prior, init_params
from clipdiff_jax.training.left_out import check_share
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig
from clipdiff_jax.unclip.priors.diffusion import GAMMA, NETWORK, DiffusionPriorModel
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
from clipdiff_jax.unclip.towers import TextTower
from clipdiff_jax.weights.layouts.unclip_ours import write_part
from clipdiff_jax.weights.params import cast

GAMMA_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class DiffusionPriorStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: the embeddings, see `clipdiff embed`.
      clip: the CLIP they are of, as `load_clip` takes it.
      model: network and schedule. Karlo's schedule is that of the paper, squared-cosine betas.
      start: unCLIP to start from, as `load_unclip` takes it, with a prior of the same network; its
        units are kept. None starts from random parameters.
      drop_text: the share of texts replaced by "", for classifier-free guidance.
      weighting: of the loss over time, see `diffusion.losses`.
      gamma_times: Gamma of Analytic-DPM is estimated at each export at so many times, evenly
        spread, and stored beside the network, for `sampler="analytic"`; 0 leaves it out. The
        paper samples in 64 steps.
      gamma_examples: embeddings, each with one of its captions, that it is estimated from.
      remat: recompute the network's blocks in the backward pass.
      dtype: what the networks compute in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
    """

    data: EmbeddingsData
    clip: str = "demo"
    model: Prior = field(default_factory=Prior)
    start: str | None = formerly(None, {"": None})
    drop_text: float = 0.1
    weighting: Weighting = "uniform"
    gamma_times: int = 0
    gamma_examples: int = 512
    remat: bool = False
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"

    def __post_init__(self) -> None:
        check_share("drop_text", self.drop_text)
        if self.gamma_examples < 1:
            raise ValueError(f"gamma_examples={self.gamma_examples}, expected at least 1")
        if self.gamma_times:
            even_grid(self.model.schedule.num_steps, self.gamma_times, "linspace")

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self)

    def outline(self) -> Stage:
        inputs = outline_inputs(self.clip, self.model.network, as_dtype(self.dtype))
        return make_stage(replace(self, start=None), inputs)


def build(config: DiffusionPriorStage) -> Stage:
    """Opens embeddings and CLIP and joins them with network and schedule.

    Raises `ValueError` where CLIP's widths are not the network's or `start` holds another network,
    and what opening the data and loading the models raises.
    """
    return make_stage(config, open_prior_inputs(config.data, config.clip))


def make_stage(config: DiffusionPriorStage, inputs: PriorInputs) -> Stage:
    """The stage over opened inputs; `config.data` and `config.clip` are not looked at."""
    model, dtype = config.model, as_dtype(config.dtype)
    check_widths(model.network, inputs)
    start = read_start(config.start, "prior", model.network)
    if start is not None:
        start = {NETWORK: start[NETWORK]}  # without Gamma, which is another network's soon

    def init(key: Key[Array, ""]) -> Params:
        return {NETWORK: init_params(model, key)[NETWORK] | inputs.units}

    noise_loss = NoiseLoss(model.schedule, "x0", config.weighting)

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        time_key, noise_key, drop_key = jax.random.split(key, 3)
        prior = DiffusionPriorModel(model, params, dtype, config.remat)
        text = inputs.features(frozen, batch["tokens"], drop_key, config.drop_text)
        units = (jax.lax.stop_gradient(params[NETWORK][unit]) for unit in UNITS)
        z = standardise(batch["embedding"], *units)
        t, eps = noise_loss.draw(z, time_key, noise_key)
        value, metrics = noise_loss(prior.apply, z, t, eps, text._asdict())
        return value, Aux(metrics)

    def export(path: Path, params: Params) -> None:
        stored = jax.tree.map(lambda a: cast(a, as_dtype(config.export_dtype)), params)
        if config.gamma_times:
            stored |= {GAMMA: jax.device_get(estimate(config, inputs, params))}
        write_part(path, model, stored, clip=inputs.clip_fingerprint)

    return Stage(
        init=init,
        loss=loss,
        source=inputs.source,
        transform=inputs.transform,
        frozen=inputs.tower(dtype),
        start=start,
        trainable=all_but_units(NETWORK),
        export=export,
    )


def estimate(config: DiffusionPriorStage, inputs: PriorInputs, params: Params) -> dict[str, Array]:
    """Gamma of Analytic-DPM for these parameters: `times` [S] from noise on, and `values` [S]."""
    model, source = config.model, inputs.source
    times = even_grid(model.schedule.num_steps, config.gamma_times, "linspace")[:-1]
    count = min(config.gamma_examples, len(source))
    batch = min(GAMMA_BATCH, count)
    shape = (count // batch, batch)
    examples = first_examples(source, inputs.transform, shape[0] * batch)
    batches = {k: jnp.asarray(v.reshape(*shape, *v.shape[1:])) for k, v in examples.items()}

    @jax.jit
    def run(prior: DiffusionPriorModel, tower: TextTower, z: Array, tokens: Array) -> Array:
        features = tower.encode(tokens.reshape(-1, tokens.shape[-1]))
        cond = jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), features._asdict())
        z = standardise(z, *(prior.params[NETWORK][unit] for unit in UNITS))
        return estimate_gamma(prior.denoise, model.schedule, times, z, jax.random.key(0), cond)

    dtype = as_dtype(config.dtype)
    prior, tower = DiffusionPriorModel(model, params, dtype), inputs.tower(dtype)
    values = run(prior, tower, batches["embedding"], batches["tokens"])
    return {"times": jnp.asarray(times), "values": values}
