"""Fragments in 3D: answers turn with what is handed in; measures, by hand; the stage."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import drawn

from clipdiff_jax.data.fragments import (
    FragmentData,
    Fragmented,
    fragment_transform,
    own_frame,
    random_rotation,
)
from clipdiff_jax.data.transforms import first_examples
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pieces import SquaresConfig
from clipdiff_jax.models.points import PointsConfig, as_pose, as_state
from clipdiff_jax.models.poses import PosesConfig, init_params
from clipdiff_jax.reassembly.fragment_stage import (
    FragmentStage,
    make_stage,
    measure_fragments,
    pose_terms,
    shape_chamfer,
)
from clipdiff_jax.reassembly.fragments import (
    as_fragments,
    euler,
    geodesic,
    read_poses,
    score_fragments,
)
from clipdiff_jax.reassembly.model import Reassembly

RNG = np.random.default_rng
CONFIG = PosesConfig(
    PointsConfig(points=32, hidden=8, channels=8, features=8), width=16, depth=2, heads=2,
    mlp_width=16, max_pieces=4, schedule=DiscreteSchedule(num_steps=20),
)  # fmt: skip
SOLIDS = Fragmented(FragmentData(count=8))
FEW = Sampling(steps=3)


def model_of(config=CONFIG):
    return Reassembly(config, drawn(lambda key: init_params(config, key), 0))


def turn_about_z(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("rotation", ["6d", "so3"])
def test_where_a_fragment_goes_does_not_depend_on_how_it_is_handed_in(rotation):
    model = model_of(replace(CONFIG, encoder=replace(CONFIG.encoder, rotation=rotation)))
    clouds = [cloud[:60] for cloud in SOLIDS[0]["fragments"]]
    rng = RNG(0)
    moved = [cloud @ random_rotation(rng).T + rng.normal(size=3) for cloud in clouds]
    one, other = model.solve(clouds, sampling=FEW), model.solve(moved, sampling=FEW)
    for a, b in zip(one.placed, other.placed, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    identity = one.rotations @ one.rotations.swapaxes(-1, -2)
    np.testing.assert_allclose(identity, np.tile(np.eye(3), (len(clouds), 1, 1)), atol=1e-5)
    with pytest.raises(ValueError, match="which have no grid"):
        model.solve(clouds, grid=2)
    with pytest.raises(ValueError, match="this model is of solids"):
        model.solve(np.zeros((2, 4, 4, 3), np.uint8))


def test_fragments_are_seen_as_in_training_and_true_poses_put_them_back():
    """The points that are drawn have another mean than the cloud that they are of."""
    clouds = [np.float32(cloud) for cloud in SOLIDS[0]["fragments"]]
    fragments = as_fragments(clouds, CONFIG)
    known = fragments.batch["pieces"][0, : len(clouds)]
    np.testing.assert_allclose(known.mean(1), 0, atol=1e-6)
    for cloud in known:
        np.testing.assert_allclose(own_frame(cloud), np.eye(3), atol=1e-3)
    frames = fragments.frames.reshape(-1, 9)
    pose = np.concatenate([fragments.centres, frames], -1)  # they are handed in where they belong
    for found, cloud in zip(fragments.placed(pose).placed, clouds, strict=True):
        np.testing.assert_allclose(found, cloud, atol=1e-5)


def test_so3_is_walked_by_ddim_alone():
    model = model_of(replace(CONFIG, encoder=replace(CONFIG.encoder, rotation="so3")))
    with pytest.raises(ValueError, match="walked by 'ddim' without eta"):
        model.solve([np.eye(9)[:, :3]] * 2, sampler="heun")


def test_states_and_poses_are_the_same_poses():
    pose = first_examples(SOLIDS, fragment_transform(32, 4), 2)["pose"]
    for rotation in ("6d", "so3"):
        state = as_state(jnp.asarray(pose), replace(CONFIG.encoder, rotation=rotation))
        np.testing.assert_allclose(as_pose(state), pose, atol=1e-6)


def test_angles_of_rotations():
    turns = np.stack([turn_about_z(30), turn_about_z(-170), np.eye(3)])
    np.testing.assert_allclose(euler(turns), [[30, 0, 0], [-170, 0, 0], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(geodesic(turns, np.stack([np.eye(3)] * 3)), [30, 170, 0], atol=1e-6)


def test_scores_of_one_part_turned_and_one_moved():
    clouds = RNG(0).normal(size=(2, 100, 3)) * 0.2
    eye, still = np.stack([np.eye(3)] * 2), np.zeros((2, 3))
    right = score_fragments(clouds, (eye, still), (eye, still))
    assert (right.rmse_rotation, right.geodesic, right.rmse_translation) == (0, 0, 0)
    assert right.part_accuracy == 1
    turned = np.stack([turn_about_z(350), np.eye(3)])
    moved = np.array([[0, 0, 0], [3.0, 0, 0]])
    found = score_fragments(clouds, (turned, moved), (eye, still))
    assert found.rmse_rotation == pytest.approx(10 / np.sqrt(3) / 2)
    assert found.geodesic == pytest.approx(5)
    assert found.rmse_translation == pytest.approx(np.sqrt(3.0) / 2)
    assert found.part_accuracy == 0.5


def test_the_terms_of_the_loss():
    points = jnp.asarray(RNG(0).normal(size=(1, 2, 20, 3)), jnp.float32)
    mask = jnp.array([[True, False]])
    true = jnp.concatenate([jnp.zeros(3), jnp.eye(3).ravel()]) * jnp.ones((1, 2, 1))
    terms = pose_terms(true, true, points, mask)
    assert all(abs(float(term)) < 1e-4 for term in terms.values())
    turned = jnp.concatenate([jnp.array([1.0, 2, 0]), jnp.asarray(turn_about_z(90)).ravel()])
    guess = true.at[0, 0].set(turned).at[0, 1].set(9)
    terms = pose_terms(guess, true, points, mask)
    assert float(terms["translation"]) == pytest.approx(5)
    assert float(terms["rotation"]) == pytest.approx(1 - np.cos(np.pi / 4), abs=1e-5)
    # The chamfer by hand, and divided by the parts there may be, not by those there are.
    x = np.asarray(points[0, 0]) @ turn_about_z(90).T + [1, 2, 0]
    distances = ((x[:, None] - np.asarray(points[0, 0])) ** 2).sum(-1)
    expected = (distances.min(0).mean() + distances.min(1).mean()) / 2
    assert float(terms["chamfer"]) == pytest.approx(expected, rel=1e-4)
    assert float(shape_chamfer(points, points, mask)) == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rotation", ["6d", "so3"])
def test_the_stage_learns_and_measures(rotation, tmp_path):
    config = replace(CONFIG, encoder=replace(CONFIG.encoder, rotation=rotation))
    stage = make_stage(FragmentStage(model=config), SOLIDS)
    batch = jax.tree.map(jnp.asarray, first_examples(SOLIDS, stage.transform, 4))
    params = jax.jit(stage.init)(jax.random.key(0))
    loss = lambda params, batch: stage.loss(params, None, batch, jax.random.key(1))[0]
    value, gradient = jax.jit(jax.value_and_grad(loss))(params, batch)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    stage.export(tmp_path / "model", params)
    scores = measure_fragments(model_of(config), SOLIDS, 4, FEW)
    assert scores["unmoved"].part_accuracy == 0
    assert scores["walk"].geodesic > 20
    assert set(scores) == {"walk", "first guess", "unmoved"}


def test_frames_are_taken_back():
    frames = np.stack([random_rotation(RNG(i)) for i in range(3)])
    pose = np.concatenate([np.ones((3, 3)), np.tile(np.eye(3).ravel(), (3, 1))], -1)
    rotations, translations = read_poses(pose, frames)
    np.testing.assert_allclose(rotations, frames.swapaxes(1, 2), atol=1e-6)
    np.testing.assert_array_equal(translations, 1)


def test_a_stage_of_squares_is_refused():
    with pytest.raises(ValueError, match="got a model of square pieces"):
        FragmentStage(model=PosesConfig(SquaresConfig()))
