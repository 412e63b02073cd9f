"""Which pictures of folders are compared, and what is said where that cannot be."""

import json

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.data.image_files import UnreadableImage
from clipdiff_jax.metrics.folders import list_pairs, list_pictures, read_pairs, read_squares
from clipdiff_jax.pictures.grid import show


def write(folder, *names, shape=(12, 16), level=None):
    """Grey pictures, each of another level unless one is given."""
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        grey = 20 * (index + 1) if level is None else level
        Image.fromarray(np.full((*shape, 3), grey, np.uint8)).save(folder / name)
    return folder


def test_captions_come_with_the_pictures(tmp_path):
    write(tmp_path, "a.png", "sub/b.bmp", "c.png")
    (tmp_path / "a.txt").write_text("a face\nanother\n")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "sub/b.bmp", "text": "a hat"}\n')
    found = [(picture.name, picture.captions) for picture in list_pictures(tmp_path)]
    assert found == [("a", ("a face", "another")), ("c", ()), ("sub/b", ("a hat",))]


def test_of_a_sampled_folder_only_what_was_made_counts(tmp_path):
    write(tmp_path, "0-1.png", "0-2.png", "grid.png")
    records = [{"command": "generate", "file": "0-1.png", "prompt": "red hair"}]
    records.append({"command": "edit", "file": "0-2.png"})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    found = [(picture.name, picture.captions) for picture in list_pictures(tmp_path)]
    assert found == [("0-1", ("red hair",)), ("0-2", ())]


def test_partners_have_one_name_whatever_the_ending(tmp_path):
    ours = write(tmp_path / "ours", "b.png", "sub/a.png")
    theirs = write(tmp_path / "theirs", "sub/a.bmp", "b.png")
    names = [(ours.name, theirs.path.name) for ours, theirs in list_pairs(ours, theirs)]
    assert names == [("b", "b.png"), ("sub/a", "a.bmp")]


def test_a_missing_partner_is_named_in_either_direction(tmp_path):
    ours = write(tmp_path / "ours", "face1.png", "face2.png", "face3.png")
    theirs = write(tmp_path / "theirs", "face1.png")
    with pytest.raises(ValueError, match=r"ours/face2.png' has no partner 'face2' in .*theirs'"):
        list_pairs(ours, theirs)
    with pytest.raises(ValueError, match=r"ours/face2.png' has no partner .* \(2 such pictures\)"):
        list_pairs(theirs, ours)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_pairs(ours, tmp_path / "nowhere")


def test_names_matter_where_pairs_are_asked_for(tmp_path):
    write(tmp_path, "a.png", "a.bmp")
    assert [picture.path.name for picture in list_pictures(tmp_path)] == ["a.bmp", "a.png"]
    with pytest.raises(ValueError, match=r"a.bmp' and '.*a.png' have one name"):
        list_pairs(tmp_path, tmp_path)


def test_of_several_runs_only_what_was_made_counts(tmp_path):
    for run in ("seed0", "seed1"):
        folder = write(tmp_path / run, "0.png", "grid.png", "sub/mine.png")
        record = {"command": "generate", "file": "0.png", "prompt": run}
        (folder / "manifest.jsonl").write_text(json.dumps(record) + "\n")
    found = [(picture.name, picture.captions) for picture in list_pictures(tmp_path)]
    assert found == [("seed0/0", ("seed0",)), ("seed1/0", ("seed1",))]


def test_grids_of_ours_are_no_pictures(tmp_path):
    write(tmp_path, "a.png", "grid.png")  # the second is somebody's, whatever its name
    image = np.zeros((1, 4, 4, 3), np.float32)
    show(image).save(tmp_path / "ours.png")
    (tmp_path / "bytes.png").write_bytes(show(image).png())
    assert [picture.name for picture in list_pictures(tmp_path)] == ["a", "grid"]


def test_what_cannot_be_read_goes_with_its_partner(tmp_path, caplog):
    ours = write(tmp_path / "ours", "a.png", "b.png", "c.png")
    theirs = write(tmp_path / "theirs", "a.png", "b.png", "c.png")
    (ours / "a.png").write_bytes(b"no picture")
    (theirs / "b.png").write_bytes(b"")
    pairs = list_pairs(ours, theirs, "skip")
    assert [picture.name for picture, _ in pairs] == ["c"]
    assert [picture.name for picture in list_pictures(ours, "skip")] == ["b", "c"]
    assert "left out 1 of 3 images" in caplog.text
    with pytest.raises(UnreadableImage, match=r"a\.png"):
        [picture.read() for picture in list_pictures(ours)]
    (theirs / "c.png").unlink()
    with pytest.raises(ValueError, match="has no partner 'c'"):
        list_pairs(ours, theirs, "skip")


def test_batches_have_one_shape_and_are_filled_up(tmp_path):
    ours = write(tmp_path / "ours", "a.png", "b.png", "c.png", level=0)
    theirs = write(tmp_path / "theirs", "a.png", "b.png", "c.png", level=255)
    for folder in (ours, theirs):
        write(folder, "d.png", shape=(20, 20), level=51)
    batches = list(read_pairs(list_pairs(ours, theirs), 2))
    assert [count for count, _, _ in batches] == [2, 1, 1]
    assert [images.shape for _, images, _ in batches] == [(2, 12, 16, 3)] * 2 + [(2, 20, 20, 3)]
    _, images, truths = batches[1]
    assert np.all(images == -1)
    assert np.all(truths == 1)
    squares = list(read_pairs(list_pairs(ours, theirs), 4, size=8))
    assert [(count, images.shape) for count, images, _ in squares] == [(4, (4, 8, 8, 3))]


def test_different_sizes_are_named(tmp_path):
    ours = write(tmp_path / "ours", "a.png")
    theirs = write(tmp_path / "theirs", "a.png", shape=(24, 24))
    with pytest.raises(ValueError, match=r"ours/a.png' has 12x16 pixels and .*a.png' 24x24"):
        list(read_pairs(list_pairs(ours, theirs), 4))


def test_squares_are_those_of_clip(tmp_path):
    pictures = list_pictures(write(tmp_path, "a.png", "b.png", "c.png"))
    batches = list(read_squares(pictures, 2, 6))
    assert [(count, images.shape) for count, images in batches] == [
        (2, (2, 6, 6, 3)), (1, (2, 6, 6, 3)),
    ]  # fmt: skip
    np.testing.assert_allclose(batches[1][1], 60 / 127.5 - 1, atol=1e-6)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        list(read_squares(pictures, 0, 6))
