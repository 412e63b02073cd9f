"""Editing pictures by text: load an edit, apply it, mix several, or learn a new one.

Applying (DiffusionCLIP, Kim et al. 2022, arXiv 2110.02711, sections 3.2 and 4): the picture is
inverted with the base model to time t0 and generated again by a mixture of the base and the edited
models. Everything a user turns between two calls (strength, ratios, t0, seed) is an argument of
one compiled program.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.config import from_dict
from clipdiff_jax.core.keys import picture_keys
from clipdiff_jax.edit.presets import DEFAULT, default_rate
from clipdiff_jax.edit.run import Learned, Method, run, run_from_latents
from clipdiff_jax.edit.stage import KIND, EditObjective, make_stage, save_edit
from clipdiff_jax.edit.t0 import with_t0
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.perceptual.identity import FaceEncoder
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import load_folder, model_folder
from clipdiff_jax.weights.params import fingerprint

Images = Float[Array | np.ndarray, "b h w 3"]


@dataclass(frozen=True, eq=False)
class Edit:
    """What was learned to make one change; arrays live in `params`.

    config: of the model, which is that of its base. objective: what it learned.
    params: of the whole tuned model; with an objective of mode "h_space" those of the small network
        that shifts the base model's bottleneck.
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
    strength: eps = g eps_edited + (1 - g) eps_base, or g times the shift of an edit in h-space;
        scalar or [B]. 0 reconstructs, values beyond 1 exaggerate.
    ratios: how much of each edit, where there are several; normalised, equal by default.
    t0: time index to invert to; by default the largest the edits were trained at.
    steps: times of inversion and of generation.
    fixed_point, method: how to invert, see `reconstruct`.
    random_inversion: noise the picture at random instead of inverting it: stochastic edits.
    purify: repeat this many times, before all else, {noise to t0, a few steps of the base model}:
        brings strokes and foreign domains into the model's (about 8 or more).
    key: seed or typed key of that randomness; picture i uses fold_in(key, i). Or one key a picture.

    Changing strength, ratios, t0, purify or key compiles nothing new. Returns [B,S,S,3] in
    [-1, 1]. Raises ValueError for edits of another architecture than `base`, and for the method
    "edict" with an edit in h-space, whose change it would not see.
    """
    edits, learned = _learned(base, edit, ratios)
    x0 = fit_square(images, base.config.image_size)
    return run(
        base,
        learned,
        x0,
        jnp.broadcast_to(jnp.asarray(strength, jnp.float32), x0.shape[:1]),
        t0=max(one.objective.t0 for one in edits) if t0 is None else t0,
        steps=steps,
        fixed_point=fixed_point,
        method=method,
        random_inversion=random_inversion,
        purify=purify,
        keys=_keys(key, len(x0)),
    )


def generate_edited(
    latents: Float[Array | np.ndarray, "b s s 3"],
    base: Diffusion,
    edit: Edit | Sequence[Edit],
    strength: float | int | Float[Array | np.ndarray, "..."] = 1.0,
    *,
    ratios: Sequence[float | int] | None = None,
    t0: int,
    steps: int = 40,
    key: Key[Array, "..."] | int = 0,
) -> Float[Array, "b s s 3"]:
    """The second half of `edit`, from latents at t0 that `stages.latents.invert_images` gave.

    For many edits of the same pictures, which then are inverted once.
    """
    _, learned = _learned(base, edit, ratios)
    latents = jnp.asarray(latents)
    weights = jnp.broadcast_to(jnp.asarray(strength, jnp.float32), latents.shape[:1])
    keys = _keys(key, len(latents))
    return run_from_latents(base, learned, latents, weights, t0=t0, steps=steps, keys=keys)


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
    return run(
        base,
        Learned(),
        x0,
        jnp.zeros(len(x0)),
        t0=t0,
        steps=steps,
        fixed_point=fixed_point,
        method=method,
        keys=_keys(0, len(x0)),
    )


def finetune_edit(
    images: Images,
    base: Diffusion,
    clip: Clip,
    source_text: str,
    target_text: str,
    *,
    passes: int = 8,
    batch_size: int = 4,
    learning_rate: float | None = None,
    gain: float | None = None,
    seed: int = 0,
    face: FaceEncoder | None = None,
    progress: bool = True,
    **objective: Any,
) -> Edit:
    """Learns the edit from `source_text` to `target_text` on pictures in [-1, 1], with a bar.

    The same as the edit stage of `train.py`, in one call and without touching the disk but for
    the cache of latents. passes: over the pictures. learning_rate: by default what
    `edit_presets.default_rate` says, falling to zero; with a `gain` it is multiplied by that after
    each pass instead. objective: any field of `EditObjective`, such as t0=500, l1=3.0 or
    mode="single_step"; those not given are `edit_presets.DEFAULT`, which docs/results.md compares
    with the published ones (passes=5, batch_size=1, learning_rate=8e-6, gain=1.3, t0=400, l1=1,
    noise=0, length=0, augmentations=0).
    """
    pictures = np.asarray(fit_square(images, base.config.image_size))
    settings = DEFAULT | objective
    if settings.get("mode") == "h_space":
        settings["noise"] = objective.get("noise", 0.0)  # it has no noise loss
    described = EditObjective(source_text=source_text, target_text=target_text, **settings)
    described = with_t0(described, base, clip, pictures)
    stage = make_stage(described, base, clip, pictures, face=face, progress=progress)
    batch_size = min(batch_size, len(pictures))
    steps_a_pass = max(len(pictures) // batch_size, 1)
    if learning_rate is None:
        size = sum(leaf.size for leaf in jax.tree.leaves(base.params))
        learning_rate = default_rate(size, described.mode)
    if gain is None:
        optim = OptimConfig(learning_rate=learning_rate, schedule="linear")
    else:
        optim = OptimConfig(
            learning_rate=learning_rate,
            schedule="passes",
            pass_gain=gain,
            pass_updates=steps_a_pass * stage.rounds,
        )
    config = TrainConfig(
        steps=passes * steps_a_pass,
        batch_size=batch_size,
        seed=seed,
        log_every=steps_a_pass,
        optim=optim,
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


def _learned(
    base: Diffusion, edit: Edit | Sequence[Edit], ratios: Sequence[float | int] | None
) -> tuple[list[Edit], Learned]:
    """The edits as a list, and as what the compiled program takes; ValueError as `edit` says."""
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
    shifts = [one.objective.mode == "h_space" for one in edits]
    tuned = [i for i, shift in enumerate(shifts) if not shift]
    shifted = [i for i, shift in enumerate(shifts) if shift]
    return edits, Learned(
        tuned=tuple(edits[i].params for i in tuned),
        tuned_shares=np.asarray(shares[tuned], np.float32),
        shifts=tuple(edits[i].params for i in shifted),
        shift_shares=np.asarray(shares[shifted], np.float32),
        t_edit=np.array([edits[i].objective.t_edit for i in shifted], np.int32),
        t_boost=np.int32(min((edits[i].objective.t_boost for i in shifted), default=0)),
    )


def _keys(key: Key[Array, "..."] | int, count: int) -> Key[Array, " b"]:
    key = jax.random.key(key) if isinstance(key, int) else key
    return picture_keys(key, jnp.arange(count))
