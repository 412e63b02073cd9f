"""`clipdiff train`: read the recipe, build the stage, fit it."""

import argparse
import json
import logging
from pathlib import Path

import jax

from clipdiff_jax.core.config import to_dict
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.core.recipes import load_config, recipe_names, recipes_folder
from clipdiff_jax.training.compiled import dry_run
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.loop import fit

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe, its overrides, and the folder of the run."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _epilog()
    parser.add_argument(
        "--config", required=True, metavar="RECIPE",
        help="a recipe by name, such as avatars/edit_smile, or the path of one of your own",
    )  # fmt: skip
    parser.add_argument(
        "--workdir", metavar="FOLDER",
        help="where checkpoints, log and model go; a run that was started there resumes",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="compile one step, print parameters, FLOPs and memory per device, and stop",
    )


def run(args: argparse.Namespace) -> None:
    """Trains what the recipe describes."""
    if not args.dry_run and not args.workdir:
        raise ValueError("--workdir is needed (or --dry-run)")
    config = load_config(args.config, RunConfig, args.overrides)
    if config.train.mesh.distributed:
        jax.distributed.initialize()
    stage = config.stage.build(only_shapes=args.dry_run)
    if args.dry_run:
        print(dry_run(stage, config.train))
        return
    _record(config, Path(args.workdir))
    fit(stage, config.train, args.workdir)


def _epilog() -> str:
    """How overrides are written, and the recipes that there are."""
    names = recipe_names()
    width = max(map(len, names), default=0)
    example = "--config.train.steps=100 --config.stage.data.size 32"
    return "\n".join(
        [
            f"Any field of a recipe can be set: {example}",
            "",
            f"Recipes in {recipes_folder()}:",
            *(f"  {name:<{width}}  {what}" for name, what in names.items()),
        ]
    )


def _record(config: RunConfig, workdir: Path) -> None:
    """Keeps the config beside the run; says what changed where the run was started with another."""
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
                    "%s was %r when '%s' was started, is %r now",
                    key, before.get(key), str(workdir), now.get(key),
                )  # fmt: skip
    write_whole(path, (json.dumps(tree, indent=2) + "\n").encode())


def _leaves(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        leaves |= _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
