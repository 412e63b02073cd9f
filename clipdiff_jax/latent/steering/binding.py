"""Which adjective goes with which noun: three ways to hold a picture to its phrases.

"structured" (Feng et al. 2022, arXiv 2212.05032): the values that pixels fetch are the mean over
the prompt's states and, for each phrase, those states with the phrase's own encoding in its place.
Keys, and so maps, are the prompt's. Cheap, and often without effect, as its authors say.

The others move x_t down the gradient of a loss of the cross-attention maps A [places, tokens], for
the first half of the steps and before each of them:

    x_t <- x_t - a dL/dx_t                                                                  (1)

"attend" (Attend-and-Excite, Chefer et al. 2023, arXiv 2301.13826): every noun has a place,

    L = max_s max(0, 1 - max_p smooth(softmax_tokens(100 A))_{p,s}),   a = 20 sqrt(1 .. 0.5) (2)

where 1 .. 0.5 falls evenly over all steps, of which only the first half moves, and with up to 20
further moves at the first step and after a fifth and two fifths of the steps, while L is above
1 - (0.05, 0.5, 0.8).

"syngen" (Rassin et al. 2023, arXiv 2306.08877): with A's columns as distributions over places and
D(p, q) = (KL(p|q) + KL(q|p)) / 2, modifiers lie where their noun is and both away from the rest,

    L = sum_(m, n) max D(A_m, A_n) - (mean_u D(A_n, A_u) + mean_u D(A_m, A_u)) / 2,   a = 20  (3)

to which eq. 2's L of the nouns is added, without further moves: a noun that is nowhere binds
nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.diffusion.prediction import Cond, match
from clipdiff_jax.latent.steering.attention import smoothed

STEP, SHARPNESS, FLOOR = 20.0, 100.0, 1e-12
REFINED = ((0.0, 0.05), (0.2, 0.5), (0.4, 0.8))  # share of the steps, and the presence asked for
MOST_MOVES = 20
# (x_t, t [B], conditioning) -> the mean cross-attention maps, [B, i, j, S]
Maps = Callable[[Array, Array, Cond], Float[Array, "b i j s"]]


class Tokens(NamedTuple):
    """Where a prompt's words are in its row of S tokens, with a leading axis of pictures.

    Attributes:
      words: 1 from the first token to the last, marks left out.
      nouns: of each phrase the tokens of its head; zero rows fill up.
      modifiers: of each modifier its tokens. owners: the phrase it belongs to. outside: words of no
        phrase of that modifier, 1 each.
    """

    words: Float[Array | np.ndarray, "*b s"]
    nouns: Float[Array | np.ndarray, "*b n s"]
    modifiers: Float[Array | np.ndarray, "*b m s"]
    owners: Int[Array | np.ndarray, "*b m"]
    outside: Float[Array | np.ndarray, "*b m s"]


class Moves(NamedTuple):
    """What moves x_t: of each picture where its words are, and by which loss.

    syngen: whether eq. 3 is added.
    """

    tokens: Tokens
    syngen: Float[Array | np.ndarray, " b"]


def presence_loss(maps: Float[Array, "b i j s"], tokens: Tokens) -> Float[Array, " b"]:
    """L of eq. 2, one number for each picture."""
    sides, maps = maps.shape[1:3], maps.reshape(len(maps), -1, maps.shape[-1])
    among = jnp.where(jnp.asarray(tokens.words)[:, None] > 0, SHARPNESS * maps, -jnp.inf)
    among = jnp.where(jnp.asarray(tokens.words)[:, None] > 0, jax.nn.softmax(among, axis=-1), 0.0)
    nouns = jnp.asarray(tokens.nouns)
    share = nouns / jnp.maximum(nouns.sum(axis=-1, keepdims=True), 1.0)
    of_nouns = jnp.einsum("bts,bns->bnt", among, share)
    smooth = smoothed(of_nouns.reshape(*of_nouns.shape[:2], *sides))
    lacking = jnp.maximum(0.0, 1.0 - smooth.max(axis=(2, 3)))
    return jnp.max(jnp.where(nouns.sum(axis=-1) > 0, lacking, 0.0), axis=-1)


def binding_loss(maps: Float[Array, "b i j s"], tokens: Tokens) -> Float[Array, " b"]:
    """L of eq. 3, one number for each picture."""
    maps = maps.reshape(len(maps), -1, maps.shape[-1])
    columns = jnp.swapaxes(maps, 1, 2)
    p = columns / jnp.maximum(columns.sum(axis=-1, keepdims=True), FLOOR)  # [B,S,T]
    log = jnp.log(jnp.maximum(p, FLOOR))
    # D(p, q) = sum (p - q) (log p - log q) / 2 over places, of every pair of tokens.
    own = jnp.sum(p * log, axis=-1)
    cross = jnp.einsum("bst,but->bsu", p, log)
    apart = (own[:, :, None] + own[:, None] - cross - jnp.swapaxes(cross, 1, 2)) / 2
    modifiers, outside = jnp.asarray(tokens.modifiers), jnp.asarray(tokens.outside)
    owners = jnp.asarray(tokens.owners)[..., None]
    nouns = jnp.take_along_axis(jnp.asarray(tokens.nouns), owners, axis=1)
    pairs = modifiers[..., :, None] * nouns[..., None, :]  # [B,M,S,S]
    near = jnp.max(jnp.where(pairs > 0, apart[:, None], 0.0), axis=(2, 3))
    count = jnp.maximum(outside.sum(axis=-1), 1.0)

    def away(of: Array) -> Array:
        of = of / jnp.maximum(of.sum(axis=-1, keepdims=True), 1.0)
        return jnp.einsum("bms,bsu,bmu->bm", of, apart, outside) / count

    lost = near - (away(nouns) + away(modifiers)) / 2
    return jnp.sum(jnp.where(modifiers.sum(axis=-1) > 0, lost, 0.0), axis=-1)


def moved(
    maps: Maps,
    moves: Moves,
    x: Float[Array, "b h w c"],
    t: Int[Array, ""],
    step: tuple[Int[Array, ""], int],
    cond: Cond,
) -> Float[Array, "b h w c"]:
    """x_t before a step, by eq. 1; to be traced. step: its number, and of how many.

    A picture's moves depend on that picture alone.
    """
    index, steps = step
    pace = STEP * jnp.sqrt(1 - 0.5 * jnp.float32(index) / max(steps - 1, 1))
    rate = jnp.where(jnp.asarray(moves.syngen) > 0, STEP, pace)
    every = jnp.broadcast_to(t, x.shape[:1])

    def losses(x: Array) -> tuple[Array, Array]:
        seen = maps(x, every, cond)
        lacking = presence_loss(seen, moves.tokens)
        total = lacking + moves.syngen * binding_loss(seen, moves.tokens)
        return jnp.sum(total), lacking

    slope = jax.grad(losses, has_aux=True)
    least = jnp.float32(jnp.inf)  # the loss below which nothing is refined
    for share, presence in REFINED:
        least = jnp.where(index == int(share * steps), 1 - presence, least)

    def refined(x: Array) -> Array:
        def go_on(carry: tuple[Array, Array, Array]) -> Array:
            return (carry[0] < MOST_MOVES) & jnp.any(carry[2])

        def once(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            count, x, _ = carry
            gradient, lacking = slope(x)
            wanting = (lacking > least) & (jnp.asarray(moves.syngen) == 0)
            x = x - jnp.where(match(wanting, x), match(rate, x) * gradient, 0.0)
            return count + 1, x, wanting

        start = jnp.int32(0), x, jnp.ones(len(x), bool)
        return jax.lax.while_loop(go_on, once, start)[1]

    def act(x: Array) -> Array:
        asked = jnp.isfinite(least) & jnp.any(jnp.asarray(moves.syngen) == 0)
        x = jax.lax.cond(asked, refined, lambda x: x, x)
        return x - match(rate, x) * slope(x)[0]

    return jax.lax.cond(2 * index < steps, act, lambda x: x, x)
