"""Stage `edit`: fine-tune a diffusion model until its pictures change the way a text does.

DiffusionCLIP (Kim et al. 2022, arXiv 2110.02711, section 3.2). Pictures are inverted once with
the base model; from their latents the model being tuned generates again, and what comes out is
asked to have moved in CLIP's space as the text has, and otherwise to have stayed:

    loss = directional * L_dir + length * L_length + l1 mean|x_ref - x_gen|
           + identity * L_id + noise * L_noise                                             (20)

with L_dir and L_length of `perceptual.directional`, L_id of `perceptual.identity` and L_noise the
ordinary loss on the same pictures, which keeps the model a model of them. Two modes:

    unrolled      all `train_steps` steps with gradients, each recomputed in the backward pass;
                  the loss is on the final picture; one update.
    single_step   the loss is on each step's guess x0, with one update a step; the next step goes
                  on from the detached sample ("GPU-efficient fine-tuning", section 3.4).
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from clipdiff_jax.compilation import loops_are_slow
from clipdiff_jax.config import to_dict
from clipdiff_jax.data.select import matching
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.transforms import prepare
from clipdiff_jax.diffusion.losses import noise_loss
from clipdiff_jax.diffusion.sampler import ddim, ddim_grid, sample
from clipdiff_jax.perceptual.directional import (
    Form,
    change,
    direction_term,
    length_term,
    text_direction,
)
from clipdiff_jax.perceptual.identity import identity_loss
from clipdiff_jax.perceptual.templates import PLAIN
from clipdiff_jax.pipelines.clip import Clip, load_clip
from clipdiff_jax.pipelines.diffusion import (
    Diffusion,
    DiffusionConfig,
    apply,
    denoiser,
    init_params,
    load_diffusion,
)
from clipdiff_jax.pipelines.face import FaceEncoder, load_face
from clipdiff_jax.stages.latents import invert_images
from clipdiff_jax.train.stage import Aux, Stage
from clipdiff_jax.weights import fingerprint, save_folder

KIND = "edit"
PREVIEWED = 8


@dataclass(frozen=True, kw_only=True)
class EditObjective:
    """Describes what is learned; the defaults are the published ones.

    Attributes:
      source_text, target_text: what the pictures show, and what they should show.
      templates: wordings of the two texts, see `perceptual.templates`.
      mode: "unrolled" or "single_step".
      t0: how far pictures are noised, as a time index: the further, the more can change.
      invert_steps, train_steps: times of the inversion and of generation while training.
      fixed_point: iterations that refine each inversion step.
      directional, form: weight and form of L_dir.
      length, wanted_length: weight of L_length, and how far along the text's direction the
        picture should go, as a share of the text's own way.
      l1, identity, noise: weights of the further terms of eq. 20.
      augmentations, crop, grain: random views before CLIP, see `perceptual.directional`.
      trainable: regex over parameter paths; "" trains everything.
    """

    source_text: str
    target_text: str
    templates: tuple[str, ...] = PLAIN
    mode: Literal["unrolled", "single_step"] = "unrolled"
    t0: int = 400
    invert_steps: int = 40
    train_steps: int = 6
    fixed_point: int = 0
    directional: float = 3.0
    form: Form = "log"
    length: float = 0.0
    wanted_length: float = 0.5
    l1: float = 1.0
    identity: float = 0.0
    noise: float = 0.0
    augmentations: int = 0
    crop: float = 0.8
    grain: float = 0.1
    trainable: str = ""

    def __post_init__(self) -> None:
        if self.mode not in ("unrolled", "single_step"):
            raise ValueError(f"mode must be 'unrolled' or 'single_step', got {self.mode!r}")
        ddim_grid(self.t0, self.invert_steps)
        ddim_grid(self.t0, self.train_steps)


@dataclass(frozen=True, kw_only=True)
class EditStage:
    """Describes the stage.

    Attributes:
      data: pictures to train on.
      objective: what to learn from them.
      base: the diffusion model to tune: a model folder or whatever `load_diffusion` takes.
      clip: the CLIP that judges, as `load_clip` takes it.
      face: weights of ArcFace (`model_ir_se50.pth`), needed where `objective.identity` is not 0.
      images: how many pictures; the first of the data that fit `only`.
      only: conditions on the data's attributes, such as ("style=avataaars", "mouth=sad|serious").
      dtype: what the networks compute in; trained parameters stay float32.
    """

    data: DataConfig
    objective: EditObjective
    base: str = "demo"
    clip: str = "demo"
    face: str = ""
    images: int = 50
    only: tuple[str, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"


def build(config: EditStage, *, invert: bool = True) -> Stage:
    """Loads the models and the pictures, inverts the pictures (cached), joins them into a loss.

    With `invert=False` latents are zeros: enough to compile a step and see what it needs.
    Raises ValueError where the data has too few pictures that fit, and what loading raises.
    """
    dtype = jnp.dtype(config.dtype)
    base = load_diffusion(config.base, dtype=dtype)
    clip = load_clip(config.clip, dtype=dtype)
    face = load_face(config.face, dtype=dtype) if config.face else None
    source = open_source(config.data)
    images = select_images(source, config.images, config.only, base.config.image_size)
    return make_stage(config.objective, base, clip, images, face=face, invert=invert)


def make_stage(
    objective: EditObjective,
    base: Diffusion,
    clip: Clip,
    images: Float32[np.ndarray, "n h w 3"],
    *,
    face: FaceEncoder | None = None,
    invert: bool = True,
    progress: bool = True,
) -> Stage:
    """The stage for models and pictures at hand: float32, in [-1, 1], of the model's size."""
    if objective.identity and face is None:
        raise ValueError(f"identity={objective.identity} needs a face encoder: set `face`")
    if not invert:
        latents = np.zeros_like(images)
    else:
        latents = invert_images(
            base,
            images,
            t0=objective.t0,
            steps=objective.invert_steps,
            fixed_point=objective.fixed_point,
            progress=progress,
        )
    direction = text_direction(
        clip.embed_texts, objective.source_text, objective.target_text, objective.templates
    )
    frozen = {"clip": clip.params, "direction": direction}
    if face is not None:
        frozen["face"] = face.params
    start = jax.tree.map(partial(np.asarray, dtype=np.float32), base.params)
    return Stage(
        init=partial(init_params, base.config),
        loss=_make_loss(objective, base.config, base.dtype, clip, face),
        source=_Inverted(images, latents),
        transform=_as_it_is,
        frozen=frozen,
        start=start,
        trainable=objective.trainable,
        rounds=objective.train_steps if objective.mode == "single_step" else 1,
        preview=_make_preview(objective, base, images[:PREVIEWED], latents[:PREVIEWED]),
        export=partial(save_edit, objective, base.config, fingerprint(base.params)),
    )


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


