"""Editing pictures by text: apply an edit, or several at once, or invert and generate alone.

DiffusionCLIP (Kim et al. 2022, arXiv 2110.02711, sections 3.2 and 4): the picture is inverted with
the base model to time t0 and generated again by a mixture of the base and the edited models.
Everything that a user changes between two calls (strength, ratios, t0, key) is an argument of the
compiled programs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.core.progress import watched
from clipdiff_jax.core.request import Scale, fill
from clipdiff_jax.data.images import Pictures
from clipdiff_jax.edit.editing import Editing, EditingOptions
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.run import (
    Learned,
    learned_by,
    run,
    run_from_latents,
    squares_for,
)
from clipdiff_jax.edit.space import Model, as_base
from clipdiff_jax.pixel.model import noisy_images

Edits = Edit | Sequence[Edit]
DEFAULT = Editing()
DEFAULT_T0 = 500  # of a reconstruction


@watched
def edit(
    images: Pictures,
    base: Model | None = None,
    edit: Edits = (),
    strength: Scale | None = None,
    *,
    key: AnyKey = 0,
    editing: Editing | None = None,
    **options: Unpack[EditingOptions],
) -> Float[Array, "b s s 3"]:
    """Applies one edit, or several at once, to pictures.

    Args:
      images: see `data.images.as_images`, of any size: the middle square is brought to the size
        that the model works at.
      base: the model that the edits were tuned from, of pixels or of latents. None loads it from
        where the first edit says that it is, with every call.
      edit: what was learned.
      strength: eps = g eps_edited + (1 - g) eps_base; of an edit in h-space g times its shift, of
        one of low rank g times its change. One number or one for each picture: 0 reconstructs, 1
        (the default) is as learned, values beyond exaggerate.
      key: a seed or a key of what is random (noise instead of inversion, purifying, samplers that
        draw); picture i uses `fold_in(key, i)`. Or one key for each picture.
      editing, options: how, see `Editing`. Its t0 is by default the largest of the edits'.

    Changing strength, ratios, t0 or key compiles nothing new, and purify only the first time.
    `progress=False` shows no bar. Returns [B,S,S,3] in [-1, 1]. Raises `ValueError` for edits of
    another model than `base`, times that its schedule does not have, and for an edit in h-space
    with the method "edict", whose change it would not see, or with a sampler, for it has its own.
    """
    edits = _listed(edit)
    editing = _filled(editing, strength, options)
    model = as_base(edits[0].load_base() if base is None else base)
    learned = learned_by(model, edits, editing)
    x0 = squares_for(images, model)
    t0 = max(one.objective.known_t0 for one in edits) if editing.t0 is None else editing.t0
    return run(model, learned, x0, editing, t0, picture_keys(key, jnp.arange(len(x0))))


@watched
def generate_edited(
    latents: Float[Array | np.ndarray, "b i j c"],
    base: Model,
    edit: Edits,
    strength: Scale | None = None,
    *,
    key: AnyKey = 0,
    editing: Editing | None = None,
    **options: Unpack[EditingOptions],
) -> Float[Array, "b s s 3"]:
    """The second half of `edit`, from latents that `edit.latents.invert_images` gave.

    For many edits of the same pictures, which then are inverted once. Raises `ValueError` where t0,
    that of the latents, is not given, and for options of the first half.
    """
    editing = _filled(editing, strength, options)
    if editing.t0 is None:
        raise ValueError("give t0, the time that the latents are of")
    if editing.inversion == "edict" or editing.random_inversion or editing.purify:
        raise ValueError("latents are generated from: edict, random_inversion and purify are not")
    model = as_base(base)
    learned = learned_by(model, _listed(edit), editing)
    latents = noisy_images(latents, model.config.unet.in_channels)
    keys = picture_keys(key, jnp.arange(len(latents)))
    return run_from_latents(model, learned, latents, editing, editing.t0, keys)


@watched
def reconstruct(
    images: Pictures,
    base: Model,
    *,
    key: AnyKey = 0,
    editing: Editing | None = None,
    **options: Unpack[EditingOptions],
) -> Float[Array, "b s s 3"]:
    """Inverts pictures and generates them again without any edit.

    Args:
      images: as of `edit`.
      base: the model.
      key: of what is random, as of `edit`.
      editing, options: how, see `Editing`; its t0 is by default 500. What
        it says of edits (strength, ratios) is not looked at.

    Evaluations of the network: 2 steps - 1 by the method "ddim", (2 + fixed_point) steps by
    "fixed_point", and 4 steps by "edict". Returns [B,S,S,3] in [-1, 1].
    """
    model = as_base(base)
    editing = fill(DEFAULT, editing, options)
    x0 = squares_for(images, model)
    t0 = DEFAULT_T0 if editing.t0 is None else editing.t0
    return run(model, Learned(), x0, editing, t0, picture_keys(key, jnp.arange(len(x0))))


def _filled(editing: Editing | None, strength: Scale | None, options: EditingOptions) -> Editing:
    given = fill(DEFAULT, editing, options)
    return given if strength is None else given.replace(strength=strength)


def _listed(edit: Edits) -> list[Edit]:
    given = [edit] if isinstance(edit, (Edit, str, Path)) else list(edit)
    edits = [one for one in given if isinstance(one, Edit)]
    for one in given:
        if not isinstance(one, Edit):
            raise TypeError(
                f"edit is {one!r}, expected what load_edit returns: clipdiff_jax.load_edit({one!r})"
            )
    if not edits:
        raise ValueError("no edit given; reconstruct() generates without one")
    return edits
