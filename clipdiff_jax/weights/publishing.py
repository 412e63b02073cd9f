"""Models to the Hugging Face Hub: one commit of a model's own files and its card.

Nothing is public unless that is said, nothing goes along that is not the model's, and a repository
that holds something else is left as it is. `hub` is the way back.
"""

import io
import json
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from PIL import Image

from clipdiff_jax.core.files import json_bytes
from clipdiff_jax.data.image_files import read_image, rgb
from clipdiff_jax.weights.card import (
    EXAMPLE,
    MARK,
    About,
    AboutOptions,
    card,
    kind_in,
    kind_of_document,
)
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME, read_config
from clipdiff_jax.weights.hub import DEMO, is_repository
from clipdiff_jax.weights.model_files import CARD, find_model_folder, model_files

LARGEST_EXAMPLE = 1024  # pixels of the longer side
logger = logging.getLogger(__name__)


class Parcel(NamedTuple):
    """What goes to a repository: files on disk by their names there, and contents by theirs."""

    files: dict[str, Path]
    written: dict[str, bytes]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each, sorted by name."""
        found = {name: path.stat().st_size for name, path in self.files.items()}
        found |= {name: len(content) for name, content in self.written.items()}
        return dict(sorted(found.items()))


class Pushable(ABC):
    """A model that can be saved, and so can be pushed."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Writes the model's folder."""

    def push_to_hub(self, name: str, *, private: bool = True, **about: Unpack[AboutOptions]) -> str:
        """Writes the model into the repository `name` ("organisation/name") of the Hugging Face
        Hub, which is made where there is none, and returns its address.

        Args:
          name: of the repository, by which `load_*` reads it back.
          private: whether only its owners see it.
          about: what its card says: licence, data, base, scores, picture, see `weights.card.About`.

        Raises as `push_folder` does.
        """
        said = About(**about)
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / "model")
            return push_folder(Path(folder) / "model", name, private=private, about=said)


def push_folder(
    source: str | Path,
    name: str,
    *,
    private: bool = True,
    about: About | None = None,
    include: Sequence[str] = (),
) -> str:
    """Writes a model's folder into a repository of the Hub and returns the repository's address.

    Args:
      source: a model's folder, or the work folder of a run, of which only the model goes.
      name: "organisation/name"; the repository is made where there is none.
      private: whether only its owners see it; a public one needs a licence.
      about: what the card says.
      include: files of the folder beside the model's that go along.

    Raises `WeightsError` for a folder with other files, see `model_files`, for a repository that
    holds another kind of model, that is public where `private` is asked for, or that may not be
    written.
    """
    parcel = pack(source, name, about or About(), include)
    check_licence(private, about or About())
    kind = kind_in(find_model_folder(source))
    api = HfApi()
    try:
        kept = _prepare(api, name, kind, private)
        contents: dict[str, Path | bytes] = {**parcel.files, **parcel.written}
        if kept and CARD in parcel.written:
            logger.info("the card of '%s' is not of clipdiff_jax's writing: it stays", name)
            contents.pop(CARD)
        api.create_commit(
            name,
            [CommitOperationAdd(file, content) for file, content in sorted(contents.items())],
            commit_message=f"Upload of a model of the kind '{kind}' with clipdiff_jax",
        )
    except OfflineModeIsEnabled as error:
        raise WeightsError(
            f"'{name}' cannot be pushed: the Hugging Face Hub is out of reach (HF_HUB_OFFLINE)"
        ) from error
    except HfHubHTTPError as error:
        raise WeightsError(_refused(name, error)) from error
    return f"{api.endpoint}/{name}"


def pack(source: str | Path, name: str, about: About, include: Sequence[str] = ()) -> Parcel:
    """What would be pushed; nothing is sent. Raises `WeightsError` as `push_folder` does."""
    if not is_repository(name):
        raise WeightsError(f"'{name}' is no name of a repository, expected organisation/name")
    folder = find_model_folder(source)
    files = model_files(folder, include)
    written: dict[str, bytes] = {}
    stored = read_config(folder) if (folder / CONFIG_NAME).is_file() else {}
    config = _shown(stored, about)
    if config != stored:
        written[CONFIG_NAME] = json_bytes(config)
    picture = about.picture if about.picture is not None else _preview_of(folder)
    if picture is not None:
        written[EXAMPLE] = _example(picture)
    own = folder / CARD
    if not own.is_file() or MARK in own.read_text(encoding="utf-8", errors="replace"):
        text = card(folder, files, name, about, config, example=picture is not None)
        written[CARD] = text.encode()
    return Parcel({one: folder / one for one in files if one not in written}, written)


def check_licence(private: bool, about: About) -> None:
    """Raises `WeightsError` for a public repository without a licence."""
    if not private and about.licence is None:
        raise WeightsError(
            "a public model needs a licence, without which nobody may use it: say which (licence, "
            "--license), or push it as private"
        )


def _shown(config: dict[str, Any], about: About) -> dict[str, Any]:
    """The config as others see it: with the base's repository in place of a path of ours."""
    place = config.get("base_source")
    if not isinstance(place, str) or not place:
        return config
    if about.base is not None:
        return {**config, "base_source": about.base}
    if place == DEMO or (is_repository(place) and not Path(place).expanduser().exists()):
        return config
    logger.warning(
        "the base of this edit is '%s', a path of this machine: it is left out. If it is on the "
        "Hub, say so (base)", place,
    )  # fmt: skip
    return {name: value for name, value in config.items() if name != "base_source"}


def _preview_of(folder: Path) -> Path | None:
    """The last picture that the run beside a model has drawn."""
    previews = sorted((folder.parent / "previews").glob("*.png")) if folder.name == "model" else []
    return previews[-1] if previews else None


def _example(picture: str | Path | Image.Image) -> bytes:
    """A picture as a PNG of moderate size, without what its file said of itself."""
    pixels = rgb(picture) if isinstance(picture, Image.Image) else read_image(picture)
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST_EXAMPLE, LARGEST_EXAMPLE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _prepare(api: HfApi, name: str, kind: str, private: bool) -> bool:
    """Makes the repository where there is none; returns whether its card is another's.

    Raises `WeightsError` for one that is not to be written into.
    """
    try:
        info = api.model_info(name)
    except RepositoryNotFoundError:
        api.create_repo(name, private=private)
        return False
    if private and info.private is False:
        raise WeightsError(f"the repository '{name}' is public: say that it is to be, or hide it")
    there = {one.rfilename for one in info.siblings or ()}
    if CONFIG_NAME in there:
        found = kind_of_document(json.loads(_fetched(api, name, CONFIG_NAME)))
        if found != kind:
            raise WeightsError(
                f"the repository '{name}' holds a model of the kind '{found}', this is of the kind "
                f"'{kind}': choose another name"
            )
    return CARD in there and MARK not in _fetched(api, name, CARD)


def _fetched(api: HfApi, name: str, file: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(name, file, local_dir=folder)
        return Path(path).read_text(encoding="utf-8", errors="replace")


def _refused(name: str, error: HfHubHTTPError) -> str:
    status = getattr(error.response, "status_code", None)
    if status in (401, 403):
        return (
            f"'{name}' may not be written: set HF_TOKEN to a token with write access to "
            f"'{name.partition('/')[0]}' (huggingface.co/settings/tokens), or run `hf auth login`"
        )
    return f"pushing to '{name}' failed: {error}"
