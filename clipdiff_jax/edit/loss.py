"""The loss of the edit stage, and the ways of coming by the picture that it is taken of.

    loss = directional * L_dir + length * L_length + l1 mean|x_ref - x_gen|
           + identity * L_id + noise * L_noise                                             (20)

(DiffusionCLIP, Kim et al. 2022, arXiv 2110.02711, section 3.2), with L_dir and L_length of
`perceptual.directional`, L_id of `perceptual.identity` and L_noise the ordinary loss on the same
pictures, which keeps the model a model of them. x_ref is the picture and x_gen

    unrolled      what all `train_steps` steps make of its latent, with gradients through all of
                  them, each recomputed in the backward pass; one update.
    single_step   each step's guess x0, with one update per step; the next step goes on from the
                  detached sample ("GPU-efficient fine-tuning", section 3.4).
    noised        the guess x0 from the picture noised at random to a random time up to t0, as for
                  training a model: nothing is inverted, and an update costs one evaluation
                  (compare Starodubcev et al. 2023, arXiv 2304.04344).
    h_space       each step's guess x0 of the base model whose bottleneck a small network shifts,
                  against its guess without the shift (x_ref); the base model stays as it is, and
                  the step is asymmetric (Asyrp, Kwon et al. 2023, arXiv 2210.10960, eq. 9).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.types import Params
from clipdiff_jax.diffusion.asymmetric import asymmetric
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction, q_sample
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.h_space import shifted_denoiser
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.space import Base, decoded, encoded, noise_loss, with_params
from clipdiff_jax.models.lora import merged
from clipdiff_jax.perceptual.directional import (
    TextDirection,
    Views,
    change,
    direction_term,
    length_term,
)
from clipdiff_jax.perceptual.identity import FaceEncoder, identity_loss
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.training.stage import Aux, Batch

Images = Float[Array, "b h w 3"]


class Frozen(NamedTuple):
    """What the loss reads and nothing changes.

    clip, direction: the judge, and the direction that the texts give it. face: for the identity
    loss. base: the model; without parameters where they are what is trained.
    """

    clip: Clip
    direction: TextDirection
    base: Base
    face: FaceEncoder | None = None


class Shown(NamedTuple):
    """x_gen and x_ref, which the loss is taken of, and the batch of the next round, if any."""

    generated: Images
    reference: Images
    following: Batch | None = None


@dataclass(frozen=True, eq=False)
class EditLoss:
    """Eq. 20 as a stage's loss, for batches of "image", "latent" and "index" (the step it is at).

    Attributes:
      objective: what is learned; its t0 is known.
    """

    objective: EditObjective

    def __call__(
        self, params: Params, frozen: Frozen, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Aux]:
        show = {
            "unrolled": self._unrolled,
            "single_step": self._single_step,
            "noised": self._noised,
            "h_space": self._h_space,
        }
        shown = show[self.objective.mode](params, frozen, batch, key)
        view_key, noise_key = jax.random.split(key)
        total, metrics = self._of_pictures(frozen, shown, view_key)
        if self.objective.noise:
            noise = self._of_noise(self._model(params, frozen), batch["image"], noise_key)
            total += self.objective.noise * noise
            metrics["noise"] = noise
        return total, Aux(metrics, shown.following)

    def trained_denoiser(self, params: Params, frozen: Frozen) -> Denoise:
        """The model as it edits, with what is being trained."""
        if self.objective.mode != "h_space":
            return self._model(params, frozen).denoise
        assert isinstance(frozen.base, Diffusion)
        shifted = shifted_denoiser(frozen.base, params)
        return asymmetric(frozen.base.denoise, shifted, self.objective.t_edit)

    def _model(self, params: Params, frozen: Frozen) -> Base:
        """The model that draws, as it is by now; in h-space it is the base."""
        if self.objective.mode == "h_space":
            return frozen.base
        if self.objective.parameters == "lora":
            params = merged(frozen.base.params, params)
        return with_params(frozen.base, params)

    def _unrolled(self, params: Params, frozen: Frozen, batch: Batch, key: Key[Array, ""]) -> Shown:
        model = self._model(params, frozen)
        made = sample(
            model.denoise,
            ddim(model.config.schedule),
            ddim_grid(self.objective.known_t0, self.objective.train_steps),
            batch["latent"],
            remat=True,
        )
        return Shown(decoded(model, made), batch["image"])

    def _single_step(
        self, params: Params, frozen: Frozen, batch: Batch, key: Key[Array, ""]
    ) -> Shown:
        t, t_next = self._ends(batch)
        model = self._model(params, frozen)
        prediction = model.denoise(batch["latent"], t)
        moved = ddim(model.config.schedule)(batch["latent"], prediction, t, t_next, None)
        return Shown(decoded(model, prediction.x0), batch["image"], _onwards(batch, moved))

    def _noised(self, params: Params, frozen: Frozen, batch: Batch, key: Key[Array, ""]) -> Shown:
        time_key, eps_key = jax.random.split(jax.random.fold_in(key, 2))
        model = self._model(params, frozen)
        x0 = encoded(model, batch["image"])
        t = jax.random.randint(time_key, x0.shape[:1], 0, self.objective.known_t0 + 1)
        eps = jax.random.normal(eps_key, x0.shape, jnp.float32)
        x_t = q_sample(model.config.schedule, x0, t, eps)
        return Shown(decoded(model, model.denoise(x_t, t).x0), batch["image"])

    def _h_space(self, params: Params, frozen: Frozen, batch: Batch, key: Key[Array, ""]) -> Shown:
        assert isinstance(frozen.base, Diffusion)
        t, t_next = self._ends(batch)
        plain = frozen.base.denoise(batch["latent"], t)
        shifted = shifted_denoiser(frozen.base, params)(batch["latent"], t, None)
        both = Prediction(shifted.x0, plain.eps)
        moved = ddim(frozen.base.config.schedule)(batch["latent"], both, t, t_next, None)
        return Shown(shifted.x0, jax.lax.stop_gradient(plain.x0), _onwards(batch, moved))

    def _ends(self, batch: Batch) -> tuple[Int[Array, " b"], Int[Array, " b"]]:
        """Where the step that each picture is at begins and ends."""
        times = jnp.asarray(ddim_grid(self.objective.known_t0, self.objective.train_steps))
        return times[batch["index"]], times[batch["index"] + 1]

    def _of_pictures(
        self, frozen: Frozen, shown: Shown, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Eq. 20 without its last term, and its terms."""
        objective, (generated, reference, _) = self.objective, shown
        moved = change(
            frozen.clip.embed_images,
            frozen.direction,
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
            assert frozen.face is not None
            apart = identity_loss(frozen.face.embed, generated, reference).mean()
            total += objective.identity * apart
            metrics["identity"] = apart
        return total, metrics

    def _of_noise(self, model: Base, images: Images, key: Key[Array, ""]) -> Float[Array, ""]:
        """L_noise, by which the model stays one of its pictures."""
        loss, x0 = noise_loss(model.config), encoded(model, images)
        time_key, eps_key = jax.random.split(key)
        t, eps = loss.draw(x0, time_key, eps_key)

        def network(x_t: Array, t: Array, cond: Cond) -> Array:
            return model.apply(x_t, t)

        return loss(network, x0, t, eps)[0]


def _onwards(batch: Batch, moved: Array) -> Batch:
    """The batch of the next round: the same pictures one step on."""
    return {**batch, "latent": jax.lax.stop_gradient(moved), "index": batch["index"] + 1}
