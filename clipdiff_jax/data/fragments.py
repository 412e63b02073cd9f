"""Solids broken into fragments: made up here, or read from folders, and posed for reassembly.

A solid is an intersection of half-spaces {x: n.x <= d}, scaled to a unit diagonal. It is broken by
planes through points near its centre, which are not flat but bumped by a few shared cosines, so
that the two sides of a break match. The points of a break go to both of its fragments.

A fragment that is handed in is a cloud of points about its own mean, turned by a uniformly random
rotation. Its pose is where it belongs: x = R y + tau for its points y, with tau its mean in the
solid (DiffAssemble, arXiv 2402.19302, section 3). Before a model sees it, it is turned into its own
frame, the axes of its second moments with signs by its third ones: what the model then does is the
same however the fragment was turned (frame averaging, Puny et al. 2022, arXiv 2110.03336, with one
frame).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32

from clipdiff_jax.core.checks import one_of, whole_number
from clipdiff_jax.data.transforms import Transform

Shape = Literal["corner", "box"]
FEWEST_POINTS = 8  # of a fragment
_SMALLEST_SHARE = 0.05  # of the points, of a fragment that stays one
_CANDIDATES = 500  # points drawn on the square that a plane's part of the solid lies in
_BUMP = 0.02  # of the diagonal
_WAVES = 3
_RECIPE = 1  # raise it when fragments are made in another way
Points = Float[np.ndarray, "_ 3"]
Matrix = Float[np.ndarray, "3 3"]


@dataclass(frozen=True)
class FragmentData:
    """Solids that are made up and broken.

    Attributes:
      shape: "box" with three different sides, which looks the same after half turns about three
        axes; "corner", such a box without one corner, which looks the same after no turn.
      cuts: the least and the most planes; a solid draws a number of them. Two make 3 or 4 parts.
      count: solids.
      seed: of all of them; solid i of a seed is always the same.
    """

    shape: Shape = "corner"
    cuts: tuple[int, int] = (1, 2)
    count: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("shape", self.shape, get_args(Shape))
        low, high = (whole_number("cuts", one, low=1, high=4) for one in self.cuts)
        if low > high:
            raise ValueError(f"cuts is {self.cuts}, expected the least first")
        whole_number("count", self.count, low=1)
        whole_number("seed", self.seed, low=0)


@dataclass(frozen=True)
class FractureData:
    """A folder in Breaking Bad's layout: `OBJECT/fractured_K/piece_N.obj`, at any depth.

    Attributes:
      path: the folder.
      most_parts: breaks of more are left out.
    """

    path: str
    most_parts: int = 20


class Fragmented:
    """Made-up solids as a source; an example has "fragments", [N,3] each in the solid's frame."""

    def __init__(self, config: FragmentData) -> None:
        self.config = config
        told = json.dumps([_RECIPE, asdict(config)], sort_keys=True)
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = np.random.default_rng((self.config.seed, index))
        return {"fragments": break_solid(self.config, rng), "name": f"{self.config.shape}-{index}"}


class Fractures:
    """The breaks in a folder, as a source; points are drawn evenly over each piece's triangles."""

    def __init__(self, config: FractureData) -> None:
        root = Path(config.path).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder '{root}'")
        breaks: dict[Path, list[Path]] = {}
        for file in sorted(root.rglob("piece_*.obj")):
            breaks.setdefault(file.parent, []).append(file)
        self._breaks = [files for files in breaks.values() if 2 <= len(files) <= config.most_parts]
        if not self._breaks:
            raise ValueError(
                f"no breaks of 2 to {config.most_parts} parts (fractured_K/piece_N.obj) in '{root}'"
            )
        files = [file for one in self._breaks for file in one]
        told = json.dumps([[str(file.relative_to(root)), file.stat().st_size] for file in files])
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._breaks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        meshes = [read_obj(file) for file in self._breaks[index]]
        corners = np.concatenate([vertices for vertices, _ in meshes])
        low, high = corners.min(0), corners.max(0)
        size = np.linalg.norm(high - low)
        rng = np.random.default_rng(index)
        fragments = [
            (sample_triangles(vertices[faces], 1000, rng) - (low + high) / 2) / size
            for vertices, faces in meshes
        ]
        return {"fragments": fragments, "name": self._breaks[index][0].parent.name}


FragmentSource = Fragmented | Fractures


def open_fragments(config: FragmentData | FractureData) -> FragmentSource:
    """Opens what `config` describes; raises where a folder is missing or has no breaks."""
    return Fragmented(config) if isinstance(config, FragmentData) else Fractures(config)


