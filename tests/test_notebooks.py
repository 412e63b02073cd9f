"""The notebooks run from top to bottom on the demo weights, with smaller numbers."""

import re

import nbformat
import pytest
from helpers.paths import ROOT
from nbclient import NotebookClient

NOTEBOOKS = ROOT / "notebooks"
SMALLER = {
    r"TRAIN_FACES = \d+": "TRAIN_FACES = 4",
    r"PASSES = \d+": "PASSES = 1",
    r"steps=25": "steps=5",
    r'8, "test"': '2, "test"',
    r"\(0.5, 1.0, 1.5\)": "(1.0,)",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edit_a_face.ipynb"])
def test_notebook_runs_and_shows_pictures(name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    whole = "\n".join(cell.source for cell in notebook.cells)
    assert all(re.search(pattern, whole) for pattern in SMALLER)
    for cell in notebook.cells:
        for pattern, smaller in SMALLER.items():
            cell.source = re.sub(pattern, smaller, cell.source)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == 3
