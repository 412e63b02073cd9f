import numpy as np
from PIL import Image

from clipdiff_jax.cli.main import main


def test_sheets_of_a_folder(tmp_path, capsys):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for index in range(5):
        Image.fromarray(np.full((8, 6, 3), 40 * index, np.uint8)).save(folder / f"{index}.png")
    words = ["sheet", str(folder), "--out", str(out)]
    assert main([*words, "--side", "2"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["sheet-1.png", "sheet-2.png"]
    assert main(words) == 0  # what is there stays
    assert (out / "sheet.png").is_file()
    assert main(["sheet", str(out), "--out", str(out)]) == 2
    assert "no pictures to show, but for grids" in capsys.readouterr().err
    assert main([*words, "--side", "0"]) == 2
