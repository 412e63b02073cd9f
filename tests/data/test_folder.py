import json

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from PIL import Image

from clipdiff_jax.data.folder import FolderData, open_folder
from clipdiff_jax.data.image_files import UnreadableImage, read_image
from clipdiff_jax.data.sources import open_source, require_captions

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


def test_the_fingerprint_is_of_the_contents(tmp_path):
    for folder, level in (("one", 10), ("same", 10), ("other", 11)):
        (tmp_path / folder).mkdir()
        picture = np.full((8, 8, 3), level, np.uint8)
        Image.fromarray(picture).save(
            tmp_path / folder / "a.bmp"
        )  # as many bytes whatever it shows
    one, same, other = (
        open_source(FolderData(str(tmp_path / folder))).fingerprint
        for folder in ("one", "same", "other")
    )
    assert one == same != other


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


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), RED).save(path)


def names_in(folder):
    source = open_folder(FolderData(str(folder)))
    return [source.describe(i)["name"] for i in range(len(source))], source.skipped


def test_what_systems_and_tools_leave_behind_is_no_picture(tmp_path):
    for name in ("a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png", ".thumbs/b.png"):
        picture(tmp_path / name)
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7Mac OS X")
    (tmp_path / "__MACOSX" / "._a.png").write_bytes(b"\0\5\x16\7Mac OS X")
    assert names_in(tmp_path) == (["a.png"], ())


def test_empty_files_folders_and_dead_links_are_left_out_and_named(tmp_path, caplog):
    picture(tmp_path / "a.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "self.png").symlink_to("self.png")
    names, skipped = names_in(tmp_path)
    assert names == ["a.png"]
    ends = [path.split("/")[-1] for path in skipped]
    assert ends == ["empty.png", "folder.png", "link.png", "self.png"]
    assert "left out 4 of 5" in caplog.text


def test_links_are_followed_once(tmp_path):
    picture(tmp_path / "data" / "a.png")
    picture(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "elsewhere")
    assert names_in(tmp_path / "data") == (["a.png", "again/b.png"], ())


@pytest.mark.parametrize(
    ("name", "content", "captions"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "red\u2028hair"}\n', ["red\u2028hair"]),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "red\x85hair"}\n', ["red\x85hair"]),
        ("metadata.jsonl", '\ufeff{"file_name": "a.png", "text": "red"}\r\n', ["red"]),
        ("metadata.jsonl", '{"file_name": "./a.png", "text": "red"}', ["red"]),
        ("metadata.csv", 'file_name,text,color\r\na.png,"red, and ""hair""",red\r\n',
         ['red, and "hair"']),
        ("metadata.csv", "\ufefffile_name,text\na.png,red\n", ["red"]),
        ("a.txt", "\ufeffred hair\r\nhair, red\r\n", ["red hair", "hair, red"]),
    ],
)  # fmt: skip
def test_captions_as_editors_and_tools_write_them(tmp_path, name, content, captions):
    picture(tmp_path / "a.png")
    (tmp_path / name).write_bytes(content.encode())
    assert open_folder(FolderData(str(tmp_path))).describe(0)["captions"] == captions


def test_all_wrong_entries_are_named_at_once(tmp_path):
    picture(tmp_path / "data" / "a.png")
    picture(tmp_path / "outside.png")
    table = tmp_path / "data" / "metadata.jsonl"
    rows = [
        "a.png",
        "a.png",
        "../outside.png",
        str(tmp_path / "outside.png"),
        "",
        "b.png",
        "a\0.png",
    ]
    lines = [json.dumps({"file_name": name, "text": "x"}) for name in rows]
    table.write_text("\n".join([*lines, "[" * 100_000]))
    with pytest.raises(ValueError, match="7 entries are wrong") as caught:
        open_folder(FolderData(str(tmp_path / "data")))
    for fault in ("line 2: 'a.png' is described twice", "line 3: '../outside.png' is outside",
                  "line 4: 'file_name' must be a relative path", "line 6: there is no file 'b.png'",
                  "line 8: not JSON"):  # fmt: skip
        assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "metadata.jsonl", "metadata.csv"])
def test_a_table_that_is_no_text_is_named(tmp_path, name):
    picture(tmp_path / "a.png")
    (tmp_path / name).write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{name}' is not text in UTF-8"):
        open_folder(FolderData(str(tmp_path)))


def test_missing_captions_are_named_where_captions_are_needed(tmp_path):
    for i in range(4):
        picture(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text("" if i == 1 else "a red face")
    (tmp_path / "2.txt").unlink()
    source = open_source(FolderData(str(tmp_path)))
    with pytest.raises(ValueError, match=r"2 of 4 .* to train CLIP on: 1\.png, 2\.png"):
        require_captions(source, "train CLIP on")
    (tmp_path / "1.txt").write_text("one")
    (tmp_path / "2.txt").write_text("two")
    require_captions(open_source(FolderData(str(tmp_path))), "train CLIP on")


def test_numbers_without_a_stated_range_are_refused(tmp_path):
    values = np.linspace(0, 2, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "float.tif")
    Image.fromarray((values * 1e6).astype(np.int32)).save(tmp_path / "int.tif")
    for name in ("float.tif", "int.tif"):
        with pytest.raises(UnreadableImage, match="does not state their range"):
            read_image(tmp_path / name)
    Image.fromarray(values).save(tmp_path / "stated.tif", tiffinfo={340: 0.0, 341: 2.0})
    expected = np.round(values / 2 * 255)
    np.testing.assert_array_equal(read_image(tmp_path / "stated.tif")[..., 0], expected)
    levels = np.array([[0, 257 * 100, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "16.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "16.tif")[0, :, 0], [0, 100, 255])


def test_a_photograph_of_a_phone_needs_its_plug_in(tmp_path):
    picture(tmp_path / "a.avif")
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - RED).max() < 8
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(UnreadableImage, match=r"b\.heic"):
        read_image(tmp_path / "b.heic")
