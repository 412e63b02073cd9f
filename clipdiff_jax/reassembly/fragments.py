"""What a walk of fragments comes to: where each of them belongs in the solid.

The published measures of an object, with R and tau of each of its parts (Sellan et al. 2022, arXiv
2210.11463; DiffAssemble, arXiv 2402.19302, section 4.2):

RMSE(R)   root mean square of the differences of the three Euler angles (zyx), in degrees
GD        the angle between both rotations, in degrees
RMSE(T)   root of the mean of the squared differences of the translation
PA        share of parts whose placed points have a two-way mean squared distance to their nearest
          neighbours, among those placed right, below 0.01
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from clipdiff_jax.data.fragments import as_clouds, own_frame, resampled
from clipdiff_jax.models.points import PointsConfig, as_pose
from clipdiff_jax.models.poses import PosesConfig

RIGHT = 0.01  # of PA
Rotations = Float[np.ndarray, "p 3 3"]
Translations = Float[np.ndarray, "p 3"]


@dataclass(frozen=True, eq=False)
class Placement:
    """Where P fragments belong: x = rotation y + translation for points y about their mean.

    Attributes:
      fragments: as they were given.
      rotations, translations: of each.
    """

    fragments: list[Float[np.ndarray, "_ 3"]]
    rotations: Rotations
    translations: Translations

    @property
    def placed(self) -> list[Float[np.ndarray, "_ 3"]]:
        """The points of each fragment where they belong."""
        return [
            (cloud - cloud.mean(0)) @ rotation.T + translation
            for cloud, rotation, translation in zip(
                self.fragments, self.rotations, self.translations, strict=True
            )
        ]


@dataclass(frozen=True)
class FragmentScores:
    """The measures above, means over objects."""

    rmse_rotation: float
    geodesic: float
    rmse_translation: float
    part_accuracy: float


class Fragments(NamedTuple):
    """Fragments as they were given, and as a model sees them: points drawn of each, about their
    mean and in their own frame, as `data.fragments.fragment_transform` has them."""

    clouds: list[Float[np.ndarray, "_ 3"]]
    batch: dict[str, np.ndarray]
    frames: Rotations
    centres: Translations  # the means of the points that were drawn

    def placed(self, state: Float[np.ndarray, "p d"]) -> Placement:
        """Where they belong by the poses at the end of a walk."""
        rotations, translations = read_poses(state, self.frames)
        apart = np.stack([cloud.mean(0) for cloud in self.clouds]) - self.centres
        moved = (rotations @ apart[..., None])[..., 0]
        return Placement(self.clouds, rotations, translations + moved)


def as_fragments(pieces: Any, config: PosesConfig) -> Fragments:
    """A batch of one object, and what takes its poses back to the clouds that were given.

    Raises `ValueError` for clouds that are none, and for more of them than the model takes.
    """
    assert isinstance(config.encoder, PointsConfig)
    clouds, most = as_clouds(pieces), config.max_pieces
    if len(clouds) > most:
        raise ValueError(
            f"{len(clouds)} fragments are more than the {most} that the model takes (max_pieces)"
        )
    known = np.zeros((1, most, config.encoder.points, 3), np.float32)
    frames, centres = [], []
    for index, cloud in enumerate(clouds):
        # The same points whatever comes before, so that the answer is a function of the pieces.
        drawn = resampled(cloud, config.encoder.points, np.random.default_rng(0))
        centres.append(drawn.mean(0))
        centred = drawn - centres[-1]
        frames.append(own_frame(centred))
        known[0, index] = centred @ frames[-1]
    mask = (np.arange(most) < len(clouds))[None]
    batch = {"pieces": known, "mask": mask}
    return Fragments(clouds, batch, np.stack(frames), np.stack(centres))


def read_poses(
    state: Float[np.ndarray, "p d"], frames: Rotations
) -> tuple[Rotations, Translations]:
    """Rotations of the fragments as they were given, and translations."""
    pose = np.asarray(as_pose(jnp.asarray(state)))
    return pose[:, 3:].reshape(-1, 3, 3) @ frames.swapaxes(-1, -2), pose[:, :3]


def euler(rotations: Rotations) -> Float[np.ndarray, "p 3"]:
    """Angles about z, y and x in degrees, with R = Rz Ry Rx."""
    z = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    y = np.arcsin(np.clip(-rotations[:, 2, 0], -1, 1))
    x = np.arctan2(rotations[:, 2, 1], rotations[:, 2, 2])
    return np.degrees(np.stack([z, y, x], -1))


def geodesic(one: Rotations, other: Rotations) -> Float[np.ndarray, " p"]:
    """The angle between two rotations in degrees."""
    cosine = (np.trace(one.swapaxes(-1, -2) @ other, axis1=-2, axis2=-1) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def chamfer(one: Float[np.ndarray, "n 3"], other: Float[np.ndarray, "m 3"]) -> float:
    """The two mean squared distances to nearest neighbours, together."""
    there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    return float((there**2).mean() + (back**2).mean())


def score_fragments(
    clouds: Float[np.ndarray, "p m 3"],
    found: tuple[Rotations, Translations],
    truth: tuple[Rotations, Translations],
) -> FragmentScores:
    """Of one object, whose clouds are about their means."""
    (r, tau), (true_r, true_tau) = found, truth
    wrapped = (euler(r) - euler(true_r) + 180) % 360 - 180
    place = lambda cloud, rotation, translation: cloud @ rotation.T + translation
    right = [
        chamfer(place(cloud, a, b), place(cloud, c, d)) < RIGHT
        for cloud, a, b, c, d in zip(clouds, r, tau, true_r, true_tau, strict=True)
    ]
    return FragmentScores(
        float(np.sqrt((wrapped**2).mean(1)).mean()),
        float(geodesic(r, true_r).mean()),
        float(np.sqrt(((tau - true_tau) ** 2).mean(1)).mean()),
        float(np.mean(right)),
    )
