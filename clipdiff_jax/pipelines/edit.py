"""Editing pictures by text: load an edit, apply it, mix several, or learn a new one.

Applying (DiffusionCLIP, Kim et al. 2022, arXiv 2110.02711, sections 3.2 and 4): the picture is
inverted with the base model to time t0 and generated again by a mixture of the base and the edited
models. Everything a user turns between two calls (strength, ratios, t0, seed) is an argument of
one compiled program.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.config import from_dict
from clipdiff_jax.diffusion.edict import Pair, invert_coupled, sample_coupled
from clipdiff_jax.diffusion.guidance import mix
from clipdiff_jax.diffusion.guidance import strength as at_strength
from clipdiff_jax.diffusion.inversion import invert
from clipdiff_jax.diffusion.losses import q_sample
from clipdiff_jax.diffusion.sampler import ddim, ddim_grid, picture_keys, sample, step_noise
from clipdiff_jax.pipelines.clip import Clip
from clipdiff_jax.pipelines.diffusion import Diffusion, DiffusionConfig, denoiser, model_folder
from clipdiff_jax.pipelines.face import FaceEncoder
from clipdiff_jax.stages.edit import KIND, EditObjective, make_stage, save_edit
from clipdiff_jax.stages.latents import time_grid
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.loop import fit
from clipdiff_jax.train.optim import OptimConfig
from clipdiff_jax.weights import WeightsError, fingerprint, load_folder

Images = Float[Array | np.ndarray, "b h w 3"]
Method = Literal["ddim", "fixed_point", "edict"]
PURIFY_STEPS = 6


@dataclass(frozen=True, eq=False)
class Edit:
    """A diffusion model that was tuned to make one change; arrays live in `params`.

    config: of the model, which is that of its base. objective: what it learned.
    base_fingerprint: of the base model's parameters it was tuned from.
    """

    config: DiffusionConfig
    params: Any = field(repr=False)
    objective: EditObjective
    base_fingerprint: str

    def save(self, path: str | Path) -> None:
        """Writes the folder that `load_edit` reads."""
        save_edit(self.objective, self.config, self.base_fingerprint, Path(path), self.params)


def load_edit(path: str | Path) -> Edit:
    """Reads what the edit stage of `train.py` wrote: its `model` folder, or the workdir with it.

    Raises WeightsError where there is none.
    """
    path = model_folder(path)
    config, params = load_folder(path, jnp.float32)
    if config["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{config['kind']}', not '{KIND}'")
    return Edit(
        config=from_dict(DiffusionConfig, config["model"]),
        params=jax.tree.map(jnp.asarray, params),
        objective=from_dict(EditObjective, config["objective"]),
        base_fingerprint=config["base_fingerprint"],
    )


def edit(
    images: Images,
    base: Diffusion,
    edit: Edit | Sequence[Edit],
    strength: float | int | Float[Array | np.ndarray, "..."] = 1.0,
    *,
    ratios: Sequence[float | int] | None = None,
    t0: int | None = None,
    steps: int = 40,
    fixed_point: int = 0,
    method: Method | None = None,
    random_inversion: bool = False,
    purify: int = 0,
    key: Key[Array, "..."] | int = 0,
) -> Float[Array, "b s s 3"]:
    """Applies one edit, or several at once, to pictures in [-1, 1].

    images: of any size; the middle square is brought to the size the model works at.
    strength: eps = g eps_edited + (1 - g) eps_base; scalar or [B]. 0 reconstructs, values beyond
        1 exaggerate.
    ratios: how much of each edit, where there are several; normalised, equal by default.
    t0: time index to invert to; by default the largest the edits were trained at.
    steps: times of inversion and of generation.
    fixed_point, method: how to invert, see `reconstruct`.
    random_inversion: noise the picture at random instead of inverting it: stochastic edits.
    purify: repeat this many times, before all else, {noise to t0, a few steps of the base model}:
        brings strokes and foreign domains into the model's (about 8 or more).
    key: seed or typed key of that randomness; picture i uses fold_in(key, i). Or one key a picture.

    Changing strength, ratios, t0, purify or key compiles nothing new. Returns [B,S,S,3] in
    [-1, 1]. Raises ValueError for edits of another architecture than `base`.
    """
    edits = [edit] if isinstance(edit, Edit) else list(edit)
    if not edits:
        raise ValueError("no edit given; reconstruct() generates without one")
    for one in edits:
        if one.config != base.config:
            raise ValueError(
                f"the edit to '{one.objective.target_text}' was tuned from a model with another "
                "config than this base"
            )
    shares = np.ones(len(edits)) if ratios is None else np.asarray(ratios, np.float32)
    if shares.shape != (len(edits),):
        raise ValueError(f"{len(edits)} edits need as many ratios, got {len(shares)}")
    if shares.sum() <= 0:
        raise ValueError(f"ratios must have a positive sum, got {list(shares)}")
    t0 = max(one.objective.t0 for one in edits) if t0 is None else t0
    x0 = fit_square(images, base.config.image_size)
    weights = jnp.broadcast_to(jnp.asarray(strength, jnp.float32), x0.shape[:1])
    return _run(
        base,
        tuple(one.params for one in edits),
        x0,
        weights,
        shares,
        t0=t0,
        steps=steps,
        fixed_point=fixed_point,
        method=method,
        random_inversion=random_inversion,
        purify=purify,
        keys=_keys(key, len(x0)),
    )


def reconstruct(
    images: Images,
    base: Diffusion,
    *,
    t0: int = 500,
    steps: int = 40,
    fixed_point: int = 0,
    method: Method | None = None,
) -> Float[Array, "b s s 3"]:
    """Inverts pictures to t0 and generates them again without any edit.

    fixed_point: iterations that refine each step of the method "fixed_point".
    method: how to invert: "ddim", the editing paper's walk; "fixed_point", all steps of generation,
        each refined; "edict", two coupled samples, exact at any number of steps. By default
        "fixed_point" where iterations are given, else "ddim".

    Evaluations of the network: 2 steps - 1, (2 + fixed_point) steps, and 4 steps. Raises ValueError
    for iterations of another method, and for "fixed_point" without any.
    """
    x0 = fit_square(images, base.config.image_size)
    return _run(
        base,
        (),
        x0,
        jnp.zeros(len(x0)),
        np.zeros(0),
        t0=t0,
        steps=steps,
        fixed_point=fixed_point,
        method=method,
        random_inversion=False,
        purify=0,
        keys=_keys(0, len(x0)),
    )


def finetune_edit(
    images: Images,
    base: Diffusion,
    clip: Clip,
    source_text: str,
    target_text: str,
    *,
    passes: int = 5,
    batch_size: int = 4,
    learning_rate: float = 8e-6,
    gain: float = 1.3,
    seed: int = 0,
    face: FaceEncoder | None = None,
    progress: bool = True,
    **objective: Any,
) -> Edit:
    """Learns the edit from `source_text` to `target_text` on pictures in [-1, 1], with a bar.

    The same as the edit stage of `train.py`, in one call and without touching the disk but for
    the cache of latents. passes: over the pictures; after each the learning rate is multiplied
    by `gain`. objective: any field of `EditObjective`, such as t0=500, l1=3.0 or
    mode="single_step".
    """
    pictures = np.asarray(fit_square(images, base.config.image_size))
    described = EditObjective(source_text=source_text, target_text=target_text, **objective)
    stage = make_stage(described, base, clip, pictures, face=face, progress=progress)
    batch_size = min(batch_size, len(pictures))
    steps_a_pass = max(len(pictures) // batch_size, 1)
    config = TrainConfig(
        steps=passes * steps_a_pass,
        batch_size=batch_size,
        seed=seed,
        log_every=steps_a_pass,
        optim=OptimConfig(
            learning_rate=learning_rate,
            schedule="passes",
            pass_gain=gain,
            pass_updates=steps_a_pass * stage.rounds,
        ),
    )
    state = fit(stage, config, progress=progress)
    return Edit(base.config, state.params, described, fingerprint(base.params))


def fit_square(images: Images, size: int) -> Float[Array, "b size size 3"]:
    """The middle square of each picture at `size` pixels (antialiased), float32."""
    x = jnp.asarray(images, jnp.float32)
    height, width = x.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    x = x[:, top : top + side, left : left + side]
    if side == size:
        return x
    resized = jax.image.resize(x, (len(x), size, size, 3), "lanczos3", antialias=True)
    return jnp.clip(resized, -1, 1)


def _keys(key: Key[Array, "..."] | int, count: int) -> Key[Array, " b"]:
    key = jax.random.key(key) if isinstance(key, int) else key
    return picture_keys(key, jnp.arange(count))


def _run(
    base: Diffusion,
    edited: tuple[Any, ...],
    x0: Array,
    weights: Array,
    shares: np.ndarray,
    *,
    t0: int,
    steps: int,
    fixed_point: int,
    method: Method | None,
    random_inversion: bool,
    purify: int,
    keys: Array,
) -> Array:
    method = _method(method, fixed_point)
    down = ddim_grid(t0, steps)
    up = down[::-1] if method == "edict" else time_grid(t0, steps, fixed_point)
    few = ddim_grid(t0, min(PURIFY_STEPS, steps))
    return _edit(
        base.config,
        base.dtype,
        method,
        fixed_point,
        random_inversion,
        base.params,
        edited,
        x0,
        jnp.asarray(weights),
        jnp.asarray(shares, jnp.float32),
        (up, down, few),
        jnp.asarray(purify, jnp.int32),
        keys,
    )


def _method(method: Method | None, fixed_point: int) -> Method:
    """The method that is meant; ValueError where it does not fit the number of iterations."""
    if method is None:
        return "fixed_point" if fixed_point else "ddim"
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if (method == "fixed_point") != (fixed_point > 0):
        wanted = "1 or more" if method == "fixed_point" else "0"
        raise ValueError(f"fixed_point={fixed_point} with method={method!r}: expected {wanted}")
    return method


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _edit(
    config: DiffusionConfig,
    dtype: Any,
    method: Method,
    fixed_point: int,
    random_inversion: bool,
    base_params: Any,
    edited: tuple[Any, ...],
    x0: Array,
    weights: Array,
    shares: Array,
    grids: tuple[Array, Array, Array],
    purify: Array,
    keys: Array,
) -> Array:
    schedule, step = config.schedule, ddim(config.schedule)
    up, down, few = grids
    base = denoiser(config, base_params, dtype=dtype)
    model = base
    if edited:
        tuned = [denoiser(config, params, dtype=dtype) for params in edited]
        model = at_strength(base, tuned[0] if len(tuned) == 1 else mix(tuned, shares), weights)

    def noised(x, index):
        return q_sample(schedule, x, down[0], step_noise(keys, index, x.shape))

    def purified(index, x):
        return sample(base, step, few, noised(x, index + 1), None, None)

    x0 = jax.lax.fori_loop(0, purify, purified, x0)
    if method == "edict":
        if random_inversion:
            pair = Pair(noised(x0, 0), noised(x0, 0))
        else:
            pair = invert_coupled(base, schedule, up, x0)
        pair = sample_coupled(model, schedule, down, pair)
        return jnp.clip((pair.x + pair.y) / 2, -1, 1)
    if random_inversion:
        latent = noised(x0, 0)
    else:
        latent = invert(base, schedule, up, x0, fixed_point=fixed_point)
    return jnp.clip(sample(model, step, down, latent, None, None), -1, 1)
