"""Stage `edit`: fine-tune a diffusion model until its pictures change the way a text does.

DiffusionCLIP (Kim et al. 2022, arXiv 2110.02711, section 3.2). Pictures are inverted once with
the base model; from their latents the model being tuned generates again, and what comes out is
asked to have moved in CLIP's space as the text has, and otherwise to have stayed. What is learned
is described by `edit.objective`, how by `edit.loss`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.clip.outline import outline_clip
from clipdiff_jax.core.checks import check_number, whole_number
from clipdiff_jax.core.config import formerly
from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.images import digest_of
from clipdiff_jax.data.select import matching
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.transforms import prepare
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.prediction import q_sample
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.latents import Inversion, invert_images
from clipdiff_jax.edit.loss import EditLoss, Frozen
from clipdiff_jax.edit.model import Edit, init_of
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.space import (
    Base,
    as_base,
    decoded,
    encoded,
    load_model,
    shape_of,
    with_params,
)
from clipdiff_jax.edit.t0 import with_t0
from clipdiff_jax.latent.load import is_latent
from clipdiff_jax.perceptual.directional import TextDirection, text_direction
from clipdiff_jax.perceptual.identity import FaceEncoder, load_face
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.pixel.outline import outline_diffusion
from clipdiff_jax.training.stage import Captioned, Stage, StageConfig

PREVIEWED = 8


@dataclass(frozen=True, kw_only=True)
class EditStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: pictures to train on.
      objective: what to learn from them.
      base: the diffusion model to tune: a model folder or whatever `load_diffusion` takes, or a
        folder or file here of a latent model.
      clip: the CLIP that judges, as `load_clip` takes it.
      face: weights of ArcFace (`model_ir_se50.pth`), needed where `objective.identity` is not 0;
        None for none, for which older configs wrote "".
      images: how many pictures; the first of the data that fit `only`.
      only: conditions on the data's attributes, such as ("style=avataaars", "mouth=sad|serious").
      dtype: what the networks compute in; trained parameters stay float32.
    """

    data: DataConfig
    objective: EditObjective
    base: str = "demo"
    clip: str = "demo"
    face: str | None = formerly(None, {"": None})
    images: int = 50
    only: tuple[str, ...] = ()
    dtype: DTypeName = "float32"

    def __post_init__(self) -> None:
        whole_number("images", self.images, low=1)

    def build(self, *, only_shapes: bool = False) -> Stage:
        return build(self, invert=not only_shapes)

    def outline(self) -> Stage:
        return outline(self)


def build(config: EditStage, *, invert: bool = True) -> Stage:
    """Loads the models and the pictures, inverts the pictures (cached), joins them into a loss.

    With `invert=False` latents are zeros: enough to compile a step and see what it needs.
    Raises ValueError where the data has too few pictures that fit, and what loading raises.
    """
    dtype = as_dtype(config.dtype)
    base = as_base(load_model(config.base, dtype=dtype))
    clip = load_clip(config.clip, dtype=dtype)
    face = None if config.face is None else load_face(config.face, dtype=dtype)
    source = open_source(config.data)
    images = select_images(source, config.images, config.only, base.config.image_size)
    objective = with_t0(config.objective, base, clip, images)
    stage = make_stage(objective, base, clip, images, face=face, invert=invert)
    return replace(stage, export=_export(objective, base, config.base))


def make_stage(
    objective: EditObjective,
    base: Base,
    clip: Clip,
    images: Float32[np.ndarray, "n h w 3"],
    *,
    face: FaceEncoder | None = None,
    invert: bool = True,
    progress: bool | None = None,
) -> Stage:
    """The stage for given models and pictures: float32, in [-1, 1], of the model's size."""
    objective = with_t0(objective, base, clip, images)
    check_number("t0", objective.t0, low=1, high=base.config.schedule.num_steps - 1)
    if objective.identity and face is None:
        raise ValueError(f"identity={objective.identity} needs a face encoder: set `face`")
    if invert:
        latents = _latents(objective, base, images, progress)
    else:
        latents = np.zeros(shape_of(base, len(images)), np.float32)
    direction = text_direction(
        clip.embed_texts, objective.away_from, objective.target_text, objective.templates
    )
    return _join(objective, base, Frozen(clip, direction, base, face), images, latents)


