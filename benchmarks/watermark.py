"""What a watermark withstands: pictures of a model with and without it, attacked, then looked at.

    python benchmarks/watermark.py --count 200 --out watermark.json

Every picture of a group of ten has the same key, every group another. Rates have 95 % intervals
(Clopper and Pearson). The file is written after each line, and a run with the same file goes on.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy import stats

import clipdiff_jax as cd
from clipdiff_jax.core.compilation import enable_compilation_cache
from clipdiff_jax.core.files import json_bytes, write_whole
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.pictures.watermark.detection import THRESHOLD, calibration, invert_all
from clipdiff_jax.pictures.watermark.inverters import inverter
from clipdiff_jax.pictures.watermark.key import Key

GROUP = 10  # pictures of one key, and pictures computed at once
FEWER = 60
Levels = UInt8[np.ndarray, "h w 3"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--count", type=int, default=200, help="pictures of each kind")
    parser.add_argument("--steps", type=int, default=10, help="of generation")
    parser.add_argument("--detect-steps", type=int, default=5, help="of detection")
    parser.add_argument("--false-keys", type=int, default=100, help="keys tried on plain pictures")
    parser.add_argument("--out", type=Path, default=Path("watermark.json"))
    args = parser.parse_args()
    enable_compilation_cache()
    Measuring(args).run()


def interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a rate (Clopper and Pearson 1934)."""
    low = 0.0 if hits == 0 else float(stats.beta.ppf(0.025, hits, count - hits + 1))
    high = 1.0 if hits == count else float(stats.beta.ppf(0.975, hits + 1, count - hits))
    return low, high


def jpeg(quality: int) -> Callable[[Levels], Levels]:
    def attack(image: Levels) -> Levels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return attack


def half_size(image: Levels) -> Levels:
    """Half as large, and back."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((width, height), Image.Resampling.LANCZOS))


def cropped(image: Levels) -> Levels:
    """7/8 of the picture a side, from a place that its content decides."""
    side = len(image) * 7 // 8
    slack = len(image) - side
    top, left = np.random.default_rng(int(image.sum())).integers(0, slack + 1, 2)
    return image[top : top + side, left : left + side]


def brighter(image: Levels) -> Levels:
    return np.clip(np.round(image * 1.2), 0, 255).astype(np.uint8)


# (pattern, attack, whether with search), the most important first. A search, and what is there for
# comparison, is measured on the first `FEWER` pictures.
CASES: tuple[tuple[str, str, bool], ...] = (
    ("rand", "none", False), ("rand", "jpeg75", False), ("rand", "half size", False),
    ("ring", "flip", False), ("ring", "none", False), ("rand", "crop 7/8", True),
    ("ring", "jpeg75", False), ("ring", "half size", False), ("rand", "brighter 1.2", False),
    ("rand", "jpeg50", False), ("rand", "flip", True), ("rand", "none", True),
    ("ring", "crop 7/8", True),
)  # fmt: skip
ATTACKS: dict[str, Callable[[Levels], Levels]] = {
    "none": lambda image: image,
    "jpeg75": jpeg(75),
    "jpeg50": jpeg(50),
    "half size": half_size,
    "crop 7/8": cropped,
    "flip": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "brighter 1.2": brighter,
}


class Measuring:
    """A run: its pictures and what was found, both kept beside `--out`."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.base = cd.load_diffusion(args.model)
        self.folder = args.out.with_suffix("")
        self.found = json.loads(args.out.read_text()) if args.out.exists() else {}
        self.found["setting"] = {
            "model": args.model, "count": args.count, "steps": args.steps,
            "detect_steps": args.detect_steps, "group": GROUP,
        }  # fmt: skip

    def run(self) -> None:
        self.false_positives()
        for pattern, attack, search in CASES:
            self.true_positives(pattern, attack, search)

    def keys(self, pattern: str) -> list[Key]:
        """A key for each group, the same in every run."""
        count = -(-self.args.count // GROUP)
        secrets = np.random.default_rng(23).bytes(32 * count)
        return [Key(secret=secrets[32 * i :][:32], pattern=pattern) for i in range(count)]  # type: ignore[arg-type]

    def pictures(self, kind: str) -> UInt8[np.ndarray, "n h w 3"]:
        """Pictures without a mark ("plain") or with one of a pattern, made or read again."""
        path = self.folder / f"{kind}.npz"
        if path.exists():
            return np.load(path)["images"]
        parts = []
        count = min(FEWER, self.args.count) if kind == "ring" else self.args.count
        for group in range(-(-count // GROUP)):
            options = {"key": group, "steps": self.args.steps}
            if kind == "plain":
                made = self.base.generate(GROUP, **options)
            else:
                mark = self.keys(kind)[group]
                made = cd.watermark.generate(self.base, mark, GROUP, **options)
            parts.append(to_uint8(np.asarray(made)))
        images = np.concatenate(parts)[:count]
        buffer = io.BytesIO()
        np.savez(buffer, images=images)
        write_whole(path, buffer.getvalue())
        return images

    def false_positives(self) -> None:
        """Keys drawn at random, on pictures without a mark."""
        if "false positives" in self.found:
            return
        way = inverter(self.base, self.args.detect_steps)
        noise = invert_all(way, list(self.pictures("plain")), GROUP)
        self.found["false positives"] = {}
        for pattern in ("rand", "ring"):
            keys = [Key.new(pattern=pattern) for _ in range(self.args.false_keys)]
            said = calibration(noise, keys, way.home)
            self.note("false positives", pattern, {
                "levels": said.levels, "rates": said.rates, "worst key": said.worst,
                "least p": said.least, "keys": said.keys, "pictures": said.pictures,
            })  # fmt: skip

    def true_positives(self, pattern: str, attack: str, search: bool) -> None:
        """Marked pictures after an attack."""
        name = f"{pattern}, {attack}" + (", search" if search else "")
        if name in self.found.setdefault("true positives", {}):
            return
        images, p, begun = self.pictures(pattern), [], (time.time(), time.process_time())
        few = search or pattern == "ring"
        count = min(FEWER, self.args.count) if few else self.args.count
        for group, mark in enumerate(self.keys(pattern)[: -(-count // GROUP)]):
            some = [ATTACKS[attack](one) for one in images[group * GROUP :][:GROUP]]
            detected = cd.watermark.detect(
                some, self.base, mark, search=search, steps=self.args.detect_steps, batch=GROUP
            )
            p += [one.p for one in detected]
        hits = int((np.array(p) < THRESHOLD).sum())
        self.note("true positives", name, {
            "rate": hits / len(p), "interval": interval(hits, len(p)), "pictures": len(p),
            "median p": float(np.median(p)), "worst p": max(p),
            "wall s": time.time() - begun[0], "cpu s": time.process_time() - begun[1],
        })  # fmt: skip

    def note(self, what: str, name: str, values: dict[str, object]) -> None:
        self.found[what][name] = values
        write_whole(self.args.out, json_bytes(self.found))
        print(what, name, values, flush=True)


if __name__ == "__main__":
    main()
