"""dlib's own work is not tested; docs/editing.md says how far off its points are."""

import numpy as np
import pytest

from clipdiff_jax.data.faces import EXTRA, FaceFinder, FoundFace, chosen, doubts, is_installed

pytest.importorskip("dlib")


def face(nose=0.5, scale=1.0):
    """Points of which only eyes, nose and mouth are laid."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (30, 40), (70, 40)
    points[36], points[45] = (20, 40), (80, 40)
    points[30] = (20 + 60 * nose, 60)
    points[48], points[54] = (35, 80), (65, 80)
    return FoundFace(points * scale, 1.0)


@pytest.fixture(scope="module")
def astronaut():
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def finder():
    if not is_installed():
        pytest.skip(EXTRA)
    return FaceFinder.load()


def test_the_face_of_a_photograph_is_found(finder, astronaut):
    (found,) = finder.find(astronaut)
    np.testing.assert_allclose(found.eyes, [[203, 101], [246, 103]], atol=4)
    assert found.square.side == pytest.approx(174, rel=0.05)
    assert not found.is_turned


def test_large_photographs_are_looked_at_smaller(finder, astronaut):
    large = astronaut.repeat(4, 0).repeat(4, 1)
    (found,) = finder.find(large)
    np.testing.assert_allclose(found.eyes / 4, [[203, 101], [246, 103]], atol=4)


def test_where_there_is_no_face_none_is_found(finder):
    assert finder.find(np.full((64, 80, 3), 128, np.uint8)) == []
    assert finder.find(np.zeros((1, 1, 3), np.uint8)) == []


def test_the_largest_or_all():
    faces = [face(scale=2), face()]
    assert chosen(faces, "largest") == faces[:1]
    assert chosen(faces, "all") == faces
    assert chosen(faces, "none") == []
    with pytest.raises(ValueError, match="Did you mean 'largest'"):
        chosen(faces, "larges")


def test_small_faces_and_profiles_are_doubtful():
    assert doubts(face(), 64) == []
    assert "resized up to 256" in doubts(face(), 256)[0]
    assert "from the side" in doubts(face(nose=0.9), 64)[0]
    assert "from the side" in doubts(face(nose=-0.1), 64)[0]
