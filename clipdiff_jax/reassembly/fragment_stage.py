"""Stage `fragments`: learn to denoise the poses of the fragments of a solid.

With tau the translation, q the unit quaternion of the rotation and means over the parts that are
there (the release of DiffAssemble, arXiv 2402.19302):

    L = mean |tau_hat - tau|^2 + 10 C + 0.2 mean (1 - |<q_hat, q>|)                        (1)

C is the distance of the assembled shapes: for every point, placed by the predicted poses, the
squared distance to the nearest of all points placed by the true ones, and the other way round;
means over the points of a part, summed over parts and divided by the most parts there may be, so
that solids of more parts weigh more.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from clipdiff_jax.core.types import DTypeName, Params, as_dtype
from clipdiff_jax.data.fragments import (
    FractureData,
    FragmentData,
    Fragmented,
    FragmentSource,
    fragment_transform,
    open_fragments,
)
from clipdiff_jax.data.transforms import first_examples
from clipdiff_jax.diffusion.losses import NoiseLoss
from clipdiff_jax.diffusion.prediction import q_sample
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.so3 import draw_noise, so3_q_sample
from clipdiff_jax.models.points import PointsConfig, as_pose, as_state
from clipdiff_jax.models.poses import PosesConfig, init_params
from clipdiff_jax.reassembly.fragments import FragmentScores, read_poses, score_fragments
from clipdiff_jax.reassembly.metrics import mean_scores
from clipdiff_jax.reassembly.model import Reassembly, load_reassembly, save_reassembly, walk
from clipdiff_jax.training.stage import Aux, Batch, Stage, StageConfig

_FAR = 1e3  # where the points of padding are put
_EDGE = 1e-6  # of the square root's argument
FRAGMENTS = PosesConfig(PointsConfig(), width=128, depth=4, heads=4, mlp_width=256, max_pieces=4)


@dataclass(frozen=True, kw_only=True)
class FragmentStage(StageConfig):
    """Describes the stage.

    Attributes:
      data: the solids.
      model: the network and its schedule.
      start: the model to train on from, as `load_reassembly` takes it; None is from scratch.
      chamfer_weight, rotation_weight: of the terms of eq. 1.
      chamfer_points: of each fragment, the first of its random ones, that C is taken over.
      dtype: what the network computes in; parameters stay float32.
      export_dtype: what the exported parameters are stored in.
    """

    data: FragmentData | FractureData = field(default_factory=FragmentData)
    model: PosesConfig = FRAGMENTS
    start: str | None = None
    chamfer_weight: float = 10.0
    rotation_weight: float = 0.2
    chamfer_points: int = 1000
    dtype: DTypeName = "float32"
    export_dtype: DTypeName = "bfloat16"

    def __post_init__(self) -> None:
        if not isinstance(self.model.encoder, PointsConfig):
            raise ValueError(
                "the stage of fragments got a model of square pieces (SquaresConfig), expected one "
                "of points (PointsConfig)"
            )

    def build(self, *, only_shapes: bool = False) -> Stage:
        return make_stage(self, open_fragments(self.data))

    def outline(self) -> Stage:
        return make_stage(replace(self, start=None), Fragmented(FragmentData(cuts=(1, 1))))


def make_stage(config: FragmentStage, source: FragmentSource) -> Stage:
    """The stage over a given source. Raises `ValueError` if `start` holds another network."""
    model, dtype = config.model, as_dtype(config.dtype)
    encoder = model.encoder
    assert isinstance(encoder, PointsConfig)
    start = None if config.start is None else load_reassembly(config.start)
    if start is not None and start.config != model:
        raise ValueError(f"'{config.start}' has the network {start.config}, not {model}")

    def noisy(pose: Array, t: Array, eps: Array, key: Key[Array, ""]) -> Array:
        if encoder.rotation == "6d":
            return q_sample(model.schedule, as_state(pose, encoder), t, eps)
        moved = q_sample(model.schedule, pose[..., :3], t, eps[..., :3])
        noise = draw_noise(model.schedule, t, key, pose.shape[1])
        turned = pose[..., 3:].reshape(*pose.shape[:2], 3, 3)
        turned = so3_q_sample(model.schedule, turned, t, noise)
        return jnp.concatenate([moved, turned.reshape(*pose.shape[:2], 9)], -1)

    def loss(
        params: Params, frozen: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, Aux]:
        del frozen
        reassembly = Reassembly(model, params, dtype)
        pose, mask, points = batch["pose"], batch["mask"], batch["pieces"]
        time_key, noise_key, turn_key = jax.random.split(key, 3)
        state = as_state(pose, encoder)
        t, eps = NoiseLoss(model.schedule, "x0").draw(state, time_key, noise_key)
        graph = reassembly.graph(points, mask)
        guess = as_pose(reassembly.apply(noisy(pose, t, eps, turn_key), t, graph))
        terms = pose_terms(guess, pose, points[:, :, : config.chamfer_points], mask)
        value = terms["translation"] + config.chamfer_weight * terms["chamfer"]
        return value + config.rotation_weight * terms["rotation"], Aux(terms)

    def export(path: Path, params: Params) -> None:
        save_reassembly(path, model, params, dtype=as_dtype(config.export_dtype))

    return Stage(
        init=partial(init_params, model),
        loss=loss,
        source=source,
        transform=fragment_transform(encoder.points, model.max_pieces),
        start=None if start is None else start.params,
        export=export,
    )


def pose_terms(
    guess: Float[Array, "b p 12"],
    pose: Float[Array, "b p 12"],
    points: Float[Array, "b p m 3"],
    mask: Bool[Array, "b p"],
) -> dict[str, Float[Array, ""]]:
    """The three means of eq. 1."""
    weights = mask / jnp.sum(mask, 1, keepdims=True) / len(mask)  # of parts, then of objects
    r, true_r = (one[..., 3:].reshape(*one.shape[:2], 3, 3) for one in (guess, pose))
    trace = jnp.sum(r * true_r, (-1, -2))
    # |<q, q0>| is the cosine of half the angle between both, and 1 + 2 cos(angle) is the trace.
    inner = jnp.sqrt(jnp.maximum((trace + 1) / 4, _EDGE))
    place = lambda one, turn: jnp.einsum("bpij,bpmj->bpmi", turn, points) + one[:, :, None, :3]
    found, true = place(guess, r), place(pose, true_r)
    return {
        "translation": jnp.sum(weights * jnp.sum((guess - pose)[..., :3] ** 2, -1)),
        "rotation": jnp.sum(weights * (1 - inner)),
        "chamfer": shape_chamfer(found, true, mask),
    }


def shape_chamfer(
    found: Float[Array, "b p m 3"], true: Float[Array, "b p m 3"], mask: Bool[Array, "b p"]
) -> Float[Array, ""]:
    """C of eq. 1."""
    batch, parts, points = found.shape[:3]
    far = jnp.where(mask, 0.0, _FAR)[:, :, None, None]
    x, y = ((one + far).reshape(batch, parts * points, 3) for one in (found, true))
    square = lambda z: jnp.sum(z * z, -1)
    inner = jnp.einsum("bid,bjd->bij", x, y)
    distances = jnp.maximum(square(x)[:, :, None] + square(y)[:, None] - 2 * inner, 0)
    both = distances.min(2) + distances.min(1)
    per_part = both.reshape(batch, parts, points).mean(-1)
    return jnp.sum(jnp.where(mask, per_part, 0)) / (parts * batch)


def measure_fragments(
    model: Reassembly, source: FragmentSource, count: int, sampling: Sampling
) -> dict[str, FragmentScores]:
    """Means over the first `count` objects of a source: of the walk, of the network's first guess,
    and of all fragments left as they are in the middle.

    Object i is turned by a generator of its own, so that two models see the same.
    """
    encoder = model.config.encoder
    assert isinstance(encoder, PointsConfig)
    transform = fragment_transform(encoder.points, model.config.max_pieces)
    batch = first_examples(source, transform, count)
    x, trace = walk(model, batch, sampling)
    answers = {"walk": np.asarray(x), "first guess": np.asarray(trace.x0[0])}
    scores: dict[str, list[FragmentScores]] = {"walk": [], "first guess": [], "unmoved": []}
    for i in range(count):
        there = batch["mask"][i]
        frames = batch["frame"][i][there]
        handed_in = batch["pieces"][i][there] @ frames.swapaxes(-1, -2)
        truth = read_poses(batch["pose"][i][there], frames)
        for name, states in answers.items():
            found = read_poses(states[i][there], frames)
            scores[name].append(score_fragments(handed_in, found, truth))
        still = np.tile(np.eye(3), (len(frames), 1, 1)), np.zeros((len(frames), 3))
        scores["unmoved"].append(score_fragments(handed_in, still, truth))
    return {name: mean_scores(of) for name, of in scores.items()}
