"""A pixel diffusion model as a thing to hold: its config, its parameters, and what it can do.

`DiffusionConfig` ties a network to the schedule and the target it was trained with; `denoiser`
turns the two and a parameter pytree into the `Denoise` that samplers and guidance speak.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.diffusion.prediction import Denoise, Target, make_denoise
from clipdiff_jax.diffusion.sampler import ddim, even_grid, picture_keys, sample, step_noise
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.unet import BottleneckShift, UNet, UNetConfig
from clipdiff_jax.weights.documents import named, sample_size
from clipdiff_jax.weights.folder import (
    WeightsError,
    demo_folder,
    is_our_folder,
    load_folder,
    read_config,
    save_folder,
)
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.layouts import unet_ddpm, unet_diffusers, unet_guided
from clipdiff_jax.weights.layouts.schedule_diffusers import read_schedule
from clipdiff_jax.weights.layouts.unet_guided import GuidedFlags
from clipdiff_jax.weights.read import Tensors, open_tensors
from clipdiff_jax.weights.tables import Table, import_params

KIND = "diffusion"
DEMO = "demo"
SCHEDULER = "scheduler_config.json"
Classes = int | Sequence[int] | Int[Array | np.ndarray, "..."] | None


@dataclass(frozen=True)
class DiffusionConfig:
    """Describes a pixel diffusion model without text; `unet.num_classes` says if it takes classes.

    Attributes:
      unet: the network.
      image_size: side of the square images it was trained on, in pixels.
      schedule: the noise schedule.
      prediction: what the network outputs.
      learned_variance: whether the second half of the output is the variance.
      time_scale: times the index, it is what the network is told for the time.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    image_size: int = 256
    schedule: DiscreteSchedule = field(default_factory=DiscreteSchedule)
    prediction: Target = "eps"
    learned_variance: bool = False
    time_scale: float = 1.0

    def __post_init__(self):
        if self.image_size % self.unet.stride:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the network's stride "
                f"{self.unet.stride}"
            )
        expected = self.unet.in_channels * (2 if self.learned_variance else 1)
        if self.unet.out_channels != expected:
            raise ValueError(
                f"unet.out_channels is {self.unet.out_channels}, expected {expected} with "
                f"learned_variance={self.learned_variance}"
            )


def init_params(config: DiffusionConfig, key: Array) -> Any:
    """New parameters (float32)."""
    size, channels = config.image_size, config.unet.in_channels
    x, t = jnp.zeros((1, size, size, channels)), jnp.zeros((1,), jnp.int32)
    cond = None if config.unet.num_classes is None else {"classes": t}
    return UNet(config.unet).init(key, x, t, cond)["params"]


def apply(
    config: DiffusionConfig,
    params: Any,
    x_t: Float[Array, "b h w c"],
    t: Int[Array, " b"],
    classes: Int[Array, " b"] | None = None,
    *,
    dtype: Any = jnp.float32,
    dropout_key: Key[Array, ""] | None = None,
    bottleneck_shift: BottleneckShift | None = None,
) -> Float[Array, "b h w o"]:
    """The raw network output; dropout acts where a `dropout_key` is given."""
    network: Any = UNet(config.unet, dtype=dtype)
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    cond = None if classes is None else {"classes": classes}
    time = t if config.time_scale == 1 else t * config.time_scale
    return network.apply(
        {"params": params},
        x_t,
        time,
        cond,
        train=dropout_key is not None,
        bottleneck_shift=bottleneck_shift,
        rngs=rngs,
    )


