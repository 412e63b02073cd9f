"""Nothing of the user's is lost in a folder of results."""

import json

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.pictures.pages import Group, save_columns, save_square
from clipdiff_jax.pictures.records import RecordError, read_records
from clipdiff_jax.pictures.results import Results

IMAGE = np.zeros((4, 4, 3), np.float32)


def record(file, **more):
    return {"command": "edit", "file": file, "seed": 0, **more}


A, B = record("a.png"), record("b.png")


def written(folder, *records):
    results = Results(folder)
    for one in results.remaining(records):
        results.save(one, IMAGE)
    return folder


def test_pictures_and_lines_are_written_as_they_are_made(tmp_path):
    written(tmp_path / "new", A, B)
    assert read_records(tmp_path / "new") == [A, B]
    assert read_records(tmp_path / "new" / "b.png") == [B]


def test_an_earlier_run_is_not_replaced(tmp_path):
    written(tmp_path, A)
    with pytest.raises(FileExistsError, match=r"'a\.png' in .* would be replaced"):
        Results(tmp_path).remaining([A, B])
    written(tmp_path, B)  # other pictures join it
    assert read_records(tmp_path) == [A, B]


def test_grids_of_an_earlier_run_stay(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "grid.png")  # somebody's
    before = (tmp_path / "grid.png").read_bytes()
    save_square(Results(tmp_path), [lambda: IMAGE])
    save_columns(Results(tmp_path, "skip"), [Group("a", [lambda: IMAGE])], ["row"])
    assert (tmp_path / "grid.png").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grid-2.png", "grid-3.png", "grid.png"]


def test_a_grid_is_replaced_with_its_pictures(tmp_path):
    again = Results(tmp_path, "overwrite")
    Image.new("RGB", (4, 4)).save(tmp_path / "grid.png")  # somebody's
    for image in (IMAGE, IMAGE + 1):
        save_square(again, [lambda image=image: image])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grid-2.png", "grid-3.png", "grid.png"]
    (tmp_path / "grid.png").unlink()
    for image in (IMAGE, IMAGE + 1):
        save_square(again, [lambda image=image: image])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grid-2.png", "grid-3.png", "grid.png"]
    assert np.asarray(Image.open(tmp_path / "grid.png")).max() == 255


def test_a_stopped_run_goes_on(tmp_path):
    written(tmp_path, A)
    results = Results(tmp_path, "skip")
    assert results.remaining([A, B]) == [B]
    assert results.remaining([record("a.png", seed=1), B]) == [record("a.png", seed=1), B]
    results.save(B, IMAGE)
    results.finish([A, B])
    assert read_records(tmp_path) == [A, B]


def test_only_what_was_made_here_is_overwritten(tmp_path):
    written(tmp_path, A)
    results = Results(tmp_path, "overwrite")
    again = record("a.png", seed=1)
    assert results.remaining([again]) == [again]
    results.save(again, IMAGE)
    results.finish([again])
    assert read_records(tmp_path) == [again]
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")  # somebody's photograph
    for existing in ("overwrite", "skip"):
        with pytest.raises(FileExistsError, match=r"'b\.png' in .* were not made by clipdiff"):
            Results(tmp_path, existing).remaining([A, B])


@pytest.mark.parametrize("existing", ["refuse", "overwrite", "skip"])
def test_a_source_is_never_written_over(tmp_path, existing):
    written(tmp_path, A)
    from_itself = record("a.png", source="a.png")
    with pytest.raises(FileExistsError, match="nothing was written"):
        Results(tmp_path, existing).remaining([from_itself], [tmp_path / "a.png"])
    assert read_records(tmp_path / "a.png") == [A]


@pytest.mark.parametrize("name", ["../a.png", "/tmp/a.png", "sub/a.png", "", ".", "a\0.png", 3])
def test_a_record_names_a_file_in_the_folder(tmp_path, name):
    with pytest.raises(RecordError, match="expected a plain name"):
        Results(tmp_path).remaining([record(name)])


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text(json.dumps(A))
    with pytest.raises(NotADirectoryError, match="is a file"):
        Results(tmp_path / "file").remaining([A])
