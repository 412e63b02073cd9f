"""Stage `autoencoder`: learn to make latents of pictures, and pictures of latents.

Rombach et al. 2022, arXiv 2112.10752, section 3.1 and appendix G, without the discriminator:

    L = E |x - decoder(z)| + lpips_weight LPIPS(x, decoder(z)) + kl_weight KL(q(z | x) || N(0, 1))

with z drawn from q(z | x), the first term a mean over pixels and channels and the last one over the
numbers of the latents. What is exported knows the scale of its latents: `scaling` is one over their
standard deviation (appendix G).
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, DTypeName, Params, as_dtype
from clipdiff_jax.data.blank import Blank
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.transforms import first_examples, prepare
from clipdiff_jax.models.autoencoder import Autoencoder, AutoencoderConfig, Posterior, init_params
from clipdiff_jax.perceptual.lpips import Lpips, load_lpips
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig
from clipdiff_jax.weights.layouts.latent_ours import read_autoencoder, write_autoencoder

MEASURED = 256  # pictures that the scale of the latents is measured on
BATCH = 16  # of them at a time


@dataclass(frozen=True, kw_only=True)
class AutoencoderStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: what to train on.
      model: the network; its `scaling` is measured anew where it is exported.
      image_size: side of the pictures in pixels.
      start: autoencoder or latent model of ours to start from; None starts from random parameters.
      flip: mirror half of the pictures.
      kl_weight: of the KL term.
      lpips_weight: of LPIPS; 0 leaves it out.
      lpips_network, lpips_heads, lpips_net: its weights, see `perceptual.lpips.load_lpips`.
      dtype: what the network computes in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
      preview_count: pictures shown in the log beside what becomes of them.
    """

    data: DataConfig
    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    image_size: int = 256
    start: str | None = None
    flip: bool = False
    kl_weight: float = 1e-6
    lpips_weight: float = 0.0
    lpips_network: str | None = None
    lpips_heads: str | None = None
    lpips_net: str = "vgg"
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"
    preview_count: int = 8

    def __post_init__(self) -> None:
        for name in ("kl_weight", "lpips_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.image_size % self.model.factor:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the autoencoder's factor "
                f"{self.model.factor}"
            )
        if self.lpips_weight and not (self.lpips_network and self.lpips_heads):
            raise ValueError(
                f"lpips_weight is {self.lpips_weight}: give its weights, lpips_network and "
                "lpips_heads"
            )

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self)

    def outline(self) -> Stage:
        return make_stage(replace(self, start=None), Blank(self.image_size))


def build(config: AutoencoderStage) -> Stage:
    """Opens the data and joins it with the network and the loss.

    Raises `ValueError` if `start` holds another network than `model`, and what opening the data or
    the weights raises.
    """
    return make_stage(config, open_source(config.data))


def make_stage(config: AutoencoderStage, source: DataSource) -> Stage:
    """The stage over a given source; `config.data` is not looked at."""
    network = Autoencoder(config.model, as_dtype(config.dtype))
    transform = prepare(config.image_size, config.flip)
    perceptual = _lpips(config)

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        x = batch["image"]
        posterior = run(network, params, x, method="encode")
        noise = jax.random.normal(key, posterior.mean.shape, jnp.float32)
        z = posterior.mean + jnp.exp(0.5 * posterior.logvar) * noise
        decoded = run(network, params, z, method="decode")
        error, kl = decoded - x, kl_to_normal(posterior)
        l1 = jnp.mean(jnp.abs(error))
        metrics = {"l1": l1, "kl": kl, "psnr": psnr(error)}
        value = l1 + config.kl_weight * kl
        if config.lpips_weight:
            metrics["lpips"] = jnp.mean(frozen.distance(x, decoded))
            value += config.lpips_weight * metrics["lpips"]
        return value, Aux(metrics)

    def preview(params: Params, frozen: Params, key: Key[Array, ""]) -> dict[str, Array]:
        del frozen, key
        shown = jnp.asarray(first_examples(source, transform, config.preview_count)["image"])
        decoded = jax.jit(network.apply)({"params": params}, shown)
        return {"originals": shown, "reconstructions": jnp.clip(decoded, -1, 1)}

    def export(path: Path, params: Params) -> None:
        images = first_examples(source, transform, min(MEASURED, len(source)))["image"]
        model = replace(config.model, scaling=latent_scaling(config.model, params, images))
        write_autoencoder(path, model, params, as_dtype(config.export_dtype))

    return Stage(
        init=partial(init_params, config.model),
        loss=loss,
        source=source,
        transform=transform,
        frozen=perceptual,
        start=_start(config),
        preview=preview,
        export=export,
    )


def kl_to_normal(posterior: Posterior) -> Float[Array, ""]:
    """KL(q(z | x) || N(0, 1)), the mean over all numbers of the latents, in nats."""
    mean, logvar = posterior
    return jnp.mean(0.5 * (mean**2 + jnp.exp(logvar) - 1 - logvar))


def psnr(error: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Of pictures with a range of 2: 10 log10(4 / mean square), in dB."""
    return 10 * jnp.log10(4 / jnp.maximum(jnp.mean(error**2), 1e-12))


def latent_scaling(
    config: AutoencoderConfig,
    params: Params,
    images: Float[np.ndarray, "n h w 3"],
    dtype: DType = jnp.float32,
) -> float:
    """One over the standard deviation of the means of q(z | x), of these pictures."""
    network = Autoencoder(config, dtype)

    @jax.jit
    def encode(images: Array) -> Array:
        return run(network, params, images, method="encode").mean

    size = min(BATCH, len(images))
    means = [np.asarray(encode(batch))[:count] for batch, count in filled_batches(images, size)]
    return float(1 / max(np.std(np.concatenate(means)), 1e-6))


def _lpips(config: AutoencoderStage) -> Lpips | None:
    if not (config.lpips_weight and config.lpips_network and config.lpips_heads):
        return None
    return load_lpips(config.lpips_network, config.lpips_heads, config.lpips_net)


def _start(config: AutoencoderStage) -> Params | None:
    """The parameters to start from; None for random ones."""
    if config.start is None:
        return None
    found, params = read_autoencoder(config.start)
    if replace(found, scaling=config.model.scaling) != config.model:
        raise ValueError(f"'{config.start}' has the autoencoder {found}, not {config.model}")
    return params
