"""The notebooks run from top to bottom with smaller numbers; what is committed of them is small.

Stable Diffusion is a tiny folder of the same layout with random weights; commands run in the
notebook's own process, where a failure is an error.
"""

import json
import re
import shlex

import jax
import nbformat
import pytest
from helpers import tiny_stable_diffusion
from helpers.paths import ROOT
from nbclient import NotebookClient

from clipdiff_jax.models.lora import init_lora
from clipdiff_jax.weights.layouts import latent_diffusers
from clipdiff_jax.weights.layouts.latent_parts import save_lora

NOTEBOOKS = ROOT / "notebooks"
# What is replaced by what in each, and how many pictures it shows.
SMALLER = {
    "edit_a_face.ipynb": {
        r"TRAIN_FACES = \d+": "TRAIN_FACES = 4",
        r"PASSES = \d+": "PASSES = 1",
        r"steps=25": "steps=5",
        r'8, "test"': '2, "test"',
        r"\(0.5, 1.0, 1.5\)": "(1.0,)",
    },
    "text_to_image.ipynb": {r"STEPS = 15": "STEPS = 2", r"\(1.0, 2.0, 4.0\)": "(2.0,)"},
    "stable_diffusion.ipynb": {
        r'SOURCE = "[^"]*"': 'SOURCE = "tiny-stable-diffusion"',
        r"LORA = None": 'LORA = "tiny-lora"',
        r"STEPS = 30": "STEPS = 3",
        r"AT = \(0.5, 1.0\)": "AT = (1.0,)",
        # The tiny model's texts are of twelve tokens, of a letter each.
        r'PROMPT = "[^"]*"': 'PROMPT = "a cat"',
        r'TARGET = "[^"]*"': 'TARGET = "a dog"',
        r'PAINTING = "[^"]*"': 'PAINTING = "oil"',
        r'INTO = "[^"]*"': 'INTO = "sea"',
        r'NEGATIVE = "[^"]*"': 'NEGATIVE = "blur"',
    },
    "train_on_your_folder.ipynb": {
        r"--count 300": "--count 8",
        r"steps=60": "steps=2",
        r"steps=100": "steps=3",
        r"batch_size=32": "batch_size=4",
        r"STEPS = 25": "STEPS = 2",
    },
}
SHOWN = {
    "edit_a_face.ipynb": 3,
    "text_to_image.ipynb": 8,
    "stable_diffusion.ipynb": 5,
    "train_on_your_folder.ipynb": 3,
}
SHELL = "%%bash\n"
SMALL = 700_000  # bytes of a notebook with its pictures
RUN = "from clipdiff_jax.cli.main import main\nassert main({}) == 0"


def read(name):
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def in_process(source: str) -> str:
    """A cell of the shell, which is one command, as a call; any other cell as it is."""
    if not source.startswith(SHELL):
        return source
    program, *words = shlex.split(source.removeprefix(SHELL).replace("\\\n", " "))
    assert program == "clipdiff"
    return RUN.format(words)


def write_tiny_stable_diffusion(folder):
    weights = tiny_stable_diffusion.weights("sd1")
    latent_diffusers.write(folder / "tiny-stable-diffusion", weights)
    change = init_lora(weights.params["unet"], 2, jax.random.key(0), "attn")
    change = jax.tree.map(lambda a: a + 0.05, change)
    save_lora(folder / "tiny-lora", weights.config, change, "tiny-stable-diffusion")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_notebook_runs_and_shows_pictures(name, tmp_path):
    notebook = read(name)
    whole = "\n".join(cell.source for cell in notebook.cells)
    assert all(re.search(pattern, whole) for pattern in SMALLER[name])
    for cell in notebook.cells:
        for pattern, smaller in SMALLER[name].items():
            cell.source = re.sub(pattern, smaller, cell.source)
        cell.source = in_process(cell.source)
    if name == "stable_diffusion.ipynb":
        write_tiny_stable_diffusion(tmp_path)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == SHOWN[name]


def test_every_notebook_is_run():
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == set(SMALLER)


@pytest.mark.parametrize("name", SMALLER)
def test_notebook_installs_first_and_holds_no_more_than_pictures(name):
    notebook = read(name)
    title, first = notebook.cells[0], notebook.cells[1]
    assert title.cell_type == "markdown"
    assert "colab-badge.svg" in title.source
    assert first.cell_type == "code"
    assert "%pip install" in first.source
    assert (NOTEBOOKS / name).stat().st_size < SMALL
    outputs = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert not re.search(r"/(root|home|tmp|Users|work)/|\"error\"|Warning", outputs)
