"""`clipdiff train`: read the recipe, build the stage, fit it."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipdiff_jax.cli.arguments import add_data, with_data
from clipdiff_jax.cli.on_targets import add_target, report_on, targets_of
from clipdiff_jax.cli.saying import note, tell
from clipdiff_jax.core.checks import MissingExtra
from clipdiff_jax.core.config import apply_overrides
from clipdiff_jax.core.devices import join_hosts
from clipdiff_jax.core.recipes import load_config, recipe_names, recipes_folder
from clipdiff_jax.training.compiled import dry_run
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.stage import Stage, StageConfig
from clipdiff_jax.training.targets.names import Target
from clipdiff_jax.training.targets.training import describe_step
from clipdiff_jax.training.workdir import check_workdir, describe_workdir

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe, its overrides, and the folder of the run."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _epilog()
    parser.add_argument(
        "--config", required=True, metavar="RECIPE",
        help="a recipe by name, such as avatars/edit_smile, or the path of one of your own",
    )  # fmt: skip
    add_data(parser)
    parser.add_argument(
        "--workdir", metavar="FOLDER",
        help="where checkpoints, log and model go; a run that was started there resumes",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="compile one step, print parameters, FLOPs and memory per device, and stop",
    )
    add_target(parser)


def run(args: argparse.Namespace) -> None:
    """Trains what the recipe describes."""
    if not args.dry_run and not args.workdir:
        raise ValueError("--workdir is needed (or --dry-run)")
    targets = targets_of(args)
    config = _config(args.config, args.data, args.overrides)
    if targets:
        asked = {"config": args.config, "data": args.data, "overrides": args.overrides}
        report_on(targets, {"command": "train", **asked})
        return
    join_hosts(config.train.mesh)
    if args.dry_run:
        needed = dry_run(_shapes_of(config.stage), config.train)
        return tell(needed.pop("text"), **needed)
    stage = config.stage.build()
    workdir, data = Path(args.workdir), stage.source.fingerprint
    check_workdir(config, data, workdir)
    state = fit(
        stage, config.train, workdir, started=lambda: describe_workdir(config, data, workdir)
    )
    done = int(state.step)
    model = workdir / "model"
    note(
        f"{done} steps are done, in '{workdir}'",
        workdir=str(workdir),
        steps=done,
        model=str(model) if model.is_dir() else None,
    )


def _shapes_of(config: StageConfig) -> Stage:
    """The stage, to compile a step of: without its data where this installation cannot read it."""
    try:
        return config.build(only_shapes=True)
    except MissingExtra as missing:
        logger.warning("%s. The step is compiled without the data", missing)
        return config.outline()


def study_on(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    """What a step of a recipe takes on a target: as text, and as numbers.

    The request: "config", "overrides", and "data" where other data is given.
    """
    run = _config(request["config"], request.get("data"), request["overrides"])
    return describe_step(run.stage.outline(), run.train, target)


def _config(name: str, data: str | None, overrides: Sequence[str]) -> RunConfig:
    """The recipe, with the data and then the overrides that are given."""
    config = load_config(name, RunConfig)
    if data is not None:
        config = replace(config, stage=with_data(config.stage, data))
    return apply_overrides(config, overrides)


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