def save_edit(
    objective: EditObjective,
    config: DiffusionConfig,
    base_fingerprint: str,
    path: Path,
    params: Any,
) -> None:
    """Writes the model folder that `pipelines.edit.load_edit` reads."""
    described = {
        "kind": KIND,
        "model": to_dict(config),
        "objective": to_dict(objective),
        "base_fingerprint": base_fingerprint,
    }
    save_folder(path, described, params)


def _make_loss(
    objective: EditObjective,
    config: DiffusionConfig,
    dtype: Any,
    clip: Clip,
    face: FaceEncoder | None,
) -> Callable[[Any, Any, dict[str, Array], Array], tuple[Array, Aux]]:
    step = ddim(config.schedule)
    times = ddim_grid(objective.t0, objective.train_steps)

    def loss(params, frozen, batch, key):
        denoise = denoiser(config, params, dtype=dtype)
        following = None
        if objective.mode == "unrolled":
            generated = sample(
                denoise,
                step,
                times,
                batch["latent"],
                None,
                None,
                remat=True,
                unroll=loops_are_slow(),
            )
        else:
            index = batch["index"]
            t, t_next = jnp.asarray(times)[index], jnp.asarray(times)[index + 1]
            prediction = denoise(batch["latent"], t, None)
            generated = prediction.x0
            moved = step(batch["latent"], prediction, t, t_next, None)
            following = {**batch, "latent": jax.lax.stop_gradient(moved), "index": index + 1}
        view_key, noise_key = jax.random.split(key)
        total, metrics = picture_loss(frozen, generated, batch["image"], view_key)
        if objective.noise:
            noise, _ = _noise_loss(config, dtype, params, batch["image"], noise_key)
            total += objective.noise * noise
            metrics["noise"] = noise
        return total, Aux(metrics, following)

    def picture_loss(frozen, generated, reference, key):
        moved = change(
            dataclasses.replace(clip, params=frozen["clip"]).embed_images,
            frozen["direction"],
            generated,
            reference,
            key,
            augmentations=objective.augmentations,
            crop=objective.crop,
            noise=objective.grain,
        )
        l1 = jnp.mean(jnp.abs(generated - reference))
        metrics = {"s_dir": moved.cosine.mean(), "length": moved.length.mean(), "l1": l1}
        total = objective.directional * direction_term(moved.cosine, objective.form).mean()
        total += objective.length * length_term(moved.length, objective.wanted_length).mean()
        total += objective.l1 * l1
        if objective.identity:
            assert face is not None
            embed = dataclasses.replace(face, params=frozen["face"]).embed
            apart = identity_loss(embed, generated, reference).mean()
            total += objective.identity * apart
            metrics["identity"] = apart
        return total, metrics

    return loss


def _noise_loss(
    config: DiffusionConfig, dtype: Any, params: Any, x0: Float[Array, "b h w c"], key: Array
) -> tuple[Array, dict[str, Array]]:
    time_key, eps_key = jax.random.split(key)
    t = jax.random.randint(time_key, x0.shape[:1], 0, config.schedule.num_steps)
    eps = jax.random.normal(eps_key, x0.shape)

    def network(x_t, t, cond):
        del cond
        return apply(config, params, x_t, t, dtype=dtype)

    return noise_loss(
        network,
        config.schedule,
        x0,
        t,
        eps,
        prediction=config.prediction,
        learned_variance=config.learned_variance,
    )


def _make_preview(
    objective: EditObjective, base: Diffusion, images: np.ndarray, latents: np.ndarray
) -> Callable[[Any, Any, Array], dict[str, Array]]:
    times = ddim_grid(objective.t0, objective.train_steps)

    @jax.jit
    def generate(params, latents):
        denoise = denoiser(base.config, params, dtype=base.dtype)
        return sample(denoise, ddim(base.config.schedule), times, latents, None, None)

    def preview(params, frozen, key):
        del frozen, key
        return {"edited": jnp.concatenate([images, generate(params, latents)])}

    return preview


@dataclass(frozen=True, eq=False)
class _Inverted:
    """Pictures with their latents as a `DataSource`; `index` is the step a picture is at."""

    images: np.ndarray
    latents: np.ndarray
    fingerprint: str = "inverted"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, latent = self.images[index], self.latents[index]
        return {"image": image, "latent": latent, "index": np.int32(0)}


def _as_it_is(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    del rng
    return example
