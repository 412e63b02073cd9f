"""The loss of the edit stage, and the ways of coming by the picture that it is taken of.

    loss = directional * L_dir + length * L_length + l1 mean|x_ref - x_gen|
           + identity * L_id + noise * L_noise                                             (20)

(DiffusionCLIP, Kim et al. 2022, arXiv 2110.02711, section 3.2), with L_dir and L_length of
`perceptual.directional`, L_id of `perceptual.identity` and L_noise the ordinary loss on the same
pictures, which keeps the model a model of them. x_ref is the picture and x_gen

    unrolled      what all `train_steps` steps make of its latent, with gradients through all of
                  them, each recomputed in the backward pass; one update.
    single_step   each step's guess x0, with one update a step; the next step goes on from the
                  detached sample ("GPU-efficient fine-tuning", section 3.4).
    noised        the guess x0 from the picture noised at random to a random time up to t0, as for
                  training a model: nothing is inverted, and an update costs one evaluation
                  (compare Starodubcev et al. 2023, arXiv 2304.04344).
    h_space       each step's guess x0 of the base model whose bottleneck a small network shifts,
                  against its guess without the shift (x_ref); the base model stays as it is, and
                  the step is asymmetric (Asyrp, Kwon et al. 2023, arXiv 2210.10960, eq. 9).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.compilation import loops_are_slow
from clipdiff_jax.core.types import Params
from clipdiff_jax.diffusion.asymmetric import asymmetric
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.losses import NoiseLoss
from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction, q_sample
from clipdiff_jax.diffusion.sampler import Loop, sample
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.h_space import shifted_denoiser
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.perceptual.directional import Views, change, direction_term, length_term
from clipdiff_jax.perceptual.identity import FaceEncoder, identity_loss
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.training.stage import Aux, Batch, Loss

Generated = tuple[Array, Array, Batch | None]  # pictures, what they were, the next batch


def make_loss(
    objective: EditObjective,
    config: DiffusionConfig,
    dtype: Any,
    clip: Clip,
    face: FaceEncoder | None,
) -> Loss:
    """Eq. 20 as a stage's loss, for batches of "image", "latent" and "index" (the step it is at).

    `frozen` holds "clip", "direction", and as they are needed "face" and "base".
    """
    step = ddim(config.schedule)
    times = ddim_grid(objective.t0, objective.train_steps)

    def unrolled(params: Params, frozen: Params, batch: Batch, key: Array) -> Generated:
        generated = sample(
            Diffusion(config, params, dtype).denoise,
            step,
            times,
            batch["latent"],
            None,
            None,
            Loop(remat=True, unroll=loops_are_slow()),
        )
        return generated, batch["image"], None

    def single_step(params: Params, frozen: Params, batch: Batch, key: Array) -> Generated:
        t, t_next = _ends(times, batch)
        prediction = Diffusion(config, params, dtype).denoise(batch["latent"], t, None)
        moved = step(batch["latent"], prediction, t, t_next, None)
        return prediction.x0, batch["image"], _onwards(batch, moved)

    def noised(params: Params, frozen: Params, batch: Batch, key: Array) -> Generated:
        time_key, eps_key = jax.random.split(jax.random.fold_in(key, 2))
        x0 = batch["image"]
        t = jax.random.randint(time_key, x0.shape[:1], 0, objective.t0 + 1)
        x_t = q_sample(config.schedule, x0, t, jax.random.normal(eps_key, x0.shape))
        return Diffusion(config, params, dtype).denoise(x_t, t, None).x0, x0, None

    def h_space(params: Params, frozen: Params, batch: Batch, key: Array) -> Generated:
        t, t_next = _ends(times, batch)
        plain = Diffusion(config, frozen["base"], dtype).denoise(batch["latent"], t, None)
        shift = shifted_denoiser(config, frozen["base"], params, dtype=dtype)
        shifted = shift(batch["latent"], t, None)
        moved = step(batch["latent"], Prediction(shifted.x0, plain.eps), t, t_next, None)
        return shifted.x0, jax.lax.stop_gradient(plain.x0), _onwards(batch, moved)

    modes = {
        "unrolled": unrolled,
        "single_step": single_step,
        "noised": noised,
        "h_space": h_space,
    }

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        generated, reference, following = modes[objective.mode](params, frozen, batch, key)
        view_key, noise_key = jax.random.split(key)
        total, metrics = picture_loss(frozen, generated, reference, view_key)
        if objective.noise:
            noise, _ = _noise_loss(config, dtype, params, batch["image"], noise_key)
            total += objective.noise * noise
            metrics["noise"] = noise
        return total, Aux(metrics, following)

    def picture_loss(
        frozen: Params, generated: Array, reference: Array, key: Array
    ) -> tuple[Array, dict[str, Array]]:
        moved = change(
            dataclasses.replace(clip, params=frozen["clip"]).embed_images,
            frozen["direction"],
            generated,
            reference,
            key,
            Views(objective.augmentations, objective.crop, objective.grain),
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
    noise_loss = NoiseLoss(
        config.schedule, config.prediction, learned_variance=config.learned_variance
    )
    t, eps = noise_loss.draw(x0, time_key, eps_key)

    def network(x_t: Array, t: Array, cond: Cond) -> Array:
        del cond
        return Diffusion(config, params, dtype).apply(x_t, t)

    return noise_loss(network, x0, t, eps)


def trained_denoiser(
    objective: EditObjective, config: DiffusionConfig, params: Any, frozen: Any, dtype: Any
) -> Denoise:
    """The model as it edits, with what is being trained."""
    if objective.mode != "h_space":
        return Diffusion(config, params, dtype).denoise
    base = Diffusion(config, frozen["base"], dtype).denoise
    shifted = shifted_denoiser(config, frozen["base"], params, dtype=dtype)
    return asymmetric(base, shifted, objective.t_edit)


def _ends(times: Any, batch: dict[str, Array]) -> tuple[Array, Array]:
    """Where the step that each picture is at begins and ends."""
    index = batch["index"]
    return jnp.asarray(times)[index], jnp.asarray(times)[index + 1]


def _onwards(batch: dict[str, Array], moved: Array) -> dict[str, Array]:
    """The batch of the next round: the same pictures one step on."""
    return {**batch, "latent": jax.lax.stop_gradient(moved), "index": batch["index"] + 1}