def outline(config: EditStage) -> Stage:
    """The stage of published models that need not be here, over one grey picture.

    Where t0 is to be found from the pictures it is half of the schedule.
    """
    dtype, objective = as_dtype(config.dtype), config.objective
    if is_latent(config.base):
        base = as_base(load_model(config.base, dtype=dtype))
    else:
        base = outline_diffusion(config.base, dtype=dtype)
    clip = outline_clip(config.clip, lambda clip: True, dtype)
    face = None if config.face is None else load_face(config.face, dtype=dtype)
    if objective.t0 is None:
        objective = replace(objective, t0=base.config.schedule.num_steps // 2)
    width = clip.config.projection_dim
    direction = TextDirection(jnp.zeros(width), jnp.ones(()))
    size = base.config.image_size
    images = np.zeros((config.images, size, size, 3), np.float32)
    latents = np.zeros(shape_of(base, config.images), np.float32)
    return _join(objective, base, Frozen(clip, direction, base, face), images, latents)


def _join(
    objective: EditObjective,
    base: Base,
    frozen: Frozen,
    images: Float32[np.ndarray, "n h w 3"],
    latents: Float32[np.ndarray, "n i j c"],
) -> Stage:
    """The stage of what is prepared."""
    if objective.mode == "h_space" and not isinstance(base, Diffusion):
        raise ValueError("mode 'h_space' shifts the bottleneck of pixel models, not of latent ones")
    start = jax.tree.map(partial(np.asarray, dtype=np.float32), base.params)
    frozen = frozen._replace(base=with_params(base, start if objective.beside else None))
    loss = EditLoss(objective)
    return Stage(
        init=init_of(objective, base.config),
        loss=loss,
        source=_Inverted(images, latents),
        transform=_as_it_is,
        frozen=frozen,
        start=None if objective.beside else start,
        trainable="" if objective.parameters == "lora" else objective.trainable,  # by `init`
        rounds=objective.rounds,
        preview=_Preview(loss, images[:PREVIEWED], latents[:PREVIEWED]),
        export=_export(objective, base),
    )


def _export(
    objective: EditObjective, base: Base, source: str = ""
) -> Callable[[Path, Params], None]:
    """What writes an edit of `base`, which is at `source`."""
    described = Edit(base.config, None, objective, base.fingerprint, source)
    return lambda path, params: replace(described, params=params).save(path)


def select_images(
    source: DataSource, count: int, only: Sequence[str], size: int
) -> Float32[np.ndarray, "n size size 3"]:
    """The first `count` pictures of `source` whose attributes fit all of `only`.

    Conditions are those of `data.select`. Raises ValueError for one that cannot be read, and where
    there are too few pictures.
    """
    transform = prepare(size)
    unused = np.random.default_rng(0)
    chosen = [
        transform(example, unused)["image"] for example in islice(matching(source, only), count)
    ]
    if len(chosen) < count:
        fit = f" that are {', '.join(only)}" if only else ""
        raise ValueError(
            f"{count} pictures{fit} are wanted, the data has {len(chosen)} of them: "
            "set stage.images to fewer or give more data"
        )
    return np.stack(chosen)


def _latents(
    objective: EditObjective,
    base: Base,
    images: Float32[np.ndarray, "n h w 3"],
    progress: bool | None,
) -> Float32[np.ndarray, "n i j c"]:
    """Where generation begins: inverted, or, where nothing is to be undone, noised at random."""
    t0 = objective.known_t0
    if objective.mode == "noised":  # enough for a preview
        x0 = encoded(base, jnp.asarray(images))
        eps = jax.random.normal(jax.random.key(0), x0.shape, jnp.float32)
        x_t = q_sample(base.config.schedule, x0, jnp.int32(t0), eps)
        return np.asarray(x_t)
    inversion = Inversion(t0, objective.invert_steps, objective.fixed_point)
    return invert_images(base, images, inversion, progress=progress)


@dataclass(frozen=True, eq=False)
class _Preview:
    """What is made of the first pictures' latents, and the pictures."""

    loss: EditLoss
    images: Float32[np.ndarray, "n h w 3"]
    latents: Float32[np.ndarray, "n i j c"]

    def __call__(
        self, params: Params, frozen: Frozen, key: Key[Array, ""]
    ) -> dict[str, Float[Array, "m h w 3"] | Captioned]:
        made = _generate(params, frozen, jnp.asarray(self.latents), loss=self.loss)
        told = Captioned(made, [self.loss.objective.target_text] * len(made))
        return {"edited": told, "original": jnp.asarray(self.images)}


@partial(jax.jit, static_argnames="loss")
def _generate(params: Params, frozen: Frozen, latents: Array, *, loss: EditLoss) -> Array:
    times = ddim_grid(loss.objective.known_t0, loss.objective.train_steps)
    base = frozen.base
    denoise = loss.trained_denoiser(params, frozen)
    made = sample(denoise, ddim(base.config.schedule), times, latents, None, None)
    return decoded(base, made)


@dataclass(eq=False)
class _Inverted:
    """Pictures with their latents as a `DataSource`; `index` is the step a picture is at."""

    images: np.ndarray
    latents: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Of the pictures; the latents are a function of them."""
        return digest_of(self.images)[:16]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, latent = self.images[index], self.latents[index]
        return {"image": image, "latent": latent, "index": np.int32(0)}


def _as_it_is(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    del rng
    return example
