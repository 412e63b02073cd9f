"""A model of poses as one object: its config, its parameters, and what it can do.

    puzzle = cd.load_reassembly("demo").solve(pieces)
    cd.show(puzzle.picture)

Poses are denoised as pictures are, by the same schedules and samplers: `denoise` is the model in
the contract that samplers speak.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.core.keys import AnyKey, as_key
from clipdiff_jax.core.networks import run
from clipdiff_jax.core.progress import watched
from clipdiff_jax.core.request import fill
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.prediction import Cond, Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import StepRule, Steps, Trace, step_noise, steps_of
from clipdiff_jax.diffusion.sampling import Sampling, SamplingOptions
from clipdiff_jax.diffusion.so3 import on_so3, so3_ddim
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.diffusion.steps import Sampler, StepOptions, make_step
from clipdiff_jax.models.points import PointsConfig
from clipdiff_jax.models.poses import Graph, PoseNetwork, PosesConfig, init_params
from clipdiff_jax.reassembly.answer import Answer
from clipdiff_jax.reassembly.entrance import Grid, as_puzzle
from clipdiff_jax.reassembly.fragments import Placement, as_fragments
from clipdiff_jax.weights.documents import untrusted
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import check_params, load_folder, save_folder
from clipdiff_jax.weights.loading import find_model
from clipdiff_jax.weights.params import fingerprint
from clipdiff_jax.weights.publishing import Pushable

KIND = "reassembly"
# The published walk: every tenth of 300 times, down to time 0.
DEFAULT = Sampling(steps=30, spacing="leading")
_KNOWN = ("pieces", "mask", "size", "edges")  # of a batch, what a graph is made of


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Reassembly(Pushable):
    """A model of poses; `params` are the network's, `dtype` is what it computes in."""

    config: PosesConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the parameters; computed once an object."""
        return fingerprint(self.params)

    def graph(
        self,
        pieces: UInt8[Array, "b p s s 3"] | Float[Array, "b p m 3"],
        mask: Bool[Array, "b p"],
        size: Int[Array, "b 2"] | None = None,
        edges: Bool[Array, "b p p"] | None = None,
    ) -> Graph:
        """What is known of the pieces of B puzzles, to be traced; see `models.poses.Graph`."""
        network = PoseNetwork(self.config, dtype=self.dtype)
        features = run(network, self.params, pieces, method="encode")
        return Graph(features, mask, size, edges)

    def apply(
        self, x_t: Float[Array, "b p d"], t: Int[Array, " b"], graph: Graph
    ) -> Float[Array, "b p d"]:
        """The clean poses that the network predicts, to be traced."""
        return run(PoseNetwork(self.config, dtype=self.dtype), self.params, x_t, t, graph)

    def denoise(self, x_t: Float[Array, "b p d"], t: Int[Array, "..."], graph: Cond) -> Prediction:
        """The model as a `Denoise`; the conditioning is the `Graph`."""
        return make_denoise(self.apply, self.config.schedule, "x0")(x_t, t, graph)

    @watched
    def solve(
        self,
        pieces: object,
        *,
        grid: Grid = None,
        key: AnyKey | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Answer | Placement:
        """Where each piece of a puzzle belongs, and how it is turned; of fragments a `Placement`.

        pieces: P square pieces [P,s,s,3] in any order, or a list of them: uint8, floats in [-1, 1]
            or PIL pictures; those of another size are resized to the model's. A model of solids
            takes P fragments, clouds of points [N,3] each.
        grid: rows and columns, or one number for both; by default the square of as many cells as
            there are pieces, which has to be said where some are missing.
        key: where the walk starts: None is at the mean of the noise, as published, which makes the
            answer a function of the pieces; a seed or a key draws the start (and what the sampler
            draws).
        sampling, options: see `Sampling`; by default DDIM over 30 times. Neither these nor the
            number of pieces compile anything new, the number of steps and the sampler do.

        Raises `ValueError` for pieces that are not squares of one size, fewer than two, or more
        than the model or the grid has room for, and for a guidance or threshold, which poses have
        not.
        """
        request = check_sampling(fill(DEFAULT, sampling, options))
        keys = None if key is None else as_key(key)[None]
        if isinstance(self.config.encoder, PointsConfig):
            if grid is not None:
                raise ValueError(f"grid={grid}: this model places fragments, which have no grid")
            fragments = as_fragments(pieces, self.config)
            x, _ = walk(self, fragments.batch, request, keys)
            return fragments.placed(np.asarray(x[0, : len(fragments.clouds)]))
        puzzle = as_puzzle(pieces, grid, self.config)
        x, trace = walk(self, puzzle.batch(self.config.max_pieces), request, keys)
        count = len(puzzle.pieces)
        return Answer(
            pieces=puzzle.shown,
            size=puzzle.size,
            poses=np.asarray(x[0, :count]),
            path=np.asarray(trace.x[:, 0, :count]),
            guesses=np.asarray(trace.x0[:, 0, :count]),
        )

    def save(self, path: str | Path, *, dtype: DType | None = None) -> None:
        """Writes the folder that `load_reassembly` reads; arrays become `dtype`."""
        save_reassembly(path, self.config, self.params, dtype=dtype)


def check_sampling(sampling: Sampling) -> Sampling:
    """Raises `ValueError` for what the sampling of pictures has and that of poses has not."""
    for name in ("guidance", "threshold"):
        value = getattr(sampling, name)
        if value is not None:
            raise ValueError(f"{name}={value}: poses are denoised without {name}")
    return sampling


def walk(
    model: Reassembly,
    batch: dict[str, np.ndarray],
    sampling: Sampling,
    keys: Key[Array, " b"] | None = None,
) -> tuple[Float[Array, "b p d"], Trace]:
    """(poses, the way there) of B puzzles as the data's transform gives them.

    keys: one for each puzzle, see `Reassembly.solve`. Raises `ValueError` for more steps than the
    schedule has times, and for a sampler that draws noise without keys.
    """
    if model.config.on_so3 and (sampling.sampler != "ddim" or sampling.eta):
        raise ValueError(
            f"rotations on SO(3) are walked by 'ddim' without eta, not by {sampling.sampler!r} "
            f"with eta {sampling.eta}"
        )
    if keys is None and (sampling.eta or sampling.sampler == "ancestral"):
        raise ValueError(f"sampler {sampling.sampler!r} with eta {sampling.eta} draws: give a key")
    times = sampling.times(model.config.schedule)
    return _walk(
        model,
        {name: jnp.asarray(batch[name]) for name in _KNOWN if name in batch},
        times,
        keys,
        jnp.float32(sampling.eta) if keys is not None else None,
        sampler=sampling.sampler,
    )


@stepping("placing", static_argnames="sampler", keep=True)
def _walk(
    model: Reassembly,
    known: dict[str, Array],
    times: Array,
    keys: Array | None,
    eta: Array | None,
    *,
    sampler: Sampler,
) -> Steps:
    config = model.config
    graph = model.graph(**known)
    start = jnp.zeros((*graph.mask.shape, config.encoder.pose))
    if keys is not None:
        start = step_noise(keys, len(times), start.shape)
    step: StepRule
    if config.on_so3:
        start, step = on_so3(start), so3_ddim(config.schedule)
    else:
        step = make_step(sampler, config.schedule, StepOptions(0.0 if eta is None else eta))
    walk = steps_of(model.denoise, step, times, start, graph, keys)
    return walk._replace(end=lambda carry, trace: (carry[1], trace))


def save_reassembly(
    path: str | Path, config: PosesConfig, params: Params, *, dtype: DType | None = None
) -> None:
    """Writes the folder that `load_reassembly` reads; floating-point arrays become `dtype`."""
    save_folder(path, {"kind": KIND, "model": to_dict(config)}, params, dtype)


def load_reassembly(
    source: str | Path, *, dtype: DType = jnp.float32, revision: str | None = None
) -> Reassembly:
    """Loads a model of poses.

    Args:
      source: "demo" (pieces of avatar faces); a model folder, or the work folder of a run; or a
        repository of the Hugging Face Hub that holds one.
      dtype: what the network computes in; parameters are float32.
      revision: of a repository on the Hub.

    Raises `WeightsError` where there is no such model, or it is incomplete or of another kind.
    """
    path = find_model(source, KIND, revision=revision)
    document, params = load_folder(path, jnp.float32)
    if document["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{document['kind']}', not '{KIND}'")
    with untrusted(path):
        config = from_dict(PosesConfig, document.get("model"))
        check_params(path, params, functools.partial(init_params, config))
    return Reassembly(config, jax.tree.map(jnp.asarray, params), dtype)