def break_solid(config: FragmentData, rng: np.random.Generator) -> list[Points]:
    """The surfaces of a solid's fragments, in the solid's frame, [N,3] each."""
    normals, offsets = _solid(config.shape, rng)
    surface = [_on_plane(normals, offsets, i, rng) for i in range(len(normals))]
    points = np.concatenate([part[_inside(part, normals, offsets)] for part in surface])
    planes = [_plane(rng) for _ in range(rng.integers(config.cuts[0], config.cuts[1] + 1))]
    clouds, places = [points], [np.stack([plane.side(points) for plane in planes], -1)]
    for i, plane in enumerate(planes):
        face = plane.points(rng)
        face = face[_inside(face, normals, offsets)]
        sides = np.stack([other.side(face) for other in planes], -1)
        for one in (False, True):
            clouds.append(face)
            places.append(np.where(np.arange(len(planes)) == i, one, sides))
    return _merged(np.concatenate(clouds), np.concatenate(places))


def _merged(points: Points, sides: Bool[np.ndarray, "n k"]) -> list[Points]:
    """The cells of the planes as clouds; small ones join the neighbour with most points, and the
    break between them is no longer there."""
    cells: dict[tuple[bool, ...], Points] = {
        tuple(map(bool, cell)): points[(sides == cell).all(1)] for cell in np.unique(sides, axis=0)
    }
    while len(cells) > 2:
        small = min(cells, key=lambda cell: len(cells[cell]))
        if len(cells[small]) >= max(_SMALLEST_SHARE * len(points), FEWEST_POINTS):
            break
        near = [c for c in cells if sum(a != b for a, b in zip(c, small, strict=True)) == 1]
        into = max(near or [c for c in cells if c != small], key=lambda cell: len(cells[cell]))
        both = np.concatenate([cells.pop(small), cells[into]])
        _, first, counts = np.unique(both, axis=0, return_index=True, return_counts=True)
        cells[into] = both[np.sort(first[counts == 1])]
    return list(cells.values())


def _solid(shape: Shape, rng: np.random.Generator) -> tuple[Points, Float[np.ndarray, " n"]]:
    """Half-spaces of a solid of unit diagonal about the origin."""
    sides = np.array([1.0, 0.75, 0.5]) * rng.uniform(0.88, 1.12, 3)
    sides /= np.linalg.norm(sides)
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    offsets = np.concatenate([sides, sides]) / 2
    if shape == "corner":
        # Through three points on the edges at one corner, each at its own share of its edge.
        reach = sides * np.array([0.45, 0.6, 0.75]) * rng.uniform(0.9, 1.1, 3)
        normal = 1 / reach
        offset = normal @ (sides / 2) - 1
        length = np.linalg.norm(normal)
        normals, offsets = (
            np.vstack([normals, normal / length]),
            np.append(offsets, offset / length),
        )
    return normals, offsets


def _inside(
    points: Points, normals: Float[np.ndarray, "m 3"], offsets: Float[np.ndarray, " m"]
) -> Bool[np.ndarray, " n"]:
    return (points @ normals.T <= offsets + 1e-9).all(1)


def _basis(normal: Float[np.ndarray, "3"]) -> Float[np.ndarray, "2 3"]:
    """Two unit vectors across a normal."""
    away = np.eye(3)[np.abs(normal).argmin()]
    first = np.cross(normal, away)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first)])


def _on_plane(
    normals: Points, offsets: Float[np.ndarray, " m"], index: int, rng: np.random.Generator
) -> Points:
    """Points of a face's plane, evenly in a square that holds the face."""
    flat = rng.uniform(-0.6, 0.6, (_CANDIDATES, 2))
    return offsets[index] * normals[index] + flat @ _basis(normals[index])


