"""CLIP-guided sampling: an unconditional model, led to what texts and pictures say by a CLIP.

Crowson 2021, "CLIP guided diffusion", in the form of classifier guidance (`gradient_guidance`). At
each step CLIP sees random cutouts of the predicted picture, and eps follows the gradient of

    L = scale sum_p w_p mean_k angle(cutout_k, prompt_p)^2 / 2 + tv TV + range R
        + saturation S + init_scale D(picture, start)

No training, any model. One compiled program makes one step and is called for each: so a walk of any
length compiles in the time of a step, and a step that goes wrong is known by its number.
"""

import functools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.core.progress import bar, compiling, is_traced, watched
from clipdiff_jax.core.request import fill
from clipdiff_jax.data.images import Pictures, as_squares
from clipdiff_jax.diffusion.gradient_guidance import See, Steered, gradient_guided
from clipdiff_jax.diffusion.prediction import q_sample
from clipdiff_jax.diffusion.sampler import step_noise, steps_of
from clipdiff_jax.diffusion.steps import Sampler, StepOptions, make_step
from clipdiff_jax.guided.guiding import Guiding, GuidingOptions
from clipdiff_jax.guided.prompts import Critic, Prompt, make_critic, weighted
from clipdiff_jax.perceptual.clip_loss import range_penalty, saturation, total_variation
from clipdiff_jax.perceptual.cutouts import cutouts
from clipdiff_jax.perceptual.lpips import Lpips
from clipdiff_jax.pixel.model import Diffusion

DEFAULT = Guiding()
_CLASSES = 0xC1A55  # sets random classes apart from what else is drawn from a picture's key
_TARGETS = 0x7A26E7  # the seed of the cutouts of picture prompts

logger = logging.getLogger(__name__)


class Guide(NamedTuple):
    """All that is turned while a model is guided: a pytree, traced whole."""

    critics: tuple[Critic, ...]
    turned: dict[str, Float[Array, ""]]
    clamp: Float[Array, ""]
    init: Float[Array, "b h w 3"] | None
    lpips: Lpips | None


class How(NamedTuple):
    """What is part of the program."""

    sampler: Sampler
    see: See
    cutouts: int
    random_classes: bool


@watched
def clip_guided(
    base: Diffusion,
    clip: Clip | Sequence[Clip],
    prompts: Prompt | Sequence[Prompt],
    *,
    key: AnyKey,
    count: int = 1,
    init: Pictures | None = None,
    **options: Unpack[GuidingOptions],
) -> Float[Array, "n h w 3"]:
    """Pictures in [-1, 1] of an unconditional or class-conditional model, guided by CLIP.

    Args:
      base: of pictures with three channels.
      clip: one, or several whose distances are added.
      prompts: texts and pictures; each alone, with a weight behind a colon ("blurry:-0.5"), or as
        a pair (prompt, weight). A negative weight leads away. Weights are divided by their sum.
      key: a seed or a key, then picture i uses `fold_in(key, i)`; or [N] keys, a picture each,
        which depends on its own key alone.
      count: of pictures; with `init` as many as there are of those.
      init: pictures to start from, see `Guiding.skip` and `Guiding.init_scale`; of each the middle
        square at the model's size.
      options: single fields of `Guiding`, or one as `guiding=`; `lpips=` measures the distance to
        `init`; `progress=` is whether a bar is shown.

    Raises `ValueError` for prompts that say nothing, options that do not fit, or a model of other
    pictures, and `FloatingPointError` with the step where the gradient is no longer finite.
    """
    given: Any = dict(options)
    request, lpips = given.pop("guiding", None), given.pop("lpips", None)
    guiding = fill(DEFAULT, request, given)
    pairs = weighted(prompts)
    check_guidable(base, guiding, init is not None)
    start = None if init is None else as_squares(init, base.config.image_size)
    if start is not None and count not in (1, len(start)):
        raise ValueError(f"count={count}, but init has {len(start)} pictures")
    keys = picture_keys(key, jnp.arange(count if start is None else len(start)))
    if start is not None and len(keys) != len(start):
        raise ValueError(f"{len(keys)} keys, but init has {len(start)} pictures")
    clips = [clip] if isinstance(clip, Clip) else list(clip)
    drawn = jax.random.key(_TARGETS)  # a constant: no picture may depend on another's key
    critics = tuple(make_critic(one, pairs, drawn, guiding.cutouts, guiding.power) for one in clips)
    for critic in critics:
        _say_if_small(base.config.image_size, critic.size)
    names = ("scale", "tv", "range", "saturation", "init_scale", "power", "eta")
    guide = Guide(
        critics,
        {name: jnp.float32(getattr(guiding, name)) for name in names},
        jnp.float32(jnp.inf if guiding.clamp is None else guiding.clamp),
        start,
        lpips,
    )
    return _draw(base, guide, keys, guiding)


