"""What `--dry-run --target` does: a command is compiled for devices that are not here.

Each target is compiled in a process of its own, for compilers read their environment when they are
loaded, and give up as a whole where they give up. The process reads a request as JSON from standard
input and writes a reply to standard output: `python -m clipdiff_jax.cli.on_targets h100:8`.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from clipdiff_jax.cli.saying import tell
from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.training.targets.compilers import check_compiler, environment
from clipdiff_jax.training.targets.names import Target, read_target, read_targets

Request = dict[str, Any]
HELP = (
    "with --dry-run: compile for these devices, which need not be here, and say what it takes "
    "there; such as h100:8, a100:8, v5e:2x4, v5p:2x2x2, v6e:2x4, cpu:8, or several with commas"
)


def add_target(parser: argparse.ArgumentParser) -> None:
    """The option that names the targets."""
    parser.add_argument("--target", metavar="TARGETS", help=HELP)


def targets_of(args: argparse.Namespace) -> list[Target]:
    """The targets that were given; none where no option is.

    Raises `ValueError` without `--dry-run`, and for a target or a compiler that does not exist.
    """
    if args.target is None:
        return []
    if not args.dry_run:
        raise ValueError("--target is for --dry-run: nothing is run on devices that are not here")
    targets = read_targets(args.target)
    for target in targets:
        check_compiler(target)
    return targets


def report_on(targets: Sequence[Target], request: Request) -> None:
    """Prints what a request takes on each target.

    Raises `ValueError` where it cannot be compiled for one of them, once all are done.
    """
    mistakes = []
    for target in targets:
        try:
            study = ask(target, request)
        except ValueError as error:
            mistakes.append(f"{target.name}: {error}")
        else:
            tell(f"{study['text']}\n", targets=[{"target": target.name, **study}])
    if mistakes:
        raise ValueError("; ".join(mistakes))


def ask(target: Target, request: Request) -> dict[str, Any]:
    """The reply to a request of a process that compiles for one target.

    Raises `ValueError` with what it says is wrong, or the last line of its standard error.
    """
    variables = dict(os.environ)
    for name, value in environment(target).items():
        variables.pop(name, None)
        if value:
            variables[name] = value
    done = subprocess.run(
        [sys.executable, "-m", "clipdiff_jax.cli.on_targets", target.name],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=variables,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise ConfigError(f"the compiler failed: {_why(done.returncode, done.stderr)[:500]}")
    reply = json.loads(lines[-1])
    if "error" in reply:
        raise ConfigError(reply["error"])
    return reply


def _why(status: int, stderr: str) -> str:
    """The line that says why a process ended so; XLA's own notes (E0000 ...) go on before it."""
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    said = stderr.strip().splitlines() or [f"its process ended with status {status}"]
    errors = [line for line in said if re.match(r"[\w.]*Error\b|F\d{4} |.*FATAL", line)]
    return (errors or said)[-1]


def _train(request: Request, target: Target) -> dict[str, Any]:
    from clipdiff_jax.cli.train import study_on

    return study_on(target, request)


def _generate(request: Request, target: Target) -> dict[str, Any]:
    from clipdiff_jax.cli.generation_on import study_on

    return study_on(target, request)


_STUDIES: dict[str, Callable[[Request, Target], dict[str, Any]]] = {
    "train": _train,
    "generate": _generate,
}


def main() -> None:
    """Reads a request, compiles, writes the reply."""
    request, target = json.load(sys.stdin), read_target(sys.argv[1])
    try:
        reply = _STUDIES[request["command"]](request, target)
    except (ValueError, OSError) as error:
        reply = {"error": " ".join(str(error).split())}
    except RuntimeError as error:  # XLA's, whose message goes on with where it was
        reply = {"error": f"the compiler failed: {str(error).strip().splitlines()[0]}"}
    print(json.dumps(reply))


if __name__ == "__main__":
    main()