@dataclass(frozen=True, eq=False)
class _Plane:
    """A bumped plane: {x: n.x = d + bump(across)}."""

    normal: Float[np.ndarray, "3"]
    offset: float
    across: Float[np.ndarray, "2 3"]
    waves: Float[np.ndarray, "w 3"]  # two frequencies and a phase each

    def bump(self, flat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        waves = np.cos(flat @ self.waves[:, :2].T + self.waves[:, 2])
        return _BUMP / len(self.waves) * waves.sum(1)

    def side(self, points: Points) -> Bool[np.ndarray, " n"]:
        return points @ self.normal > self.offset + self.bump(points @ self.across.T)

    def points(self, rng: np.random.Generator) -> Points:
        flat = rng.uniform(-0.6, 0.6, (_CANDIDATES, 2))
        height = self.offset + self.bump(flat)
        return height[:, None] * self.normal + flat @ self.across


def _plane(rng: np.random.Generator) -> _Plane:
    normal = rng.normal(size=3)
    normal /= np.linalg.norm(normal)
    waves = np.concatenate(
        [rng.uniform(-25, 25, (_WAVES, 2)), rng.uniform(0, 2 * np.pi, (_WAVES, 1))], 1
    )
    return _Plane(normal, float(rng.uniform(-0.08, 0.08)), _basis(normal), waves)


def random_rotation(rng: np.random.Generator) -> Matrix:
    """Uniform over all rotations: a quaternion of four normal numbers."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def resampled(points: Points, count: int, rng: np.random.Generator) -> Points:
    """`count` of the points, each once where there are as many."""
    return points[rng.choice(len(points), count, replace=len(points) < count)]


def own_frame(points: Points) -> Matrix:
    """F, whose columns are the axes of the second moments of centred points, the greatest first.

    The first two point where the third moments are positive, the last makes it a rotation. For
    points that are turned by Q it is Q F, unless moments are equal or zero.
    """
    _, axes = np.linalg.eigh(points.T @ points)
    axes = axes[:, ::-1]
    skew = ((points @ axes) ** 3).sum(0)
    axes = axes * np.where(skew < 0, -1.0, 1.0)
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    return axes


def fragment_transform(points: int, max_pieces: int) -> Transform:
    """Returns the transform from fragments to clouds of so many points, in their own frames.

    It gives, with P = `max_pieces` of which the last may be padding,

      pieces  float32 [P,N,3]   the points, about their mean and in their own frame, in any order
      pose    float32 [P,12]    tau and the rotation (row by row) from that frame into the solid
      frame   float32 [P,3,3]   the own frame of the fragment as it was handed in
      mask    bool [P]          which fragments are there

    Raises `ValueError` for a solid of more fragments than `max_pieces`.
    """
    return partial(_posed, count=points, max_pieces=max_pieces)


def _posed(
    example: dict[str, Any], rng: np.random.Generator, count: int, max_pieces: int
) -> dict[str, Any]:
    fragments = example["fragments"]
    parts = len(fragments)
    if parts > max_pieces:
        raise ValueError(
            f"'{example['name']}' has {parts} fragments, more than the {max_pieces} of the model "
            "(max_pieces)"
        )
    pieces = np.zeros((max_pieces, count, 3), np.float32)
    pose = np.zeros((max_pieces, 12), np.float32)
    pose[:, 3:] = np.eye(3).ravel()
    frames = np.tile(np.eye(3, dtype=np.float32), (max_pieces, 1, 1))
    for place, index in enumerate(rng.permutation(parts)):
        cloud = resampled(fragments[index], count, rng)
        centre, turned = cloud.mean(0), random_rotation(rng)
        handed_in = (cloud - centre) @ turned.T
        frame = own_frame(handed_in)
        pieces[place] = handed_in @ frame
        pose[place] = np.concatenate([centre, (turned.T @ frame).ravel()])
        frames[place] = frame
    return {
        "pieces": pieces,
        "pose": pose,
        "frame": frames,
        "mask": np.arange(max_pieces) < parts,
    }


def read_obj(path: Path) -> tuple[Float[np.ndarray, "v 3"], np.ndarray]:
    """(vertices, triangles) of an OBJ file; faces of more corners are fans of triangles.

    Raises `ValueError` that names the file and the line.
    """
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        kind, *words = line.split() or [""]
        try:
            if kind == "v":
                vertices.append([float(word) for word in words[:3]])
            elif kind == "f":
                corners = [int(word.split("/")[0]) for word in words]
                corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
                faces += [[corners[0], *corners[i : i + 2]] for i in range(1, len(corners) - 1)]
        except ValueError as error:
            raise ValueError(f"'{path}', line {number}: {error}") from error
    found, triangles = np.array(vertices, float), np.array(faces, int)
    if not len(triangles) or found.ndim != 2 or found.shape[1] != 3 or not np.isfinite(found).all():
        raise ValueError(f"'{path}' has no surface: {len(vertices)} points, {len(faces)} triangles")
    if triangles.min() < 0 or triangles.max() >= len(found):
        raise ValueError(f"'{path}' has a face of points that it has not")
    return found, triangles


def sample_triangles(
    corners: Float[np.ndarray, "f 3 3"], count: int, rng: np.random.Generator
) -> Points:
    """Points drawn evenly over the area of triangles."""
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(one, other), axis=1)
    if not area.sum() > 0:
        raise ValueError("the triangles have no area")
    chosen = rng.choice(len(corners), count, p=area / area.sum())
    a, b = rng.uniform(size=(2, count, 1))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    return corners[chosen, 0] + a * one[chosen] + b * other[chosen]


def as_clouds(pieces: Any) -> list[Float32[np.ndarray, "_ 3"]]:
    """Fragments as a user hands them in. Raises `ValueError` for what are none."""
    if len(pieces) < 2:
        raise ValueError(f"{len(pieces)} fragment(s), expected at least 2")
    clouds = [np.asarray(one, np.float32) for one in pieces]
    for index, cloud in enumerate(clouds):
        if cloud.ndim != 2 or cloud.shape[1] != 3:
            raise ValueError(
                f"fragment {index} is {list(cloud.shape)}, expected points [N,3]: this model is of "
                "solids, and takes no pictures"
            )
        if len(cloud) < FEWEST_POINTS:
            raise ValueError(
                f"fragment {index} has {len(cloud)} points, expected at least {FEWEST_POINTS}"
            )
        if not np.isfinite(cloud).all():
            raise ValueError(f"fragment {index} has numbers that are not finite")
        if not np.ptp(cloud, axis=0).any():
            raise ValueError(f"the points of fragment {index} are all the same")
    return clouds
