"""The Python of the documentation runs: each page's blocks in order, in one namespace.

A block whose title is "needs a download" is not run. Numbers that make a page slow are replaced by
smaller ones, here and nowhere else, and each of them has to be on the page.
"""

import re

import pytest
from helpers.paths import ROOT

_BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOWNLOAD = 'title="needs a download"'

# Pages with Python in them, and what is made smaller in each.
TINY = "AvatarsConfig(name='tiny', description='', size=16, train=4, valid=2, test=2)"
QUICK = "steps=2, upsample_steps=1"
PAGES: dict[str, dict[str, str]] = {
    "README.md": {
        "demo_faces(24, ": "demo_faces(2, ",
        "demo_faces(8, ": "demo_faces(2, ",
        '"a face with red hair")': '"a face with red hair", passes=1, t0=400, mode="noised")',
        "strength=0.8)": "strength=0.8, steps=4)",
        'and glasses"], key=0': f'and glasses"], key=0, prior_steps=2, {QUICK}',
        "interpolate(faces[0], faces[1]": f"interpolate(faces[0], faces[1], 2, {QUICK}",
        '"a smiling face"))': f'"a smiling face", thetas=(0.1, 0.2), {QUICK}))',
    },
    "docs/clip-guided.md": {},
    "docs/your-own-sampler.md": {},
    "docs/your-own-stage.md": {},
    "docs/your-own-weight-layout.md": {},
    "docs/unclip-from-its-parts.md": {},
    "docs/avatars.md": {
        "count=24_000": "count=8",
        "import Avatars\n": "import Avatars, AvatarsConfig\n",
        'Avatars(config="64")': f"Avatars(config={TINY}, data_dir='.')",
        'TfdsData("avatars/64")': "TfdsData('avatars/tiny', data_dir='.')",
    },
    "docs/get-started.md": {
        "demo_faces(4, ": "demo_faces(2, ",
        "strength=0.8)": "strength=0.8, steps=4)",
        'red hair"], key=0': f'red hair"], key=0, prior_steps=2, {QUICK}',
    },
    "docs/inputs.md": {},
    "docs/latent.md": {},
    "docs/reassembly.md": {},
    "docs/weights.md": {},
    "docs/safeguards.md": {},
    "docs/steering.md": {},
    "docs/train-on-your-data.md": {"steps=20": "steps=1", "batch_size=8": "batch_size=1"},
    "docs/watching.md": {},
}
SLOW = (
    "README.md",
    "docs/get-started.md",
    "docs/safeguards.md",
    "docs/train-on-your-data.md",
    "docs/watching.md",
)


def blocks(page: str) -> list[str]:
    """The blocks to run, each moved down to its line in the page, so that errors point there."""
    text = (ROOT / page).read_text()
    found = []
    for match in _BLOCK.finditer(text):
        info, code = match[1].strip(), match[2]
        assert info in ("", DOWNLOAD), f"{page}: ```python {info}"
        if not info:
            found.append("\n" * text[: match.start(2)].count("\n") + code)
    return found


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in PAGES]
)
def test_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    codes, namespace = blocks(page), {"__name__": "__main__"}
    for written, smaller in PAGES[page].items():
        assert any(written in code for code in codes), f"'{written}' is not in {page}"
        codes = [code.replace(written, smaller) for code in codes]
    for code in codes:
        exec(compile(code, str(ROOT / page), "exec"), namespace)


def test_every_page_with_python_is_run():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    with_python = {str(p.relative_to(ROOT)) for p in pages if _BLOCK.search(p.read_text())}
    assert with_python == set(PAGES)
