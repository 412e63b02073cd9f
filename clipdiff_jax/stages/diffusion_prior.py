"""Stage `diffusion_prior`: learn to draw CLIP image embeddings of texts.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2. With z the image embedding at mean 0 and
deviation 1 in every dimension, y the text and f the network,

    z_t = alpha_t z + sigma_t eps,    loss = E || f(z_t, t, y) - z ||^2

on the un-noised embedding itself, rather than on eps (the paper's equation 2).
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.diffusion.losses import Weighting, noise_loss
from clipdiff_jax.models.diffusion_prior import DiffusionPrior
from clipdiff_jax.pipelines.unclip import read_stage
from clipdiff_jax.pipelines.unclip_configs import Prior
from clipdiff_jax.pipelines.unclip_networks import init_params
from clipdiff_jax.pipelines.unclip_stages import save_stage
from clipdiff_jax.stages.prior_inputs import (
    UNITS,
    PriorInputs,
    check_widths,
    open_prior_inputs,
    standardise,
)
from clipdiff_jax.train.stage import Aux, Stage


@dataclass(frozen=True, kw_only=True)
class DiffusionPriorStage:
    """Describes the stage.

    Attributes:
      data: the embeddings, see `python -m clipdiff_jax.embed`.
      clip: the CLIP they are of, as `load_clip` takes it.
      model: network and schedule. Karlo's schedule is that of the paper, squared-cosine betas.
      start: unCLIP to start from, as `load_unclip` takes it, with a prior of the same network; its
        units are kept. "" starts from random parameters.
      drop_text: the share of texts replaced by "", for classifier-free guidance.
      weighting: of the loss over time, see `diffusion.losses`.
      remat: recompute the network's blocks in the backward pass.
      dtype: what the networks compute in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
    """

    data: EmbeddingsData
    clip: str = "demo"
    model: Prior = field(default_factory=Prior)
    start: str = ""
    drop_text: float = 0.1
    weighting: Weighting = "uniform"
    remat: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    export_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.drop_text <= 1:
            raise ValueError(f"drop_text must be a share between 0 and 1, got {self.drop_text}")


def build(config: DiffusionPriorStage) -> Stage:
    """Opens embeddings and CLIP and joins them with network and schedule.

    Raises `ValueError` where CLIP's widths are not the network's or `start` holds another network,
    and what opening the data and loading the models raises.
    """
    return make_stage(config, open_prior_inputs(config.data, config.clip))


def make_stage(config: DiffusionPriorStage, inputs: PriorInputs) -> Stage:
    """The stage over opened inputs; `config.data` and `config.clip` are not looked at."""
    model, dtype = config.model, jnp.dtype(config.dtype)
    check_widths(model.network, inputs)
    start = None
    if config.start:
        loaded, start = read_stage(config.start, "prior")
        if loaded.network != model.network:
            raise ValueError(
                f"'{config.start}' has the prior {loaded.network}, not {model.network}"
            )
    network: Any = DiffusionPrior(model.network, remat=config.remat, dtype=dtype)

    def init(key):
        params = init_params(model, key)
        units = dict(zip(UNITS, (jnp.asarray(inputs.mean), jnp.asarray(inputs.std)), strict=True))
        return {"prior": params["prior"] | units}

    def loss(params, frozen, batch, key):
        time_key, noise_key, drop_key = jax.random.split(key, 3)
        prior = params["prior"]
        text = inputs.features(frozen, batch["tokens"], dtype, drop_key, config.drop_text)
        z = standardise(batch["embedding"], *(jax.lax.stop_gradient(prior[u]) for u in UNITS))
        t = jax.random.randint(time_key, z.shape[:1], 0, model.schedule.num_steps)
        value, metrics = noise_loss(
            partial(network.apply, {"params": prior}),
            model.schedule,
            z,
            t,
            jax.random.normal(noise_key, z.shape),
            text._asdict(),
            prediction="x0",
            weighting=config.weighting,
        )
        return value, Aux(metrics)

    def export(path: Path, params):
        save_stage(
            path, model, params, clip=inputs.clip_fingerprint, dtype=jnp.dtype(config.export_dtype)
        )

    return Stage(
        init=init,
        loss=loss,
        source=inputs.source,
        transform=inputs.transform,
        frozen=inputs.frozen,
        start=start,
        trainable=f"^(?!prior/({'|'.join(UNITS)})$)",
        export=export,
    )
