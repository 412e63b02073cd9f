"""Renders the plain argument lines of our docstrings as lists, for the API pages (mkdocs.yml).

    steps: how often the network is evaluated,
        or "glide".                                    ->   - **steps**: how often ...

Sections with a heading of their own (`Args:`, `Attributes:`) are mkdocstrings' business.
"""

import re
from typing import Any

import griffe

_ARGUMENT = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*): (?=\S)")


def as_list(text: str) -> str:
    """The docstring with each run of argument lines as a Markdown list."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        found = _ARGUMENT.match(line)
        if found:
            lines += [] if inside else [""]
            line = f"- **{found[1]}**: {line[found.end() :]}"
        inside = bool(found) or (inside and bool(line.strip()))
        lines.append(line)
    return "\n".join(lines)


class PlainArguments(griffe.Extension):
    """Rewrites every docstring once it is read from its source."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = as_list(obj.docstring.value)
