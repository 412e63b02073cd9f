"""Pictures from files and into files, for notebooks and scripts.

What is read are float32 arrays in [-1, 1]; what is written never takes another file's place.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.data.alignment import Crop, cut
from clipdiff_jax.data.faces import Align, FaceFinder, chosen, doubts
from clipdiff_jax.data.image_files import EXTENSIONS, find_images, read_image
from clipdiff_jax.data.images import Pictures, read_pictures
from clipdiff_jax.data.transforms import square, to_float, to_uint8
from clipdiff_jax.pictures.labels import check_source_type
from clipdiff_jax.pictures.saving import FORMATS, encoded
from clipdiff_jax.pictures.signing import Made, Signer

logger = logging.getLogger(__name__)
Batch = Float32[np.ndarray, "n h w 3"]


def load_images(
    paths: str | Path | Sequence[str | Path], size: int | None = None, align: bool | Align = False
) -> Batch | list[Float32[np.ndarray, "_ _ 3"]]:
    """Reads pictures as float32 in [-1, 1], upright RGB, see `data.image_files.read_image`.

    Args:
      paths: a file, a folder (all pictures below it, by name), or a list of these.
      size: of the middle squares that pictures are brought to; None leaves them as they are.
      align: cut out faces as models of faces expect them (`data.alignment`): True or "largest" the
        largest of each picture, "all" all of them. Pictures without a face are named in a warning
        and left out. Needs the extra `[faces]`.

    Returns [N,H,W,3] where all have one size, as with `size`, else a list of [H,W,3]. Raises
    `FileNotFoundError` for what is not there and a folder without pictures, `UnreadableImage`, a
    `ValueError`, for a file that is damaged or no picture, and `ValueError` where no face is found.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    files = [file for path in given for file in _files(Path(path).expanduser())]
    if not files:
        raise ValueError("no paths are given")
    if size is not None:
        whole_number("size", size, low=1)
    if align and align != "none":
        found = _faces(files, size, "largest" if align is True else align)
        images = [to_float(one) for one in found]
    else:
        levels = (read_image(file) for file in files)
        images = [to_float(one if size is None else square(one, size)) for one in levels]
    return np.stack(images) if len({one.shape for one in images}) == 1 else images


def save_images(
    images: Pictures,
    folder: str | Path,
    names: Sequence[str] | None = None,
    *,
    source_type: str | None = None,
    signer: Signer | None = None,
) -> list[Path]:
    """Writes pictures into a folder, which is made where there is none; returns their paths.

    Args:
      images: see `data.images.as_images`; those of a list may have different sizes.
      folder: where to.
      names: one for each, in the format that its ending says (.png, .jpg, .webp; none is .png);
        by default 00000.png and so on.
      source_type: what the files say of the pictures: "trainedAlgorithmicMedia" that a model drew
        them, "compositeWithTrainedAlgorithmicMedia" that it changed them, see `pictures.labels`.
        None says nothing: whose pictures these are is not known here.
      signer: who signs a manifest that says so too, see `pictures.signing`.

    Nothing is overwritten: where a file of any of the names exists, nothing is written. Raises
    `FileExistsError` for that, and `ValueError` for names that are too few, twice the same, not in
    the folder, or have another ending.
    """
    pictures = [picture for batch in read_pictures(images) for picture in np.asarray(batch)]
    folder = Path(folder).expanduser()
    meant = None if source_type is None else check_source_type(source_type)
    if signer is not None and source_type is None:
        raise ValueError("a signed manifest says what pictures are: give `source_type` too")
    if names is None:
        names = [f"{index:05d}.png" for index in range(len(pictures))]
    paths = [folder / _file_name(name) for name in names]
    if len(paths) != len(pictures):
        raise ValueError(f"{len(pictures)} images need as many names, got {len(paths)}")
    if twice := [path.name for path in paths if paths.count(path) > 1]:
        raise ValueError(f"two images have the name '{twice[0]}'")
    if there := [path for path in paths if path.exists()]:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise FileExistsError(f"'{there[0]}'{more} exists: choose another folder or other names")
    for path, picture in zip(paths, pictures, strict=True):
        made = None if meant is None else Made(path.name, meant)
        kind = FORMATS[path.suffix.lower()]
        write_whole(path, encoded(to_uint8(picture), kind, made=made, signer=signer))
    return paths


def _faces(files: Sequence[Path], size: int | None, align: Align) -> list[Crop]:
    """The faces of pictures, each at `size` or at the size that it has."""
    finder = FaceFinder.load()
    crops = []
    for file in files:
        image = read_image(file)
        faces = chosen(finder.find(image), align)
        if not faces:
            logger.warning("left out: no face is found in '%s'", file)
        for face in faces:
            side = max(1, round(face.square.side)) if size is None else size
            for doubt in doubts(face, side) if size is not None else ():
                logger.warning("'%s': a face %s", file, doubt)
            crops.append(cut(image, face.square, side))
    if not crops:
        raise ValueError(f"no face is found in any of the {len(files)} pictures")
    return crops


def _files(path: Path) -> list[Path]:
    """The picture, or those of the folder."""
    if path.is_dir():
        found = list(find_images(path).paths)
        if not found:
            raise FileNotFoundError(f"no pictures in '{path}' ({', '.join(EXTENSIONS)})")
        return found
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FileNotFoundError(f"no picture or folder '{path}'.{nearest(path.name, beside)}")
    return [path]


def _file_name(name: str) -> str:
    if not name or Path(name).name != name:
        raise ValueError(f"'{name}' is not the name of a file in the folder")
    if not Path(name).suffix:
        return f"{name}.png"
    if Path(name).suffix.lower() not in FORMATS:
        raise ValueError(f"'{name}' has none of the endings {', '.join(FORMATS)}")
    return name