def denoiser(
    config: DiffusionConfig, params: Any, *, dtype: Any = jnp.float32, clip: float | None = None
) -> Denoise:
    """The model as a `Denoise`; see `diffusion.prediction.make_denoise`.

    Where the model takes classes its `cond` is an int array of them, [B].
    """
    conditional = config.unet.num_classes is not None

    def network(x_t: Array, t: Array, cond: Any) -> Array:
        return apply(config, params, x_t, t, cond if conditional else None, dtype=dtype)

    return make_denoise(network, config.schedule, config.prediction, config.learned_variance, clip)


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A loaded model. Arrays live in `params`; `dtype` is what the network computes in."""

    config: DiffusionConfig
    params: Any
    dtype: Any = jnp.float32

    def predict(
        self,
        x_t: Float[Array | np.ndarray, "b h w c"],
        t: Int[Array | np.ndarray, "..."] | int,
        classes: Classes = None,
    ) -> Float[Array, "b h w o"]:
        """The raw network output for images [B,H,W,C] at time indices t (scalar or [B]).

        classes: one for all or one for each, of a model that has them.
        """
        x_t = jnp.asarray(x_t)
        t = jnp.broadcast_to(jnp.asarray(t, jnp.int32), x_t.shape[:1])
        chosen = self._classes(classes, len(x_t))
        return _predict(self.config, self.dtype, self.params, x_t, t, chosen)

    @property
    def denoise(self) -> Denoise:
        """The model as a `Denoise` without clipping, as inversion and editing need it."""
        return denoiser(self.config, self.params, dtype=self.dtype)

    def generate(
        self,
        key: Key[Array, "..."],
        count: int = 1,
        *,
        classes: Classes = None,
        steps: int = 50,
        eta: float = 0.0,
    ) -> Float[Array, "n h w c"]:
        """Samples images in [-1, 1] by DDIM over `steps` evenly spaced times, x0 clipped.

        Image i uses `fold_in(key, i)`; given [N] keys there is one image for each, which depends on
        its own key alone. Changing key, classes or eta compiles nothing new.

        classes: what to draw, by a model that has classes: one for all images or one for each.
            Raises `ValueError` where they are missing, too many, or none of the model's.
        """
        keys = picture_keys(key, jnp.arange(count))
        grid = even_grid(self.config.schedule.num_steps, steps)
        chosen = self._classes(classes, len(keys))
        return _generate(self.config, self.dtype, self.params, grid, keys, jnp.float32(eta), chosen)

    def _classes(self, classes: Classes, count: int) -> Int[np.ndarray, " b"] | None:
        """The class of each of `count` images, or None where the model has none."""
        number = self.config.unet.num_classes
        if number is None and classes is None:
            return None
        if number is None:
            raise ValueError(f"this model takes no classes, got {classes}")
        if classes is None:
            raise ValueError(f"this model has {number} classes: give `classes`")
        chosen = np.asarray(classes, np.int32)
        if chosen.shape not in ((), (count,)):
            raise ValueError(f"need one class or {count} of them, got {chosen.size}")
        if not ((chosen >= 0) & (chosen < number)).all():
            raise ValueError(f"classes are 0 .. {number - 1}, got {classes}")
        return np.broadcast_to(chosen, (count,))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(
    config: DiffusionConfig, dtype: Any, params: Any, x_t: Array, t: Array, classes: Array | None
) -> Array:
    return apply(config, params, x_t, t, classes, dtype=dtype)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _generate(
    config: DiffusionConfig,
    dtype: Any,
    params: Any,
    grid: Array,
    keys: Array,
    eta: Array,
    classes: Array | None,
) -> Array:
    size, channels = config.image_size, config.unet.in_channels
    start = step_noise(keys, len(grid), (len(keys), size, size, channels))
    denoise = denoiser(config, params, dtype=dtype, clip=1.0)
    return jnp.clip(sample(denoise, ddim(config.schedule, eta), grid, start, classes, keys), -1, 1)


def save_diffusion(
    path: str | Path, config: DiffusionConfig, params: Any, *, dtype: Any = None
) -> None:
    """Writes the model folder that `load_diffusion` reads."""
    save_folder(path, {"kind": KIND, "model": to_dict(config)}, params, dtype)


def read_diffusion(
    source: str | Path,
    *,
    param_dtype: Any = jnp.float32,
    revision: str | None = None,
    flags: GuidedFlags | None = None,
) -> tuple[DiffusionConfig, Any]:
    """Config and parameters of what `load_diffusion` takes."""
    path = (
        demo_folder("base") if source == DEMO else model_folder(locate(source, revision=revision))
    )
    if path.is_file():
        return _read_file(path, param_dtype, flags)
    if flags is not None:
        raise WeightsError(f"'{path}' has a config: `flags` are for a file of guided-diffusion's")
    if not is_our_folder(path):
        return _read_diffusers(path, param_dtype)
    document, params = load_folder(path, param_dtype)
    if document["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{document['kind']}', not '{KIND}'")
    return from_dict(DiffusionConfig, document["model"]), jax.tree.map(jnp.asarray, params)


def load_diffusion(
    source: str | Path,
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    revision: str | None = None,
    flags: GuidedFlags | None = None,
) -> Diffusion:
    """Loads a model.

    Args:
      source: "demo" (avatar faces at 64 px); one of our model folders or the work folder of a run;
        the folder of a diffusers `UNet2DModel` or of a pipeline with one; a file (`.ckpt`, `.pt`,
        `.safetensors` ...) with the names of the original DDPM or of guided-diffusion; or a
        repository of the Hugging Face Hub in diffusers' layout, such as "google/ddpm-celebahq-256".
      dtype: what the network computes in.
      param_dtype: what parameters are kept in.
      revision: of a repository on the Hub.
      flags: for a file of guided-diffusion or improved-diffusion whose training had others than
        the defaults, such as `GuidedFlags(num_heads=4)`: nothing in the file tells.

    Where a source has no schedule beside its network it is DDPM's (Ho et al. 2020): 1000 linear
    betas, noise as the target. Raises `WeightsError` if there is no such model, or it is incomplete
    or of another kind.
    """
    config, params = read_diffusion(source, param_dtype=param_dtype, revision=revision, flags=flags)
    return Diffusion(config, params, dtype)


def _read_diffusers(folder: Path, param_dtype: Any) -> tuple[DiffusionConfig, Any]:
    """A `UNet2DModel` in `folder` itself or, in newer pipelines, in its `unet`."""
    network = folder / "unet" if (folder / "unet").is_dir() else folder
    document = read_config(network)
    with named(network):
        unet, size = unet_diffusers.read_config(document), sample_size(document)
    places = (folder, folder / "scheduler", network)
    found = [place for place in places if (place / SCHEDULER).is_file()]
    schedule, prediction = read_schedule(read_config(found[0], SCHEDULER) if found else {})
    config = DiffusionConfig(unet, size, schedule, prediction, _has_variance(unet))
    return config, _import(unet_diffusers.table(unet), open_tensors(network), config, param_dtype)


def _read_file(
    file: Path, param_dtype: Any, flags: GuidedFlags | None
) -> tuple[DiffusionConfig, Any]:
    """Weights alone: the architecture is read off their names and shapes."""
    tensors = open_tensors(file)
    shapes = {name: array.shape for name, array in tensors.items()}
    if unet_guided.MARK in shapes:
        return _read_guided(tensors, shapes, param_dtype, flags or GuidedFlags())
    if flags is not None:
        raise WeightsError(f"'{file}' has not guided-diffusion's names, which `flags` are for")
    unet = unet_ddpm.infer_config(shapes)
    size = unet_ddpm.infer_size(unet)
    config = DiffusionConfig(unet, size, learned_variance=_has_variance(unet))
    return config, _import(unet_ddpm.TABLE, tensors, config, param_dtype)


def _read_guided(
    tensors: Tensors, shapes: dict[str, tuple[int, ...]], param_dtype: Any, flags: GuidedFlags
) -> tuple[DiffusionConfig, Any]:
    unet = unet_guided.infer_config(
        shapes, head_width=flags.num_head_channels, heads=flags.num_heads
    )
    config = DiffusionConfig(
        unet,
        flags.image_size or unet_guided.infer_size(unet),
        flags.schedule,
        learned_variance=_has_variance(unet),
        time_scale=flags.time_scale,
    )
    table = unet_guided.table(unet, flags.new_attention_order)
    return config, _import(table, tensors, config, param_dtype)


def _has_variance(unet: UNetConfig) -> bool:
    return unet.out_channels == 2 * unet.in_channels


def _import(table: Table, tensors: Any, config: DiffusionConfig, param_dtype: Any) -> Any:
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    return import_params(table, tensors, shapes, dtype=param_dtype, place=on_device)


def on_device(path: str, array: np.ndarray) -> Array:
    """Puts a parameter onto the device as it is read, see `import_params`."""
    del path
    return jnp.asarray(array)


def model_folder(source: str | Path) -> Path:
    """The model folder meant by `source`: itself, or what a run in it has exported last."""
    exported = Path(source) / "model"
    return exported if is_our_folder(exported) else Path(source)
