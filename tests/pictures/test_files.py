"""Pictures read from and written to files: nothing is lost, and nothing overwritten."""

import numpy as np
import pytest
from PIL import Image

import clipdiff_jax as cd
from clipdiff_jax.data.image_files import UnreadableImage
from clipdiff_jax.data.transforms import square, to_float

BYTES = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    for number, image in enumerate(BYTES):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    return tmp_path


def test_a_folder_a_file_and_lists_of_them(photos):
    images = cd.load_images(photos)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, to_float(BYTES))
    np.testing.assert_array_equal(cd.load_images(str(photos / "1.png")), images[1:2])
    some = cd.load_images([photos / "2.png", str(photos / "0.png")])
    np.testing.assert_array_equal(some, images[[2, 0]])


def test_different_sizes_are_a_list_unless_a_size_is_asked_for(photos):
    Image.fromarray(BYTES[0, :4]).save(photos / "3.png")
    images = cd.load_images(photos)
    assert [one.shape for one in images] == [(6, 8, 3)] * 3 + [(4, 8, 3)]
    squares = cd.load_images(photos, size=5)
    assert squares.shape == (4, 5, 5, 3)
    np.testing.assert_array_equal(squares[3], to_float(square(BYTES[0, :4], 5)))


def test_what_is_not_there_or_no_picture_is_named(photos):
    with pytest.raises(FileNotFoundError, match=r"'.*1.pgn'. Did you mean '1.png'"):
        cd.load_images(photos / "1.pgn")
    (photos / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no pictures in"):
        cd.load_images(photos / "empty")
    (photos / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(UnreadableImage, match=r"broken.png"):
        cd.load_images(photos)
    with pytest.raises(ValueError, match="no paths"):
        cd.load_images([])
    with pytest.raises(ValueError, match="size=0"):
        cd.load_images(photos / "1.png", size=0)


def test_saved_pictures_are_read_again(tmp_path):
    paths = cd.save_images(to_float(BYTES), tmp_path / "out")
    assert [path.name for path in paths] == ["00000.png", "00001.png", "00002.png"]
    np.testing.assert_array_equal(cd.load_images(tmp_path / "out"), to_float(BYTES))
    ragged = [BYTES[0], to_float(BYTES[1, :4])]
    first, second = cd.save_images(ragged, tmp_path / "out", ["a", "b.jpg"])
    assert (first.name, second.name) == ("a.png", "b.jpg")
    with Image.open(second) as picture:
        assert (picture.format, picture.size) == ("JPEG", (8, 4))


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "00001.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"00001.png' exists"):
        cd.save_images(to_float(BYTES), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["00001.png"]
    assert (tmp_path / "00001.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a"], "3 images need as many names, got 1"),
        (["a", "b", "a.png"], "two images have the name 'a.png'"),
        (["a", "b", "../c"], "'../c' is not the name of a file in the folder"),
        (["a", "b", "c.gif"], "'c.gif' has none of the endings .png"),
    ],
)
def test_names_that_cannot_be_used(tmp_path, names, says):
    with pytest.raises(ValueError, match=says):
        cd.save_images(to_float(BYTES), tmp_path, names)
    assert not list(tmp_path.iterdir())