def _draw(base: Diffusion, guide: Guide, keys: Key[Array, " n"], guiding: Guiding) -> Array:
    """The walk, a compiled step at a time."""
    config = base.config
    times = base.times(guiding.sampling)
    x = step_noise(keys, len(times), (len(keys), *[config.image_size] * 2, 3))
    times = times[guiding.skip :]
    if guide.init is not None:
        x = q_sample(config.schedule, guide.init, jnp.int32(times[0]), x)
    chosen = guiding.classes
    classes = None if isinstance(chosen, str) else base.check_classes(chosen, len(keys))
    how = How(guiding.sampler, guiding.see, guiding.cutouts, isinstance(chosen, str))
    carry = steps_of(base.denoise, make_step(guiding.sampler, config.schedule), times, x).carry
    for index in bar(range(len(times) - 1), "drawing", unit="step"):
        at = jnp.int32(times[index]), jnp.int32(times[index + 1]), jnp.int32(index + guiding.skip)
        with compiling("drawing"):
            carry, finite = _step(base, guide, carry, at, keys, classes, how=how)
        if not finite:
            raise FloatingPointError(
                f"the gradient is not finite at step {index + 1} of {len(times) - 1} (time "
                f"{times[index]}): lower scale={guiding.scale:g}, or set clamp, which is "
                f"{guiding.clamp}"
            )
    return jnp.clip(carry[1], -1, 1)


@functools.partial(jax.jit, static_argnames="how")
def _step(
    base: Diffusion,
    guide: Guide,
    carry: Any,
    at: tuple[Array, Array, Array],
    keys: Key[Array, " n"],
    classes: Array | None,
    *,
    how: How,
) -> tuple[Any, Array]:
    """One step, and whether all of it is finite."""
    is_traced()
    schedule, (t, t_next, index) = base.config.schedule, at
    number = base.config.unet.num_classes
    if how.random_classes and number is not None:
        draw = lambda key: jax.random.randint(
            jax.random.fold_in(jax.random.fold_in(key, _CLASSES), t), (), 0, number
        )
        classes = jax.vmap(draw)(keys)
    loss = functools.partial(_loss, guide, how.cutouts)
    guided = gradient_guided(base.denoise, loss, schedule, see=how.see, clamp=guide.clamp)
    step = make_step(
        how.sampler, schedule, StepOptions(guide.turned["eta"], base.config.learned_variance)
    )
    walk = steps_of(guided, step, jnp.stack([t, t_next]), carry[1], Steered(classes, keys), keys)
    carry, _ = walk.body(carry, (t, t_next, index, None))
    return carry, jnp.isfinite(carry[1]).all()


def _loss(guide: Guide, count: int, shown: Array, x0: Array, keys: Key[Array, " n"]) -> Array:
    """What is minimised, for each picture."""
    weights = guide.turned
    total = weights["tv"] * total_variation(shown)
    total += weights["range"] * range_penalty(x0) + weights["saturation"] * saturation(shown)
    for critic in guide.critics:
        views = cutouts(shown, keys, count, critic.size, weights["power"])
        total += weights["scale"] * critic.distance(views)
    if guide.init is not None:
        if guide.lpips is None:
            apart = jnp.mean((shown - guide.init) ** 2, axis=(1, 2, 3))
        else:
            apart = guide.lpips.distance(shown, guide.init)
        total += weights["init_scale"] * apart
    return total


def check_guidable(base: Diffusion, guiding: Guiding, has_start: bool) -> None:
    """Raises `ValueError` for what the model cannot do, and for options without a start picture."""
    unet = base.config.unet
    if unet.in_channels != 3:
        raise ValueError(f"a model of {unet.in_channels} channels, expected 3: CLIP sees colours")
    for name in ("skip", "init_scale"):
        if getattr(guiding, name) and not has_start:
            raise ValueError(f"{name}={getattr(guiding, name):g} is of a start picture: give init")
    if not isinstance(guiding.classes, str):
        base.check_classes(
            guiding.classes, 1 if guiding.classes is None else np.size(guiding.classes)
        )
    elif unet.num_classes is None:
        raise ValueError("classes='random', but this model takes no classes")


def _say_if_small(size: int, seen: int) -> None:
    if seen > 4 * size:
        logger.warning(
            "CLIP takes %d pixels, the model's pictures have %d: it will see them blurred",
            seen,
            size,
        )
