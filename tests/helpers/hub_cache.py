"""A local cache of the Hugging Face Hub with repositories in it, and no network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMIT = "0" * 40


def place(cache: Path, name: str) -> Path:
    """The folder for the files of a repository, which is made by whoever writes them."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    return repository / "snapshots" / COMMIT


@contextmanager
def offline(cache: Path) -> Iterator[None]:
    """Within, repositories are those of the cache, as with HF_HUB_CACHE and HF_HUB_OFFLINE."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield
