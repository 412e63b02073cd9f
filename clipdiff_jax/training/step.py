"""One training step: gradients, clipping, update, moving average, as one pure function.

The step never destroys a good state: where the loss or the gradient is not finite the old
parameters are kept and the metric `finite` says so, for the loop to stop on.

Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412) takes the gradient g not at the
parameters w but where a ball of radius rho around them rises most steeply, to first order:

    g(w + rho g(w) / ||g(w)||)                                                    (eq. 2 and 3)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from clipdiff_jax.core.devices import in_parts, joined_parts
from clipdiff_jax.core.types import Params
from clipdiff_jax.training.optim import trainable_mask
from clipdiff_jax.training.stage import Aux, Batch, Stage
from clipdiff_jax.training.state import TrainState

Metrics = dict[str, Array]
Gradients = tuple[Array, Aux, Params]  # the loss, what goes with it, its gradient
TrainStep = Callable[[TrainState, Params, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    stage: Stage,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    sam_rho: float = 0.0,
) -> TrainStep:
    """Returns `step(state, frozen, batch) -> (state, metrics)`, to be jitted with `state` donated.

    `accumulate` splits the batch into that many micro-batches whose gradients are averaged;
    `ema_decay` is the moving average's decay, ramped up as (1 + step) / (10 + step). With a
    `sam_rho` above 0 both gradients see the same batch and the same noise; the loss and its metrics
    are those at the parameters themselves.
    """

    def loss_of_trained(
        params: Params, frozen: Params, batch: Batch, key: Array
    ) -> tuple[Array, Aux]:
        if stage.trainable:  # gradients of what is held are zeros, and cost nothing
            mask = trainable_mask(params, stage.trainable)
            params = jax.tree.map(lambda p, t: p if t else jax.lax.stop_gradient(p), params, mask)
        return stage.loss(params, frozen, batch, key)

    def gradients(params: Params, frozen: Params, batch: Batch, key: Array) -> Gradients:
        grad = jax.value_and_grad(loss_of_trained, has_aux=True)
        if accumulate == 1:
            (loss, aux), grads = grad(params, frozen, batch, key)
            return loss, aux, grads

        def micro(total: Params, item: tuple[Array, Batch]) -> tuple[Params, tuple[Array, Aux]]:
            index, part = item
            (loss, aux), grads = grad(params, frozen, part, jax.random.fold_in(key, index))
            return jax.tree.map(jnp.add, total, grads), (loss, aux)

        parts = jax.tree.map(lambda x: in_parts(x, accumulate), batch)
        zeros = jax.tree.map(jnp.zeros_like, params)
        total, (losses, auxes) = jax.lax.scan(micro, zeros, (jnp.arange(accumulate), parts))
        metrics = jax.tree.map(lambda m: m.mean(0), auxes.metrics)
        merged = None if auxes.batch is None else jax.tree.map(joined_parts, auxes.batch)
        grads = jax.tree.map(lambda g: g / accumulate, total)
        return losses.mean(), Aux(metrics, merged), grads

    def sharpness_aware(params: Params, frozen: Params, batch: Batch, key: Array) -> Gradients:
        loss, aux, grads = gradients(params, frozen, batch, key)
        length = sam_rho / jnp.maximum(optax.tree.norm(grads), 1e-12)
        highest = jax.tree.map(lambda p, g: p + length * g, params, grads)
        return loss, aux, gradients(highest, frozen, batch, key)[2]

    take_gradients = sharpness_aware if sam_rho else gradients

    def update(
        state: TrainState, frozen: Params, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics, Batch | None]:
        loss, aux, grads = take_gradients(state.params, frozen, batch, key)
        norm = optax.tree.norm(grads)
        updates, opt = optimizer.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)

        def keep(new: Params, old: Params) -> Params:
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        state = state._replace(params=keep(params, state.params), opt=keep(opt, state.opt))
        metrics = {"loss": loss, "grad_norm": norm, "finite": finite, **aux.metrics}
        return state, metrics, aux.batch

    def step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if stage.rounds == 1:
            state, metrics, _ = update(state, frozen, batch, key)
        else:

            def one_round(
                carry: tuple[TrainState, Batch], index: Array
            ) -> tuple[tuple[TrainState, Batch], Metrics]:
                state, batch = carry
                round_key = jax.random.fold_in(key, index)
                state, metrics, following = update(state, frozen, batch, round_key)
                if following is None:
                    raise ValueError(f"a stage of {stage.rounds} rounds needs `Aux.batch`")
                return (state, following), metrics

            (state, _), metrics = jax.lax.scan(one_round, (state, batch), jnp.arange(stage.rounds))
            finite = metrics["finite"].all()
            metrics = {**jax.tree.map(lambda m: m.mean(0), metrics), "finite": finite}
        ema = state.ema
        if ema is not None:
            count = state.step.astype(jnp.float32)
            decay = jnp.minimum(ema_decay, (1 + count) / (10 + count))
            ema = jax.tree.map(lambda e, p: e + (1 - decay) * (p - e), ema, state.params)
        return state._replace(step=state.step + 1, ema=ema), metrics

    return step
