"""Stage `upsampler`: learn to make large images of small ones, without a text.

Ramesh et al. 2022, arXiv 2204.06125, section 2.1: the noise loss of a large image given a small one
of it, corrupted (`data.degrade`), resized again and put beside x_t as further channels (Saharia et
al. 2021, arXiv 2104.07636). The network is convolutional, so that it can be trained on small crops
and run on whole images.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from clipdiff_jax.core.config import formerly
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.blank import Blank
from clipdiff_jax.data.degrade import Blur, Degradation, Resampling, degrade
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.transforms import first_examples, square, to_float
from clipdiff_jax.diffusion.losses import Weighting
from clipdiff_jax.models.unclip import Upsampler, init_params
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig
from clipdiff_jax.unclip.load import read_part
from clipdiff_jax.unclip.stages.noise import noise_loss_of, preview_walk
from clipdiff_jax.unclip.upsampler import UpsamplerModel, resize
from clipdiff_jax.weights.layouts.unclip_ours import write_part


@dataclass(frozen=True, kw_only=True)
class UpsamplerStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: images of at least `model.image_size` pixels per side; captions are not looked at.
      model: one network (`last` is False), its sizes and its schedule.
      start: unCLIP to start from, as `load_unclip` takes it; None starts from random parameters. Of
        two networks, as Karlo has, it is the first, which takes all steps but one.
      flip: mirror half of the images.
      crop: side of the crops it is trained on, as a share of the large image's; 1 for whole images.
      degradation: what corrupts the small image: `Blur` (for 64 -> 256 px in the paper) or `BSR`
        (256 -> 1024 px).
      resampling: the filter that makes the small image before a `Blur`.
      weighting: of the noise loss over time, see `diffusion.losses`.
      vlb_weight: of the variational bound, in units of T / 1000; for networks that learn variance.
      dtype: what the network computes in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
      preview_count, preview_steps: images and DDIM steps of the samples in the log: the data's
        first images, whole, beside the small ones they are made from.
    """

    data: DataConfig
    model: Upsampler
    start: str | None = formerly(None, {"": None})
    flip: bool = True
    crop: float = 0.25
    degradation: Degradation = field(default_factory=Blur)
    resampling: Resampling = "area"
    weighting: Weighting = "uniform"
    vlb_weight: float = 1.0
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "float32"
    preview_count: int = 4
    preview_steps: int = 27

    def __post_init__(self) -> None:
        model, network = self.model, self.model.network
        if model.last:
            raise ValueError("model.last is True: this trains one network, expected False")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be a share in (0, 1], got {self.crop}")
        wanted = np.lcm(
            network.stride, model.image_size // np.gcd(model.image_size, model.low_size)
        )
        if self.crop_size % wanted:
            raise ValueError(
                f"crop {self.crop} of {model.image_size} pixels is {self.crop_size}, expected a "
                f"multiple of {wanted}: of the network's stride and of whole small pixels"
            )
        if self.crop < 1 and (network.attention_levels or network.middle_attention):
            raise ValueError(
                "attention looks at the whole image, which is another one in training on crops: "
                "expected attention_levels=() and middle_attention=False, or crop=1"
            )

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels of the large image."""
        return round(self.crop * self.model.image_size)

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self)

    def outline(self) -> Stage:
        return make_stage(replace(self, start=None), Blank(self.model.image_size))


def build(config: UpsamplerStage) -> Stage:
    """Opens the data and joins network, schedule and loss.

    Raises `ValueError` if the data's first image is too small or `start` holds another network than
    `model`, and what opening the data or reading the folder raises.
    """
    return make_stage(config, open_source(config.data))


def make_stage(config: UpsamplerStage, source: DataSource) -> Stage:
    """The stage over a given source; `config.data` is not looked at."""
    model, dtype = config.model, as_dtype(config.dtype)
    height, width = source[0]["image"].shape[:2]
    if min(height, width) < model.image_size:
        raise ValueError(
            f"the data's images are of {height} x {width} pixels, expected at least "
            f"model.image_size, {model.image_size}: enlarged ones have nothing to learn from"
        )
    shown = first_examples(source, LargeAndSmall(config, whole=True), config.preview_count)

    noise_loss = noise_loss_of(model, config.weighting, config.vlb_weight)

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        del frozen
        x0 = batch["image"]
        low = resize(batch["low"], config.crop_size)
        time_key, noise_key, dropout_key = jax.random.split(key, 3)
        t, eps = noise_loss.draw(x0, time_key, noise_key)
        upsampler = UpsamplerModel(model, params, dtype)
        network = partial(upsampler.apply, network="unet", dropout_key=dropout_key)
        value, metrics = noise_loss(network, x0, t, eps, low)
        return value, Aux(metrics)

    def preview(params: Params, frozen: Params, key: Key[Array, ""]) -> dict[str, Array]:
        del frozen
        batch = jax.tree.map(jnp.asarray, shown)
        shape, low = batch["image"].shape, batch["low"]
        walk = preview_walk(model, config.preview_steps, "trailing", 1.0, key, shape)
        samples = UpsamplerModel(model, params, dtype).draw(low, walk, sampler="ddim")
        resized = jnp.clip(resize(low, model.image_size), -1, 1)
        return {"samples": samples, "resized": resized, "originals": batch["image"]}

    def export(path: Path, params: Params) -> None:
        write_part(path, model, params, dtype=as_dtype(config.export_dtype))

    return Stage(
        init=partial(init_params, model),
        loss=loss,
        source=source,
        transform=LargeAndSmall(config),
        start=_start(config),
        preview=preview,
        export=export,
    )


@dataclass(frozen=True)
class LargeAndSmall:
    """The transform `(example, rng) -> {"image", "low"}`: a crop, and the small image of it.

    Both are float32 in [-1, 1]. With `whole` there is no crop, and no mirroring.
    """

    config: UpsamplerStage
    whole: bool = False

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        config, model = self.config, self.config.model
        image, side = square(example["image"], model.image_size), model.image_size
        if not self.whole:
            side = config.crop_size
            top, left = rng.integers(model.image_size - side, size=2, endpoint=True)
            image = image[top : top + side, left : left + side]
            if config.flip and rng.random() < 0.5:
                image = image[:, ::-1]
        size = side * model.low_size // model.image_size
        image = np.ascontiguousarray(image)
        small = degrade(image, size, config.degradation, rng, config.resampling)
        return {"image": to_float(image), "low": to_float(small)}


def _start(config: UpsamplerStage) -> Params | None:
    """The parameters to start from; None for random ones."""
    if config.start is None:
        return None
    loaded, params = read_part(config.start, "upsampler")
    if loaded.network != config.model.network:
        raise ValueError(
            f"'{config.start}' has the network {loaded.network}, not {config.model.network}"
        )
    return {"unet": params["first" if loaded.last else "unet"]}
