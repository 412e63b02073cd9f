"""The plot of a measurement shows the numbers of its table."""

import numpy as np
from PIL import Image

from clipdiff_jax.cli.evaluate.results import numbers_of, table, write_results
from clipdiff_jax.pictures.grid import show


def test_the_numbers_of_a_table():
    header = ["edit", "faces", "success (unedited)", "PSNR ↑", "who"]
    rows = [
        ["smile", "200", "34.5% ± 1.2% (1.0%)", "20.1 (19.0)", "we"],
        ["red hair", "200", "3% (1.0%)", "inf ± nan", "they"],
    ]
    labels, columns = numbers_of(table(header, rows))
    assert labels == ["smile, faces 200, we", "red hair, faces 200, they"]
    assert list(columns) == ["success (unedited), %", "PSNR ↑"]
    assert columns["success (unedited), %"] == [(34.5, 1.2), (3.0, None)]
    assert columns["PSNR ↑"][0] == (20.1, None)
    assert columns["PSNR ↑"][1][0] == np.inf


def test_the_plot_is_beside_the_table(tmp_path):
    grid = show(np.zeros((1, 8, 8, 3), np.uint8))
    write_results(tmp_path / "a", {}, table(["what", "share"], [["a", "0.5 ± 0.1"]]), grid)
    assert Image.open(tmp_path / "a" / "plot.png").width == 480
    write_results(tmp_path / "b", {}, table(["what", "said"], [["a", "yes"]]), grid)
    assert not (tmp_path / "b" / "plot.png").exists()
