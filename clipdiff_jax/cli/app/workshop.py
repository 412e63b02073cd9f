"""What the page does, without the page: commands are run with models that stay loaded.

Each answer is what a command makes in a folder of its own: the pictures, and the records that say
how they were made. So the page knows nothing that `clipdiff` does not.
"""

import argparse
import importlib
import json
import logging
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from clipdiff_jax.cli.edit import load_base
from clipdiff_jax.cli.loaded import Loaded
from clipdiff_jax.cli.parser import Parser
from clipdiff_jax.cli.unclip_model import load_model
from clipdiff_jax.core.devices import logger as of_devices
from clipdiff_jax.core.log import LIBRARY
from clipdiff_jax.core.progress import showing
from clipdiff_jax.core.types import DTypeName
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.pictures.records import read_records

STEPS = 20
FACE, WHOLE = "the face", "the middle square"


class Made(NamedTuple):
    """The pictures that a command made, their records as lines of JSON, and what it said."""

    files: list[str]
    records: str
    said: str


@dataclass(eq=False)
class Workshop:
    """Loaded models, and one lock: a request waits until the one before is answered.

    Attributes:
      base: the model that edits.
      edits: what it has learned, by the words on their sliders.
      unclip: the name of the model that draws, which is loaded with the first request for it.
      steps: of an edit.
      dtype: that networks compute in.
    """

    base: Loaded
    edits: Mapping[str, Loaded]
    unclip: str
    steps: int
    dtype: DTypeName
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def load(cls, args: argparse.Namespace) -> "Workshop":
        """The models of the command line; raises what loading and checking them raises."""
        edits: dict[str, Loaded] = {}
        for path in args.edit:
            learned = load_edit(path)
            edits[_label(learned, edits)] = Loaded.of(str(path), learned)
        base = Loaded.of(str(args.model), load_base(args.model, args.dtype))
        return cls(base, edits, args.unclip, args.steps, args.dtype)

    def warm_up(self) -> None:
        """Compiles what the first edit needs, on a grey picture, before anybody asks for it."""
        if self.edits:
            size = load_base(self.base, self.dtype).config.image_size
            picture = Path(tempfile.mkdtemp(prefix="clipdiff-")) / "grey.png"
            Image.new("RGB", (size, size), "grey").save(picture)
            self.edit(str(picture), WHOLE, [1.0, *[0.0] * (len(self.edits) - 1)])

    def edit(self, picture: str | None, what: str, strengths: Sequence[float]) -> Made:
        """A picture with each edit at a strength of its own; those at 0 are left out.

        what: `FACE` finds the largest face and pastes the result back, `WHOLE` takes the middle
            square. Raises `ValueError` for no picture, and where all strengths are 0.
        """
        if picture is None:
            raise ValueError("There is no picture yet: put one into the field on the left.")
        chosen = [(path, s) for path, s in zip(self.edits.values(), strengths, strict=True) if s]
        if not chosen:
            raise ValueError("All sliders are at 0: move one to see its edit.")
        total = sum(strength for _, strength in chosen)
        if total <= 0:
            raise ValueError("The strengths add up to less than 0: move a slider to the right.")
        options = {
            "edit": [path for path, _ in chosen],
            "strength": [total],
            "ratios": [strength for _, strength in chosen],
            "steps": self.steps,
            "align": "auto" if what == FACE else "none",
        }
        return self._made("edit", [picture], options, self.base)

    def generate(
        self, prompt: str, count: int, seed: int | None, steps: int, guidance: float | None
    ) -> Made:
        """Pictures of a text; no guidance is the model's own."""
        options = asked(prompt, count, seed, steps, guidance)
        return self._made("generate", [], options, self._unclip())

    def vary(self, picture: str | None, count: int, seed: int | None) -> Made:
        """Pictures like this one."""
        if picture is None:
            raise ValueError("There is no picture yet: put one into the first field.")
        options = {"count": int(count), "seed": _seed(seed)}
        return self._made("vary", [picture], options, self._unclip())

    def interpolate(self, first: str | None, second: str | None, count: int, steps: int) -> Made:
        """Pictures on the way from one to another."""
        if first is None or second is None:
            raise ValueError("Two pictures are needed: one in each field.")
        options = {"count": int(count), "steps": int(steps)}
        return self._made("interpolate", [first, second], options, self._unclip())

    def text_diff(self, picture: str | None, source: str, target: str, steps: int) -> Made:
        """A picture turned from what one text says to what another says."""
        if picture is None:
            raise ValueError("There is no picture yet: put one into the first field.")
        if not target.strip():
            raise ValueError("The second text is empty: write what the picture should show.")
        texts = {"source_text": source.strip(), "target_text": target.strip()}
        options = {**texts, "steps": int(steps)}
        words = ["--from", "", "--to", ""]
        return self._made("textdiff", [picture], options, self._unclip(), words)

    def _unclip(self) -> Loaded:
        if not isinstance(self.unclip, Loaded):
            self.unclip = Loaded.of(self.unclip, load_model(self.unclip, self.dtype))
        return self.unclip

    def _made(
        self,
        name: str,
        pictures: Sequence[str],
        options: Mapping[str, Any],
        model: Loaded,
        words: Sequence[str] = (),
    ) -> Made:
        """Runs a command; what it raises and warns of is for whoever asked."""
        module = importlib.import_module(f"clipdiff_jax.cli.{name}")
        parser = Parser(prog=name)
        module.add_arguments(parser)
        folder = Path(tempfile.mkdtemp(prefix="clipdiff-"))
        args = parser.parse_args([*pictures, *words, "--out", str(folder)])
        common = {"model": model, "dtype": self.dtype, "on_error": "stop"}
        for option, value in {**options, **common}.items():
            setattr(args, option, value)
        with self.lock, showing(False), _Said() as said:
            module.run(args)
        records = read_records(folder)
        files = [str(folder / record["file"]) for record in records]
        return Made(files, "\n".join(map(json.dumps, records)), said.text)


def asked(
    prompt: str, count: int, seed: int | None, steps: int, guidance: float | None
) -> dict[str, Any]:
    """The options of a text to be drawn, of fields that may be empty; a guidance of 0 is one."""
    if not prompt.strip():
        raise ValueError("The text is empty: write what to draw.")
    options = {
        "prompt": [prompt.strip()], "count": int(count), "seed": _seed(seed), "steps": int(steps),
    }  # fmt: skip
    return options if guidance is None else {**options, "guidance": guidance}


def _seed(given: int | None) -> int:
    if given is None:
        raise ValueError("The seed is empty: write a whole number.")
    return int(given)


def _label(edit: Edit, taken: Mapping[str, Loaded]) -> str:
    """What the edit makes of what, for a slider."""
    text = f"{edit.objective.source_text} → {edit.objective.target_text}"
    return text if text not in taken else f"{text} ({len(taken) + 1})"


class _Said(logging.Handler):
    """Collects what the library says of the request meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    @property
    def text(self) -> str:
        return " ".join(dict.fromkeys(self.lines))

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != of_devices.name:  # which are of the machine
            self.lines.append(f"{record.getMessage()}.")

    def __enter__(self) -> "_Said":
        LIBRARY.addHandler(self)
        self.caught = warnings.catch_warnings(record=True)
        self.warned = self.caught.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *reason: Any) -> None:
        self.caught.__exit__(*reason)
        self.lines += [
            str(one.message) for one in self.warned or () if issubclass(one.category, UserWarning)
        ]
        LIBRARY.removeHandler(self)
