"""What a run tells: a line of its logger, `log.jsonl`, image previews, and TensorBoard if asked.

Throughput is examples per second between two log lines, without the time of compiling or saving
previews. FLOP utilisation divides XLA's own count for the step by the device's peak in bfloat16.
"""

import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.files import write_whole, writing
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.training.targets.chips import CHIPS

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
    """Tells what happens to the logger of this module and, given a folder, to files in it.

    Only process 0 writes. Raises `ConfigError` if TensorBoard is
    asked for and not installed.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool = False) -> None:
        self._main = jax.process_index() == 0
        self._folder = folder if self._main else None
        self._board: Any = None
        if tensorboard and self._folder is not None:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise ConfigError(
                    "train.tensorboard=true needs the extra: pip install clipdiff-jax[tensorboard]"
                ) from error
            self._board = SummaryWriter(str(self._folder / "tensorboard"))

    def say(self, text: str) -> None:
        """One line for the person watching."""
        if self._main:
            logger.info(text)

    def metrics(self, step: int, values: dict[str, float], *, live: bool = False) -> None:
        """One record: a line of `log.jsonl`, and of the logger unless a live line says it."""
        if self._folder is not None:
            record = {"step": step, "time": round(time.time(), 2), **values}
            path = self._folder / "log.jsonl"
            with writing(path), path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if not live:
            self.say(f"step {step}  " + "  ".join(f"{n} {_short(v)}" for n, v in values.items()))

    def images(self, step: int, name: str, images: Float[Array, "n h w 3"]) -> None:
        """Saves a grid of images in [-1, 1] as `previews/NAME-STEP.png`."""
        pixels = to_grid(np.asarray(images))
        if self._folder is not None:
            path = self._folder / "previews" / f"{name}-{step:07d}.png"
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            write_whole(path, buffer.getvalue())
        if self._board is not None:
            self._board.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Ends what is open."""
        if self._board is not None:
            self._board.close()


def to_grid(images: Float[np.ndarray, "n h w 3"]) -> np.ndarray:
    """Lays images in [-1, 1] out as near a square as they go: uint8 [H, W, 3]."""
    count, height, width, _ = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, image in enumerate(to_uint8(images.astype(np.float32))):
        top, left = i // columns * height, i % columns * width
        canvas[top : top + height, left : left + width] = image
    return canvas


def _short(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
