"""The command behind `sample.py`: make new pictures, edit or vary them, and more; or remake them.

Every subcommand is a module of `sampling/`; here are the parser and `remake`, which starts from
the records that say how pictures were made.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clipdiff_jax.cli import edit as editing
from clipdiff_jax.cli import manipulations, prompts, unconditional
from clipdiff_jax.cli import vary as variations
from clipdiff_jax.cli.command import run_command
from clipdiff_jax.cli.make import Kind, make
from clipdiff_jax.cli.results import save_square
from clipdiff_jax.cli.sources import digest
from clipdiff_jax.cli.unclip_model import INVERTED_STEPS, steps_of
from clipdiff_jax.cli.unclip_model import STEPS as DECODER_STEPS
from clipdiff_jax.core.config import nearest
from clipdiff_jax.pictures.records import Record, RecordError, read_records
from clipdiff_jax.unclip.parts import is_unclip
from clipdiff_jax.weights.loading import DEMO

# What computes the records of each subcommand; those with a prompt are `prompts`'.
KINDS: dict[str, Kind] = {
    "edit": editing.KIND,
    "generate": unconditional.KIND,
    "vary": variations.KIND,
    **manipulations.KINDS,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status, see `run_command`."""
    return run_command(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sample.py", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    edit = commands.add_parser("edit", help="edit pictures with what the edit stage learned")
    edit.set_defaults(run=editing.run_edit)
    generate = commands.add_parser("generate", help="new pictures, of prompts or of none")
    generate.set_defaults(run=run_generate)
    vary = commands.add_parser("vary", help="make variations of pictures with an unCLIP model")
    vary.set_defaults(run=variations.run_vary)
    interpolate = commands.add_parser(
        "interpolate", help="go from each picture to the next with an unCLIP model"
    )
    interpolate.set_defaults(run=manipulations.run_interpolate)
    textdiff = commands.add_parser(
        "textdiff", help="turn pictures from one text to another with an unCLIP model"
    )
    textdiff.set_defaults(run=manipulations.run_textdiff)
    reconstruct = commands.add_parser(
        "reconstruct", help="draw pictures from a part of their embedding's dimensions"
    )
    reconstruct.set_defaults(run=manipulations.run_reconstruct)
    remake = commands.add_parser("remake", help="make pictures again from what they say of it")
    remake.set_defaults(run=run_remake)

    of_unclip = (vary, interpolate, textdiff, reconstruct)
    for command in (edit, *of_unclip):
        command.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")
    remake.add_argument("records", type=Path, help="a manifest.jsonl, its folder, or one PNG")
    generate.add_argument(
        "--count", type=int, help=f"pictures ({unconditional.COUNT}; 1 for each prompt)"
    )
    generate.add_argument("--eta", type=float, default=0.0, help="DDIM's noise, 0 to 1")
    editing.add_edit_options(edit)
    prompts.add_prompt_options(generate)
    variations.add_vary_options(vary)
    manipulations.add_interpolate_options(interpolate)
    manipulations.add_textdiff_options(textdiff)
    manipulations.add_reconstruct_options(reconstruct)

    for command in (edit, *of_unclip):
        command.add_argument(
            "--on-error", choices=("skip", "stop"), default="skip",
            help="what to do about pictures that cannot be read (default: name and skip them)",
        )  # fmt: skip
    for command in (edit, generate, *of_unclip):
        command.add_argument(
            "--model", default=DEMO, help="'demo' (default), a folder, or a repository of the Hub"
        )
    defaults = {
        edit: f"{unconditional.STEPS}",
        generate: f"{unconditional.STEPS}; {DECODER_STEPS} of a decoder",
        vary: f"{DECODER_STEPS}",
        **{command: f"{INVERTED_STEPS}" for command in of_unclip[1:]},
    }
    for command, steps in defaults.items():
        command.add_argument(
            "--steps", type=int if command is edit else steps_of,
            help=f"evaluations of the network ({steps})",
        )  # fmt: skip
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    for command in (*defaults, remake):
        command.add_argument("--out", type=Path, required=True, help="folder for the results")
        command.add_argument("--batch-size", type=int, default=16)
    return parser


def run_generate(args: argparse.Namespace) -> None:
    """`sample.py generate`."""
    if args.count is not None and args.count < 1:
        raise ValueError(f"--count must be at least 1, got {args.count}")
    if texts := prompts.read_prompts(args):
        return prompts.run_prompts(args, texts)
    given = [name for name in prompts.OPTIONS if getattr(args, name) is not None]
    if given or (args.model != DEMO and is_unclip(args.model)):
        reason = f"--{given[0].replace('_', '-')}" if given else f"the model '{args.model}'"
        raise ValueError(f"{reason} is for pictures from texts: give --prompt")
    if not isinstance(args.steps, int | None):
        raise ValueError(f"--steps {args.steps}: the model '{args.model}' takes one number")
    records = unconditional.sample_records(args)
    make(records, kind_of, args.out, args.batch_size)
    save_square(args.out, records)


def run_remake(args: argparse.Namespace) -> None:
    """`sample.py remake`."""
    records = read_records(args.records)
    for record in records:
        _check_unchanged(record)
    make(records, kind_of, args.out, args.batch_size)


def kind_of(record: Record) -> Kind:
    """What computes a record; raises `RecordError` for one of an unknown subcommand."""
    if record["command"] not in KINDS:
        raise RecordError(
            f"'{record['file']}' was made by '{record['command']}', not one of "
            f"{', '.join(KINDS)}.{nearest(record['command'], KINDS)}"
        )
    return prompts.KIND if "prompt" in record else KINDS[record["command"]]


def _check_unchanged(record: Record) -> None:
    """Raises ValueError where the model, an edit or a source is not what it was."""
    now = kind_of(record).fingerprint(record["model"], record["dtype"])
    pairs = [(record["model"], now, record["model_fingerprint"])]
    for path, then in zip(
        record.get("edits", ()), record.get("edit_fingerprints", ()), strict=True
    ):
        pairs.append((path, editing.edit_fingerprint(path), then))
    for name in ("source", "second_source"):
        if name in record:
            pairs.append((record[name], digest(Path(record[name])), record[f"{name}_sha256"]))
    for path, now, then in pairs:
        if now != then:
            raise ValueError(
                f"'{path}' has changed since '{record['file']}' was made: {now}, was {then}"
            )
