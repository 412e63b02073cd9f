"""A pixel diffusion model as one object: its config, its parameters, and what it can do.

`Diffusion` is a pytree: its parameters are leaves, its config and dtype are part of the program, so
that `jax.jit(f)(model, x)` needs no further word. `denoise` is the model in the contract that
samplers, guidance and inversion speak.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from clipdiff_jax.core.checks import Whole, whole_number
from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.core.networks import dropout, run
from clipdiff_jax.core.progress import watched
from clipdiff_jax.core.request import fill
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.guidance import clip_x0, dynamic_threshold
from clipdiff_jax.diffusion.prediction import Cond, Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import Steps, step_noise, steps_of
from clipdiff_jax.diffusion.sampling import Sampling, SamplingOptions
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.diffusion.steps import Sampler, StepOptions, make_step
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unet import BottleneckShift, UNet
from clipdiff_jax.weights.layout import DiffusionWeights
from clipdiff_jax.weights.layouts import pixel_ours
from clipdiff_jax.weights.params import fingerprint
from clipdiff_jax.weights.publishing import Pushable

Classes = int | Sequence[int] | Int[Array | np.ndarray, "..."] | None
Anything = Shaped[Array | np.ndarray, "..."]  # looked at, so that a message can say what it is
DEFAULT = Sampling()


class Drawn(NamedTuple):
    """What pictures are drawn from: their keys, and x_T where it is not drawn from those."""

    keys: Key[Array, " n"]
    noise: Float[Array, "n h w c"] | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Diffusion(Pushable):
    """A pixel diffusion model; `params` are the UNet's, `dtype` is what it computes in."""

    config: DiffusionConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the parameters, by which an edit knows its base; computed once an object."""
        return fingerprint(self.params)

    def save(self, path: str | Path, *, dtype: DType | None = None) -> None:
        """Writes the folder that `load_diffusion` reads; floating-point arrays become `dtype`."""
        pixel_ours.write(path, DiffusionWeights(self.config, self.params), dtype)

    def predict(
        self,
        x_t: Anything,
        t: Anything | Whole,
        classes: Classes = None,
    ) -> Float[Array, "b h w o"]:
        """The raw network output for images [B,H,W,C] at time indices t (scalar or [B]).

        classes: one for all or one for each, of a model that has them. Raises `ValueError` for
        images that are no floats, not finite or of other channels, and for times that the schedule
        does not have.
        """
        x_t = noisy_images(x_t, self.config.unet.in_channels)
        t = jnp.broadcast_to(as_times(t, self.config.schedule.num_steps), x_t.shape[:1])
        return _predict(self, x_t, t, self.check_classes(classes, len(x_t)))

    def apply(
        self,
        x_t: Float[Array, "b h w c"],
        t: Int[Array, " b"],
        classes: Int[Array | np.ndarray, " b"] | None = None,
        *,
        dropout_key: Key[Array, ""] | None = None,
        bottleneck_shift: BottleneckShift | None = None,
    ) -> Float[Array, "b h w o"]:
        """The raw network output, to be traced; dropout acts where a `dropout_key` is given."""
        scale = self.config.time_scale
        return run(
            UNet(self.config.unet, dtype=self.dtype),
            self.params,
            x_t,
            t if scale == 1 else t * scale,
            None if classes is None else {"classes": classes},
            bottleneck_shift=bottleneck_shift,
            **dropout(dropout_key),
        )

    def denoise(
        self,
        x_t: Float[Array, "b h w c"],
        t: Int[Array, "..."],
        cond: Cond = None,
        *,
        bottleneck_shift: BottleneckShift | None = None,
    ) -> Prediction:
        """The model as a `Denoise`, without clipping, as inversion and editing need it.

        cond: the classes [B] of a model that has them. bottleneck_shift: see `models.unet`.
        """
        config = self.config

        def network(x_t: Array, t: Array, cond: Cond) -> Array:
            classes = cond if config.unet.num_classes is not None else None
            return self.apply(x_t, t, classes, bottleneck_shift=bottleneck_shift)

        denoise = make_denoise(network, config.schedule, config.prediction, config.learned_variance)
        return denoise(x_t, t, cond)

    @watched
    def generate(
        self,
        count: Whole = 1,
        *,
        key: AnyKey,
        classes: Classes = None,
        noise: Float[Array | np.ndarray, "n h w c"] | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Float[Array, "n h w c"]:
        """Samples images in [-1, 1], by default by DDIM over 50 evenly spaced times.

        x0 is clipped, and times are spread, as `config.sampling` says.

        key: a seed or a key, then image i uses `fold_in(key, i)`; or [N] keys, one image for each,
            which depends on its own key alone.
        classes: what to draw, by a model that has classes: one for all images or one for each.
        noise: x_T, in place of what `draw_noise` draws from `key`.
        sampling, options: how, see `Sampling`. Changing key, classes, eta or threshold compiles
            nothing new. progress: whether a bar is shown, see `core.progress`.

        Raises `ValueError` where classes are missing, too many, or none of the model's, for noise
        of another shape, and for a guidance, which this model has not.
        """
        sampling = fill(DEFAULT, sampling, options)
        count = whole_number("count", count, low=1)
        if sampling.guidance is not None:
            raise ValueError(f"guidance={sampling.guidance}: a model without text is not guided")
        keys = picture_keys(key, jnp.arange(count))
        if noise is not None:
            noise = noisy_images(noise, self.config.unet.in_channels)
            if noise.shape != (wanted := self._shape(len(keys))):
                raise ValueError(f"noise is {list(noise.shape)}, expected {list(wanted)}")
        return _generate(
            self,
            self.times(sampling),
            Drawn(keys, noise),
            jnp.float32(sampling.eta),
            None if sampling.threshold is None else jnp.float32(sampling.threshold),
            self.check_classes(classes, len(keys)),
            sampler=sampling.sampler,
        )

    def draw_noise(self, keys: Key[Array, " n"], times: int) -> Float[Array, "n h w c"]:
        """The x_T of a walk over so many times, each from its own key."""
        return step_noise(keys, times, self._shape(len(keys)))

    def _shape(self, count: int) -> tuple[int, int, int, int]:
        size = self.config.image_size
        return count, size, size, self.config.unet.in_channels

    def times(self, sampling: Sampling) -> Int[np.ndarray, " steps_plus_1"]:
        """The grid a request asks of this model; where it says no spacing, the model's own.

        Raises `ValueError` for more steps than the schedule has times.
        """
        return self.config.sampling.times(sampling, self.config.schedule)

    def check_classes(self, classes: Classes, count: int) -> Int[np.ndarray, " b"] | None:
        """The class of each of `count` images, or None where the model has none.

        Raises `ValueError` where they are missing, too many, or none of the model's.
        """
        number = self.config.unet.num_classes
        if number is None and classes is None:
            return None
        if number is None:
            raise ValueError(f"this model takes no classes, got {classes}")
        if classes is None:
            raise ValueError(f"this model has {number} classes: give `classes`")
        chosen = np.asarray(classes)
        if chosen.dtype.kind not in "iu":
            raise ValueError(f"classes are 0 .. {number - 1}, got {classes}")
        if chosen.shape not in ((), (count,)):
            raise ValueError(f"need one class or {count} of them, got {chosen.size}")
        if not ((chosen >= 0) & (chosen < number)).all():
            raise ValueError(f"classes are 0 .. {number - 1}, got {classes}")
        return np.broadcast_to(chosen.astype(np.int32), (count,))


def noisy_images(x_t: Anything, channels: int) -> Float[Array, "b h w c"]:
    """Images [B,H,W,C] with noise in them, of any range. Raises `ValueError` for what is none."""
    x_t = jnp.asarray(x_t)
    shape, floats = list(x_t.shape), jnp.issubdtype(x_t.dtype, jnp.floating)
    if x_t.ndim != 4 or shape[-1] != channels or not floats:
        raise ValueError(
            f"x_t is {x_t.dtype}{shape}, expected floats [B,H,W,{channels}] of pictures in [-1, 1] "
            "with noise"
        )
    if not isinstance(x_t, jax.core.Tracer) and not bool(jnp.isfinite(x_t).all()):
        raise ValueError("x_t has numbers that are not finite (NaN or infinite)")
    return x_t


def as_times(t: Anything | Whole, num_steps: int) -> Int[Array, "..."]:
    """Time indices of a schedule. Raises `ValueError` for others; traced ones are not looked at."""
    if not isinstance(t, jax.core.Tracer):
        values = np.asarray(t)
        if values.dtype.kind not in "iu" or not ((values >= 0) & (values < num_steps)).all():
            raise ValueError(f"t is {t}, expected whole numbers from 0 to {num_steps - 1}")
    return jnp.asarray(t, jnp.int32)


@jax.jit
def _predict(model: Diffusion, x_t: Array, t: Array, classes: Array | None) -> Array:
    return model.apply(x_t, t, classes)


@stepping("drawing", static_argnames="sampler")
def _generate(
    model: Diffusion,
    times: Array,
    drawn: Drawn,
    eta: Array,
    threshold: Array | None,
    classes: Array | None,
    *,
    sampler: Sampler,
) -> Steps:
    config = model.config
    keys, start = drawn
    if start is None:
        start = model.draw_noise(keys, len(times))
    if threshold is None:
        bound = config.sampling.bound
        denoise = model.denoise if bound is None else clip_x0(model.denoise, config.schedule, bound)
    else:
        denoise = dynamic_threshold(model.denoise, config.schedule, threshold)
    step = make_step(sampler, config.schedule, StepOptions(eta, config.learned_variance))
    walk = steps_of(denoise, step, times, start, classes, keys)
    return walk.then(lambda x: jnp.clip(x, -1, 1))
