"""What a run tells: a line of its logger, `log.jsonl`, curves, previews, and trackers if asked.

Throughput is examples per second between two log lines, without the time of compiling or saving
previews. FLOP utilisation divides XLA's own count for the step by the device's peak in bfloat16.
"""

import io
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from clipdiff_jax.core.charts import curves
from clipdiff_jax.core.files import write_whole, writing
from clipdiff_jax.data.sheets import at_size, draw_sheet
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.stage import Captioned
from clipdiff_jax.training.targets.chips import CHIPS
from clipdiff_jax.training.trackers import Tracker, trackers_of

Images = Float[Array | np.ndarray, "n h w 3"]
LOG, CURVES, PREVIEWS = "log.jsonl", "curves.png", "previews"
CURVES_EVERY = 60.0  # seconds between two drawings of the curves
SMALLEST, WIDEST = 96, 4096  # pixels of a picture in a preview, and of a preview
logger = logging.getLogger(__name__)

# Dense bfloat16 FLOP/s of one device by jax's `device_kind`, from the makers' data sheets: of the
# chips that are compiled for, and of others.
PEAK_FLOPS = {chip.kind: chip.half for chip in CHIPS.values()} | {
    "NVIDIA H200": 989.4e12,
    "NVIDIA L4": 121e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
}


def peak_flops(device: jax.Device) -> float | None:
    """Peak of one device, or None where it is not known (such as a CPU)."""
    kinds = [kind for kind in PEAK_FLOPS if device.device_kind.startswith(kind)]
    return PEAK_FLOPS[max(kinds, key=len)] if kinds else None


class RunLog:
    """Tells what happens to the logger of this module and, given a folder, to files in it and to
    the trackers that the config asks for.

    Only process 0 writes. Raises `ConfigError` for a tracker that is not installed.
    """

    def __init__(self, folder: Path | None, config: TrainConfig) -> None:
        self._main = jax.process_index() == 0
        self._folder = folder if self._main else None
        self._drawn = time.monotonic()
        self._trackers: list[Tracker] = []
        if self._folder is not None:
            self._trackers = trackers_of(config, self._folder)

    def say(self, text: str) -> None:
        """One line for the person watching."""
        if self._main:
            logger.info(text)

    def metrics(self, step: int, values: dict[str, float], *, live: bool = False) -> None:
        """One record: a line of `log.jsonl`, and of the logger unless a live line says it."""
        if self._folder is not None:
            record = {"step": step, "time": round(time.time(), 2), **values}
            path = self._folder / LOG
            with writing(path), path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        for tracker in self._trackers:
            tracker.scalars(step, values)
        if time.monotonic() - self._drawn > CURVES_EVERY:
            self._draw_curves()
        if not live:
            self.say(f"step {step}  " + "  ".join(f"{n} {_short(v)}" for n, v in values.items()))

    def preview(self, step: int, shown: Mapping[str, Images | Captioned]) -> None:
        """Saves images in [-1, 1] as labelled sheets, `previews/NAME-STEP.png`, and the curves.

        Those of one number are the rows of one sheet, which has the name of the first.
        """
        if not self._main:
            return
        named = {name: _captioned(images) for name, images in shown.items()}
        alike = len({len(one.images) for one in named.values()}) == 1
        for name, sheet in ({next(iter(named)): named} if alike else _apart(named)).items():
            pixels = np.asarray(_sheet(step, sheet))
            if self._folder is not None:
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                path = self._folder / PREVIEWS / f"{name}-{step:07d}.png"
                write_whole(path, buffer.getvalue())
            for tracker in self._trackers:
                tracker.picture(step, name, pixels)
        self._draw_curves()

    def close(self) -> None:
        """Draws the curves a last time, and ends what is open."""
        self._draw_curves()
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []

    def _draw_curves(self) -> None:
        self._drawn = time.monotonic()
        if self._folder is None or not (self._folder / LOG).is_file():
            return
        buffer = io.BytesIO()
        if series := read_log(self._folder / LOG):
            curves(series).save(buffer, "PNG")
            try:
                write_whole(self._folder / CURVES, buffer.getvalue())
            except OSError as error:  # no reason to end a run
                logger.warning("the curves are not drawn: %s", error)


def read_log(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The values of a `log.jsonl` by their names, each with its step, "loss" first.

    Of a step that is there twice, since its run was resumed from before it, the later counts. Lines
    that are not whole, as of a machine that went down, are left out.
    """
    found: dict[str, dict[int, float]] = {}
    for line in path.read_text(errors="replace").splitlines():
        try:
            record = dict(json.loads(line))
            step = int(record.pop("step"))
        except (ValueError, TypeError, KeyError):
            continue
        record.pop("time", None)
        for name, value in record.items():
            if isinstance(value, (int, float)):
                found.setdefault(name, {})[step] = value
    names = sorted(found, key=lambda name: name != "loss")
    return {name: sorted(found[name].items()) for name in names}


def _captioned(images: Images | Captioned) -> Captioned:
    return images if isinstance(images, Captioned) else Captioned(images)


def _apart(named: Mapping[str, Captioned]) -> dict[str, dict[str, Captioned]]:
    return {name: {name: one} for name, one in named.items()}


def _sheet(step: int, named: Mapping[str, Captioned]) -> Image.Image:
    """One batch as near a square as it goes, several as a row each."""
    batches = [to_uint8(np.asarray(one.images, np.float32)) for one in named.values()]
    count = len(batches[0])
    columns = count if len(batches) > 1 else math.ceil(math.sqrt(count))
    largest = max(max(batch.shape[1:3]) for batch in batches)
    size = min(max(largest * -(-SMALLEST // largest), largest), max(WIDEST // columns, SMALLEST))
    cells = [at_size(Image.fromarray(image), size) for batch in batches for image in batch]
    given = [one.captions for one in named.values()]
    captions: Sequence[str] = ()
    if any(given):
        captions = [text for one in given for text in (*one, *[""] * (count - len(one)))]
    rows: list[str] = []
    if len(batches) > 1:
        rows = [f"{name}, step {step}" if i == 0 else name for i, name in enumerate(named)]
    titles = [] if rows else [f"{next(iter(named))}, step {step}", *[""] * (columns - 1)]
    return draw_sheet(cells, size, columns, rows=rows, titles=titles, captions=captions)


def _short(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
