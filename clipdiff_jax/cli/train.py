"""The command behind `train.py`: read the config, build the stage, fit it."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from clipdiff_jax.core.compilation import enable_compilation_cache
from clipdiff_jax.core.config import ConfigError, load_config, split_overrides, to_dict
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.core.log import console
from clipdiff_jax.training.compiled import dry_run
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.loop import NotFinite, fit
from clipdiff_jax.weights.errors import WeightsError

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, or 1 with one line on standard error for
    whatever the user can put right."""
    argv, overrides = split_overrides(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Trains a stage. Any field of the config can be set: "
        "--config.train.steps=100 --config.stage.data.size=32",
    )
    parser.add_argument("--config", required=True, help="a recipe, such as configs/avatars/base.py")
    parser.add_argument("--workdir", help="where checkpoints, log and model go; resumes if used")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="compile one step, print parameters, FLOPs and memory a device, and stop",
    )
    args = parser.parse_args(argv)
    if not args.dry_run and not args.workdir:
        parser.error("--workdir is needed (or --dry-run)")
    try:
        with console():
            return _run(args, overrides)
    except (ConfigError, WeightsError, NotFinite, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace, overrides: list[str]) -> int:
    config = load_config(args.config, RunConfig, overrides)
    if config.train.mesh.distributed:
        jax.distributed.initialize()
    enable_compilation_cache()
    stage = config.stage.build(only_shapes=args.dry_run)
    if args.dry_run:
        print(dry_run(stage, config.train))
        return 0
    _record(config, Path(args.workdir))
    fit(stage, config.train, args.workdir)
    return 0


def _record(config: RunConfig, workdir: Path) -> None:
    """Keeps the config beside the run; says what changed where the run was begun with another."""
    if jax.process_index() != 0:
        return
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "config.json"
    tree = to_dict(config)
    if path.is_file():
        before = _leaves(json.loads(path.read_text()))
        now = _leaves(tree)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                logger.warning(
                    f"{key} was {before.get(key)!r} when '{workdir}' was begun, "
                    f"is {now.get(key)!r} now"
                )
    write_whole(path, (json.dumps(tree, indent=2) + "\n").encode())


def _leaves(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
