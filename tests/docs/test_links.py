"""Every relative link of the documentation leads to a file, and to a heading where it names one."""

import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def anchor(heading: str) -> str:
    """The name that GitHub and MkDocs give a heading."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower())
    return kept.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(one) for one in _HEADING.findall(_FENCE.sub("", page.read_text()))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page):
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, name = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (name and name not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_pages_link_to_pages_of_the_site(page):
    """A link out of docs/ works on GitHub and not in the built site."""
    outside = [one for one in _LINK.findall(page.read_text()) if one.startswith("../..")]
    if page.parent == ROOT / "docs":
        outside += [one for one in _LINK.findall(page.read_text()) if one.startswith("../")]
    assert not outside
