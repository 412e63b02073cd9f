"""Faces in photographs: where they are, by the 68 points that FFHQ's own aligner uses.

Needs the extra `[faces]`: dlib finds faces that look towards the camera (histograms of oriented
gradients, Dalal and Triggs 2005) and lays 68 points on each (a cascade of regression trees, Kazemi
and Sullivan 2014); the points' model is a file of the package face-recognition-models, whose code
is not run.

    finder = FaceFinder.load()
    for face in finder.find(photo):
        crop = cut(photo, face.square, 256)
"""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from PIL import Image

from clipdiff_jax.core.checks import one_of
from clipdiff_jax.data.alignment import FaceSquare, Photograph, square_of

Align = Literal["none", "largest", "all"]
EXTRA = "faces are found by dlib: pip install 'clipdiff-jax[faces]'"
MODEL = "models/shape_predictor_68_face_landmarks.dat"
SURE = 0.25  # the least score; what is found below is more often a badge or a helmet than a face
LOOKED_AT = 1200  # pixels of the longer side at which faces are looked for
ENLARGED = 1  # doublings before: faces from 40 pixels of what is looked at on are found
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = slice(36, 42), slice(42, 48), 30, 48, 54
TURNED = 0.4  # the nose's distances from the outer corners of the eyes, the smaller by the larger


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face.

    Attributes:
      points: the 68 of iBUG 300-W, x and y in pixels; 0 is the middle of the first.
      score: how sure the detector is; 0 is its threshold.
    """

    points: Float[np.ndarray, "68 2"]
    score: float

    @property
    def square(self) -> FaceSquare:
        """What models of aligned faces are given."""
        points = self.points + 0.5  # from the photograph's corner
        mouth = points[[LEFT_MOUTH, RIGHT_MOUTH]]
        return square_of(points[LEFT_EYE], points[RIGHT_EYE], mouth)

    @property
    def eyes(self) -> Float[np.ndarray, "2 2"]:
        """The middle of each."""
        return np.stack([self.points[eye].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)])

    @property
    def is_turned(self) -> bool:
        """Whether it is seen more from the side than from the front."""
        left, right = self.points[36], self.points[45]
        across = (right - left) / max(float(np.hypot(*(right - left))), 1e-6)
        from_left = float((self.points[NOSE] - left) @ across)
        from_right = float((right - self.points[NOSE]) @ across)
        return min(from_left, from_right) < TURNED * max(from_left, from_right)


@dataclass(frozen=True, eq=False)
class FaceFinder:
    """dlib's detector and predictor. It is loaded once and handed on: `load` reads 100 MB."""

    detector: Any  # dlib has no types
    predictor: Any
    rectangle: Any

    @classmethod
    def load(cls) -> "FaceFinder":
        """Raises `ValueError` that names the extra where it is not installed."""
        if not is_installed():
            raise ValueError(EXTRA)
        dlib = importlib.import_module("dlib")
        return cls(
            dlib.get_frontal_face_detector(), dlib.shape_predictor(str(_model())), dlib.rectangle
        )

    def find(self, photo: Photograph) -> list[FoundFace]:
        """The faces of a photograph, the largest first."""
        height, width = photo.shape[:2]
        scale = min(1.0, LOOKED_AT / max(height, width))
        looked_at = photo
        if scale < 1:
            shape = (max(1, round(width * scale)), max(1, round(height * scale)))
            picture = Image.fromarray(photo)
            looked_at = np.asarray(picture.resize(shape, Image.Resampling.LANCZOS))
        looked_at = np.ascontiguousarray(looked_at)
        boxes, scores, _ = self.detector.run(looked_at, ENLARGED, SURE)
        found = [
            FoundFace(self._points(photo, box, scale), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]
        return sorted(found, key=lambda face: -face.square.side)

    def _points(self, photo: Photograph, box: Any, scale: float) -> Float[np.ndarray, "68 2"]:
        sides = (box.left(), box.top(), box.right(), box.bottom())
        whole = self.rectangle(*(round(side / scale) for side in sides))
        shape = self.predictor(np.ascontiguousarray(photo), whole)
        return np.array([(one.x, one.y) for one in shape.parts()], np.float64)


def is_installed() -> bool:
    """Whether the extra `[faces]` is."""
    return importlib.util.find_spec("dlib") is not None and _model() is not None


def chosen(faces: Sequence[FoundFace], align: str) -> list[FoundFace]:
    """Of the faces found, largest first, those that are meant."""
    meant = {"none": [], "largest": list(faces[:1]), "all": list(faces)}
    return meant[one_of("align", align, get_args(Align))]


def doubts(face: FoundFace, size: int) -> list[str]:
    """What may go wrong with a face that is brought to `size` pixels, as ends of a sentence."""
    found = []
    if face.square.side < size:
        found.append(
            f"is small: {face.square.side:.0f} pixels with its surroundings, resized up to {size}"
        )
    if face.is_turned:
        found.append("is seen from the side, where models of faces do worse")
    return found


def _model() -> Path | None:
    """The file with the points' model; the package is found without being run."""
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (path := Path(folder) / MODEL).is_file():
            return path
    return None
