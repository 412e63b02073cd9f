"""Fragments: their poses put them back, what is broken matches, and frames turn with them."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from clipdiff_jax.data.fragments import (
    FractureData,
    FragmentData,
    Fragmented,
    as_clouds,
    fragment_transform,
    open_fragments,
    own_frame,
    random_rotation,
    read_obj,
    sample_triangles,
)

SOLIDS = Fragmented(FragmentData())
RNG = np.random.default_rng


def test_solids_are_a_function_of_their_seed_and_of_unit_diagonal():
    for index in range(5):
        one, again = SOLIDS[index]["fragments"], SOLIDS[index]["fragments"]
        for a, b in zip(one, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert 2 <= len(one) <= 4
        points = np.concatenate(one)
        assert np.linalg.norm(np.ptp(points, axis=0)) == pytest.approx(1, abs=0.03)
        assert min(map(len, one)) >= 0.05 * len(points) / 2
    other = Fragmented(FragmentData(seed=1))
    assert other.fingerprint != SOLIDS.fingerprint
    assert len(other[0]["fragments"][0]) != len(SOLIDS[0]["fragments"][0])


def test_both_sides_of_a_break_have_its_points():
    """Of a solid in two parts: shared points, which lie on a plane up to the bumps."""
    first, second = Fragmented(FragmentData(cuts=(1, 1)))[3]["fragments"]
    near = cKDTree(second).query(first)[0] < 1e-12
    shared = first[near]
    assert len(shared) > 30
    centred = shared - shared.mean(0)
    assert np.linalg.svd(centred)[1][-1] / np.sqrt(len(shared)) < 0.02


def test_a_pose_puts_the_fragment_back():
    example = SOLIDS[0]
    puzzle = fragment_transform(64, 4)(example, RNG(0))
    whole = cKDTree(np.concatenate(example["fragments"]))
    for cloud, pose, frame in zip(
        puzzle["pieces"][puzzle["mask"]], puzzle["pose"], puzzle["frame"], strict=False
    ):
        rotation = pose[3:].reshape(3, 3)
        assert whole.query(cloud @ rotation.T + pose[:3])[0].max() < 1e-6
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(own_frame(cloud), np.eye(3), atol=1e-3)
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-6)
    assert not puzzle["pieces"][~puzzle["mask"]].any()


def test_the_own_frame_turns_with_the_points():
    cloud = RNG(0).normal(size=(200, 3)) ** 3 * [3, 2, 1]
    cloud -= cloud.mean(0)
    turned = random_rotation(RNG(1))
    np.testing.assert_allclose(own_frame(cloud @ turned.T), turned @ own_frame(cloud), atol=1e-9)


def test_random_rotations_are_uniform():
    drawn = np.stack([random_rotation(rng) for rng in [RNG(0)] for _ in range(4000)])
    np.testing.assert_allclose((drawn @ drawn.swapaxes(1, 2)).mean(0), np.eye(3), atol=1e-9)
    assert np.abs(drawn.mean(0)).max() < 0.05
    traces = np.trace(drawn, axis1=1, axis2=2)
    assert traces.mean() == pytest.approx(0, abs=0.05)
    assert (traces**2).mean() == pytest.approx(1, abs=0.06)


CUBE = """v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
f 1 2 3 4
f -4/1 -3/2 -2/3
"""


def test_a_folder_of_breaks_is_read(tmp_path):
    folder = tmp_path / "bottle" / "fractured_0"
    folder.mkdir(parents=True)
    for index in range(2):
        text = CUBE.replace("v 0 0 0", f"v 0 0 {index}")
        (folder / f"piece_{index}.obj").write_text(text)
    source = open_fragments(FractureData(str(tmp_path)))
    assert len(source) == 1
    fragments = source[0]["fragments"]
    assert [one.shape for one in fragments] == [(1000, 3)] * 2
    assert np.linalg.norm(np.ptp(np.concatenate(fragments), axis=0)) == pytest.approx(1, abs=0.05)
    vertices, faces = read_obj(folder / "piece_0.obj")
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    drawn = sample_triangles(vertices[faces[:2]], 2000, RNG(0))
    np.testing.assert_allclose(drawn.mean(0), [0.5, 0.5, 0], atol=0.03)
    assert (drawn[:, 2] == 0).all()
    with pytest.raises(ValueError, match="no breaks of 2 to 1 parts"):
        open_fragments(FractureData(str(tmp_path), most_parts=1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v 0 0\nf 1 1 1\n", "no surface"),
        ("v 0 0 a\n", "line 1"),
        ("v 0 0 0\nf 1 2 3\n", "has not"),
    ],
)
def test_broken_meshes_are_refused(tmp_path, text, said):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_obj(tmp_path / "a.obj")


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([np.ones((20, 3))], "1 fragment"),
        ([RNG(0).normal(size=(20, 3)), np.ones((20, 2))], "fragment 1 is \\[20, 2\\]"),
        ([RNG(0).normal(size=(20, 3)), np.ones((4, 3))], "has 4 points"),
        ([RNG(0).normal(size=(20, 3)), np.full((20, 3), np.nan)], "not finite"),
        ([RNG(0).normal(size=(20, 3)), np.ones((20, 3))], "all the same"),
    ],
)
def test_what_are_no_fragments_is_refused(pieces, said):
    with pytest.raises(ValueError, match=said):
        as_clouds(pieces)


def test_more_fragments_than_the_model_takes_are_refused():
    with pytest.raises(ValueError, match="more than the 1 of the model"):
        fragment_transform(8, 1)(SOLIDS[0], RNG(0))
