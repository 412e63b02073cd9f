import json

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from PIL import Image

from clipdiff_jax.data.folder import FolderData, UnreadableImage, open_folder, read_image
from clipdiff_jax.data.sources import open_source

RED = (200, 30, 40)


def test_rotation_from_exif(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = RED
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = read_image(tmp_path / "a.png")
    assert image.shape == (6, 4, 3)
    assert tuple(image[0, 3]) == RED


def test_palette_grey_and_cmyk(tmp_path):
    flat = Image.new("RGB", (5, 4), RED)
    flat.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    Image.new("L", (5, 4), 77).save(tmp_path / "l.png")
    flat.convert("CMYK").save(tmp_path / "c.jpg", quality=100)
    assert (read_image(tmp_path / "p.png") == RED).all()
    assert (read_image(tmp_path / "l.png") == 77).all()
    assert np.abs(read_image(tmp_path / "c.jpg").astype(int) - RED).max() < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composited_on_the_background(tmp_path, mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((90, 90, 90, 255), (0, 0, 2, 4))
    if mode == "P":
        image.convert("P").save(
            tmp_path / "a.png", transparency=image.convert("P").getpixel((3, 0))
        )
    else:
        image.convert(mode).save(tmp_path / "a.png")
    white, blue = read_image(tmp_path / "a.png"), read_image(tmp_path / "a.png", (0, 0, 255))
    assert tuple(white[0, 3]) == (255, 255, 255)
    assert tuple(blue[0, 3]) == (0, 0, 255)
    assert np.abs(white[0, 0].astype(int) - 90).max() < 20
    np.testing.assert_array_equal(white[:, :2], blue[:, :2])


def test_half_transparent_pixels_mix_with_white(tmp_path):
    Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 127).all()


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    levels = np.array([[0, 257 * 100, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], [0, 100, 255])


def test_captions_from_text_files_and_metadata(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "b.png", "sub/c.JPG"):
        Image.new("RGB", (4, 4), RED).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("a red square\n\nsquare, red\n")
    rows = [
        {"file_name": "b.png", "text": "red", "color": "red", "width": 4},
        {"file_name": "sub/c.JPG", "captions": ["one", "two"]},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    source = open_source(FolderData(str(tmp_path)))
    assert len(source) == 3
    assert source[0]["captions"] == ["a red square", "square, red"]
    assert source[1]["captions"] == ["red"]
    assert source[1]["attributes"] == {"color": "red"}
    assert source[2]["captions"] == ["one", "two"]
    assert source[2]["name"] == "sub/c.JPG"
    assert (source[1]["image"] == RED).all()

    before = source.fingerprint
    assert open_source(FolderData(str(tmp_path))).fingerprint == before
    (tmp_path / "a.txt").write_text("another caption")
    assert open_source(FolderData(str(tmp_path))).fingerprint != before


def broken_folder(tmp_path):
    Image.new("RGB", (64, 64), RED).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("no image")
    return str(tmp_path)


def test_an_unreadable_image_is_named(tmp_path):
    source = open_folder(FolderData(broken_folder(tmp_path)))
    assert len(source) == 3
    with pytest.raises(UnreadableImage, match=r"cut\.png"):
        source[0]
    with pytest.raises(UnreadableImage, match=r"text\.jpg"):
        source[2]


def test_unreadable_images_can_be_skipped_and_are_counted(tmp_path, caplog):
    source = open_folder(FolderData(broken_folder(tmp_path), on_error="skip"))
    assert len(source) == 1
    assert [name.split("/")[-1] for name in source.skipped] == ["cut.png", "text.jpg"]
    assert "left out 2 of 3" in caplog.text
    assert source[0]["name"] == "good.png"


def test_wrong_folders_and_metadata_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        open_folder(FolderData(str(tmp_path / "missing")))
    with pytest.raises(FileNotFoundError, match="no images"):
        open_folder(FolderData(str(tmp_path)))
    with pytest.raises((ValueError, TypeCheckError), match="'ignore'"):
        FolderData(str(tmp_path), on_error="ignore")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for line, message in [
        ('{"file_name": "b.png"}', r"metadata.jsonl, line 1: there is no file 'b.png'"),
        ('{"text": "b"}', "file_name"),
        ("{", "not JSON"),
        ('{"file_name": "a.png", "text": 3}', "'text' must be"),
    ]:
        (tmp_path / "metadata.jsonl").write_text(line)
        with pytest.raises(ValueError, match=message):
            open_folder(FolderData(str(tmp_path)))
