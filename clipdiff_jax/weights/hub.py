"""Where a model comes from: a path on this machine, or a repository of the Hugging Face Hub.

Downloads go through huggingface_hub, so its cache, `HF_TOKEN` and `HF_HUB_OFFLINE` apply.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from clipdiff_jax.core.config import nearest
from clipdiff_jax.weights.errors import WeightsError

DEMO = "demo"  # names the built-in models
_REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
# Weights are looked for in this order, and the first kind that a repository has is downloaded.
_WEIGHTS = (
    ("*.safetensors", "*.safetensors.index.json"),
    ("*.bin", "*.bin.index.json"),
)
CONFIGS = ("*config.json", "model_index.json")
OTHER_FILES = ("*.json", "*.txt")  # what a model has beside its weights
_VARIANTS = ("*fp16*", "*non_ema*", "*openvino*", "*onnx*")
# The same model once more as a single file, beside the folders of a pipeline; and what is not run.
_AGAIN = ("*pruned*", "*nonema*", "*-v-ema.*", "*-base-ema.*", "sd_xl_*", "safety_checker/*")


def locate(
    source: str | Path, others: Sequence[str] = OTHER_FILES, revision: str | None = None
) -> Path:
    """The local path of `source`: itself if it exists, else the downloaded repository of that id.

    Args:
      source: file, folder, or "organisation/name".
      others: patterns of the files needed beside the weights.
      revision: branch, tag or commit of the repository; None for its main branch.

    Raises `WeightsError` that says what to do where there is no such path and no such repository,
    where it may not be read, and where the network is out of reach.
    """
    path = _local(source)
    if path is not None:
        return path
    name = str(source)
    for weights in _WEIGHTS:
        folder = _download(name, [*others, *weights], revision)
        if any(file for pattern in weights for file in folder.rglob(pattern)):
            return folder
    raise WeightsError(f"the repository '{name}' holds no .safetensors and no .bin weights")


def locate_files(source: str | Path, patterns: Sequence[str]) -> Path:
    """The same for files that are no weights, such as a tokenizer."""
    path = _local(source)
    return _download(str(source), list(patterns), None) if path is None else path


def locate_configs(source: str | Path) -> Path | None:
    """The path of `source`, of which a repository's configs alone are downloaded: enough to see
    what kind of model it is. None where there is no such path and no such repository."""
    try:
        return locate_files(source, CONFIGS)
    except WeightsError:
        return None


def is_repository(name: str) -> bool:
    """Whether a text has the form of a repository's name, "organisation/name"."""
    return _REPOSITORY.fullmatch(name) is not None


def _local(source: str | Path) -> Path | None:
    """The path of what is there; None for the id of a repository; else raises `WeightsError`."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    if not is_repository(str(source)) or path.is_absolute():
        raise WeightsError(f"no file or folder '{source}'.{_near(path)}")
    return None


def _near(path: Path) -> str:
    """The name most like it of what is beside it, and of the built-in models."""
    beside = [one.name for one in path.parent.glob("*")] if path.parent.is_dir() else []
    return nearest(path.name, [*beside, DEMO])


def _download(name: str, patterns: list[str], revision: str | None) -> Path:
    at = f" at revision '{revision}'" if revision else ""
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=patterns,
                ignore_patterns=[*_VARIANTS, *_AGAIN],
            )
        )
    except GatedRepoError as error:
        raise WeightsError(
            f"'{name}' may only be read by those who accepted its terms: do so on its page at "
            "huggingface.co, then set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"the repository '{name}' has no revision '{revision}'") from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"no folder '{name}' here and no such repository on the Hugging Face Hub (if it is "
            f"private, set HF_TOKEN).{_near(Path(name))}"
        ) from error
    except HfHubHTTPError as error:
        raise WeightsError(f"downloading '{name}'{at} failed: {error}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise WeightsError(
            f"no folder '{name}' here; as a repository{at} it is not in the local cache, and the "
            "Hugging Face Hub cannot be reached (offline, or HF_HUB_OFFLINE is set). Download it "
            f"elsewhere with `hf download {name}` and give the folder's path.{_near(Path(name))}"
        ) from error
