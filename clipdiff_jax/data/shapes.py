"""Coloured shapes on grey: pictures of which everything is known, drawn in a moment.

A picture has one to three circles, squares and triangles in six colours that do not touch, with the
box of each and a caption that names them: "a red circle and a blue square". So whether a model puts
the right colour on the right shape, and where it was told to, is a number (`metrics.shapes`).

Nothing is stored. Picture i depends on the seed and on i alone.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

COLORS = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (40, 70, 220),
    "yellow": (240, 205, 30),
    "purple": (150, 40, 190),
    "cyan": (40, 205, 215),
}
SHAPES = ("circle", "square", "triangle")
GREY = (150, 150, 150)
MOST = 3  # objects of a picture
SMALLEST, LARGEST = 0.28, 0.44  # sides of boxes, as shares of the picture's
GAP = 0.04  # least distance between boxes, and from the edge
_FINER = 4  # subpixels along a pixel's side
# Raise this when pictures are drawn in another way.
RECIPE = 1

Box = tuple[float, float, float, float]


class Thing(NamedTuple):
    """A coloured shape; box: left, top, right and bottom as shares of the picture's sides."""

    color: str
    shape: str
    box: Box

    @property
    def phrase(self) -> str:
        """Such as "a red circle"."""
        return f"a {self.color} {self.shape}"


Scene = tuple[Thing, ...]


@dataclass(frozen=True)
class ShapesData:
    """`count` pictures of `size` pixels, each with as many objects as one of `objects`."""

    count: int = 8000
    size: int = 64
    objects: tuple[int, ...] = (1, 2)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.objects or not all(1 <= number <= MOST for number in self.objects):
            raise ValueError(f"objects are numbers from 1 to {MOST}, got {self.objects}")


class Shapes:
    """The pictures as a `DataSource`; `scene(i)` is what picture i shows."""

    def __init__(self, config: ShapesData) -> None:
        self.config = config
        parts = [RECIPE, asdict(config), COLORS, SHAPES, GREY, SMALLEST, LARGEST, GAP]
        self.fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no picture {index} of {len(self)}")
        scene = self.scene(index % len(self))
        return {
            "image": render(scene, self.config.size),
            "captions": [caption(scene)],
            "attributes": {f"object_{i}": f"{t.color} {t.shape}" for i, t in enumerate(scene)},
            "name": f"shapes-{index % len(self):06d}",
        }

    def scene(self, index: int) -> Scene:
        """What picture `index` shows, in the order of its caption."""
        rng = np.random.default_rng((self.config.seed, index))
        return draw_scene(rng, int(rng.choice(self.config.objects)))


def open_shapes(config: ShapesData) -> Shapes:
    """Opens the set; nothing is read or written."""
    return Shapes(config)


def draw_scene(rng: np.random.Generator, objects: int, *, distinct: bool = False) -> Scene:
    """A scene of so many objects. distinct: no two share a colour or a shape."""
    colors = rng.choice(list(COLORS), objects, replace=not distinct)
    shapes = rng.choice(SHAPES, objects, replace=not distinct)
    boxes = _draw_boxes(rng, objects)
    return tuple(Thing(str(c), str(s), b) for c, s, b in zip(colors, shapes, boxes, strict=True))


def caption(scene: Scene) -> str:
    """Such as "a red circle, a blue square and a cyan square"."""
    *others, last = [thing.phrase for thing in scene]
    return f"{', '.join(others)} and {last}" if others else last


def render(scene: Scene, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The picture of a scene, antialiased."""
    side = size * _FINER
    canvas = Image.new("RGB", (side, side), GREY)
    pen = ImageDraw.Draw(canvas)
    for thing in scene:
        left, top, right, bottom = (share * side for share in thing.box)
        right, bottom = right - 1, bottom - 1  # Pillow draws up to and including these
        corners, color = (left, top, right, bottom), COLORS[thing.color]
        if thing.shape == "circle":
            pen.ellipse(corners, fill=color)
        elif thing.shape == "square":
            pen.rectangle(corners, fill=color)
        elif thing.shape == "triangle":
            pen.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=color)
        else:
            raise ValueError(f"shape {thing.shape!r} is none of {', '.join(SHAPES)}")
    return np.asarray(canvas.reduce(_FINER))


def _draw_boxes(rng: np.random.Generator, objects: int) -> list[Box]:
    """Boxes that keep their distance: all are drawn anew until they do."""
    while True:
        boxes: list[Box] = []
        for _ in range(objects):
            side = rng.uniform(SMALLEST, LARGEST)
            left, top = rng.uniform(GAP, 1 - GAP - side, 2)
            boxes.append((float(left), float(top), float(left + side), float(top + side)))
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
        if not any(_touch(a, b) for a, b in pairs):
            return boxes


def _touch(a: Box, b: Box) -> bool:
    """Whether two boxes are nearer than `GAP` along both sides."""
    return all(a[i] < b[i + 2] + GAP and b[i] < a[i + 2] + GAP for i in (0, 1))
