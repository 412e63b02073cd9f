"""A work folder belongs to what is learned in it, and to one trainer at a time.

`config.json` describes the run that a folder was started with, `data.json` the data it saw. A run
that goes on there must learn the same thing; how long, how fast and on how many devices it trains
may change, and is said.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from clipdiff_jax.core.config import ConfigError, from_dict, to_dict
from clipdiff_jax.core.files import json_bytes, write_whole
from clipdiff_jax.core.json_files import read_json
from clipdiff_jax.training.config import RunConfig

CONFIG, DATA, LOCK = "config.json", "data.json", ".lock"
# Fields of a stage that change neither what is learned nor from what.
FREE = (
    "dtype", "export_dtype", "remat", "parts", "preview_count", "preview_steps", "preview_guidance",
    "data.path", "data.data_dir", "data.download",
)  # fmt: skip
# Changes after which a resumed run is not bit for bit what an unbroken one would have been.
DRIFTING = ("train.batch_size", "train.accumulate", "train.mesh.data", "train.mesh.fsdp")

logger = logging.getLogger(__name__)


@contextmanager
def one_trainer(workdir: Path | None) -> Iterator[None]:
    """Keeps others from training in the folder meanwhile; None is no folder.

    The lock is the system's, so it is gone when the process is, however that ended. Raises
    `ConfigError` that names the process which holds it.
    """
    if workdir is None or jax.process_index() != 0:
        yield
        return
    with (workdir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ConfigError(
                f"process {file.read().strip()} is training in '{workdir}': wait for it or use "
                "another --workdir"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def check_workdir(config: RunConfig, fingerprint: str, workdir: Path) -> None:
    """Says what changed since the folder was started.

    fingerprint: of the data. Raises `ConfigError` that names the first field with both values where
    something else would be learned there, and where the data are others.
    """
    stored = workdir / DATA
    for name, before, now in _changes(config, workdir):
        field = name.removeprefix("stage.")
        # What a config says of the data matters where nothing is known of the data themselves.
        free = field in FREE or (field.startswith("data.") and stored.is_file())
        if name.startswith("stage.") and not free:
            raise ConfigError(
                f"'{workdir}' was started with {name}={before!r}, not {now!r}: that is another "
                "thing to learn. Use another --workdir"
            )
        note = " (no longer bit for bit the unbroken run)" if name in DRIFTING else ""
        logger.warning(
            "%s was %r when '%s' was started, is %r now%s",
            name,
            before,
            str(workdir),
            now,
            note,
        )
    if stored.is_file():
        known = _read_object(stored)
        of, devices = known.get("fingerprint"), known.get("devices", jax.device_count())
        if devices != jax.device_count():
            logger.warning(
                "'%s' was trained on %s device(s), now on %d: sums are in another order (no longer "
                "bit for bit the unbroken run)", workdir, devices, jax.device_count(),
            )  # fmt: skip
        if of != fingerprint:
            raise ConfigError(
                f"'{workdir}' was started with other data (fingerprint {of}, now {fingerprint}): "
                "pictures or captions have changed. Use another --workdir"
            )


def describe_workdir(config: RunConfig, fingerprint: str, workdir: Path) -> None:
    """Writes what the folder belongs to, unless that is what it says already."""
    if jax.process_index() != 0:
        return
    if not (workdir / CONFIG).is_file() or list(_changes(config, workdir)):
        write_whole(workdir / CONFIG, json_bytes(to_dict(config)))
    write_whole(
        workdir / DATA, json_bytes({"fingerprint": fingerprint, "devices": jax.device_count()})
    )


def _changes(config: RunConfig, workdir: Path) -> list[tuple[str, object, object]]:
    """(field, value before, value now) of every field that differs in meaning."""
    path = workdir / CONFIG
    if not path.is_file():
        return []
    before = _leaves(_in_todays_words(_read_object(path)))
    now = _leaves(to_dict(config))
    names = sorted(before.keys() | now.keys())
    return [(n, before.get(n), now.get(n)) for n in names if before.get(n) != now.get(n)]


def _read_object(path: Path) -> dict[str, Any]:
    """What a JSON file says. Raises `ConfigError` that names one that is no object."""
    try:
        stored = read_json(path)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(stored, dict):
        raise ConfigError(f"'{path}' holds a {type(stored).__name__}, expected an object")
    return stored


def _in_todays_words(stored: Any) -> Any:
    """A config as today's version would write it; as it is where today's cannot read it."""
    try:
        return to_dict(from_dict(RunConfig, stored))
    except ConfigError:
        return stored


def _leaves(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
