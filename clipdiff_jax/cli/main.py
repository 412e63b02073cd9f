"""`clipdiff`: one front door, and behind each name a module with that command.

A module of a command has `add_arguments(parser)` and `run(args)`. It is imported when it is asked
for, so that `clipdiff --help` and a misspelt name are answered at once.
"""

import functools
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import clipdiff_jax
from clipdiff_jax.cli import saying
from clipdiff_jax.cli.parser import Parser, UsageError
from clipdiff_jax.cli.signals import Told, stoppable
from clipdiff_jax.core.config import nearest

MISTAKE, STOPPED = 2, 130


@dataclass(frozen=True)
class Command:
    """The module of a command, below `clipdiff_jax.cli`, and one line on what it does.

    result: whether it has one that `--json` prints. quick: whether it computes nothing, and so is
    answered without jax.
    """

    module: str
    help: str
    result: bool = True
    quick: bool = False

    def parser(self, prog: str) -> Parser:
        """What reads its command line; imports its module."""
        parser = Parser(prog=prog, description=f"{self.help[0].upper()}{self.help[1:]}.")
        importlib.import_module(f"clipdiff_jax.cli.{self.module}").add_arguments(parser)
        if not self.quick:
            saying.add_arguments(parser, result=self.result)
        return parser


@dataclass(frozen=True)
class Group:
    """Commands by name, and one line on what they have in common."""

    help: str
    commands: "Mapping[str, Command | Group]"


PICTURES: dict[str, Command | Group] = {
    "generate": Command("generate", "make new pictures, with or without prompts"),
    "edit": Command("edit", "edit pictures with a learned edit"),
    "guide": Command("guide", "make pictures of texts with an unconditional model, by CLIP"),
    "vary": Command("vary", "make variations of pictures with an unCLIP"),
    "interpolate": Command(
        "interpolate", "interpolate from each picture to the next with an unCLIP"
    ),
    "textdiff": Command("textdiff", "change pictures from what one text says to what another says"),
    "reconstruct": Command(
        "reconstruct", "draw pictures from some of their embedding's principal components"
    ),
    "reassemble": Command("reassemble", "put the shuffled and turned pieces of a picture together"),
    "remake": Command("remake", "make pictures again from their records"),
}
EVALUATE = Group(
    "measure edits, models and pictures; each writes scores.json, scores.md, plot.png and grid.png",
    {
        "counterfactual": Command(
            "evaluate.counterfactual", "an edit of held-out avatars against the true changes"
        ),
        "reconstruction": Command(
            "evaluate.reconstruction",
            "how well inversion and generation reproduce held-out avatars",
        ),
        "generation": Command(
            "evaluate.generation", "whether pictures made from texts show what the texts name"
        ),
        "images": Command(
            "evaluate.images", "a set of pictures against another: FID, KID, CMMD, precision"
        ),
        "pairs": Command(
            "evaluate.pairs", "pictures against references of the same names: PSNR, SSIM, LPIPS"
        ),
        "grain": Command("evaluate.grain", "how noisy pictures are where they should be flat"),
        "zero-shot": Command(
            "evaluate.zero_shot", "what a CLIP of avatars knows: captions, and attributes by name"
        ),
        "reassembly": Command(
            "evaluate.reassembly", "how many pieces of held-out faces are put right"
        ),
        "layout": Command(
            "evaluate.layout", "pictures of a layout: whether things are where they should be"
        ),
        "shapes": Command(
            "evaluate.shapes", "coloured shapes by each way to steer: binding and layout, counted"
        ),
        "texts": Command(
            "evaluate.texts", "pictures against their captions: CLIP score, retrieval; S_dir"
        ),
    },
)
WATERMARK = Group(
    "watermarks in the noise that pictures are drawn from",
    {
        "new": Command("watermark.new", "make a key, for `clipdiff generate --watermark`"),
        "detect": Command("watermark.detect", "look for a key's mark in pictures"),
        "calibrate": Command(
            "watermark.calibrate", "measure how often pictures without a mark look as marked"
        ),
    },
)
TRAIN = Command("train", "train any stage from a recipe: a model, a prior, an edit")
SAMPLE = Group("make pictures, and make them again", PICTURES)
CLIPDIFF = Group(
    "CLIP-driven diffusion in JAX: edit pictures by text, and make them from text",
    {
        "train": TRAIN,
        **PICTURES,
        "watermark": WATERMARK,
        "sheet": Command("sheet", "contact sheets of the pictures in folders"),
        "verify": Command("verify", "say what picture files tell of where they come from"),
        "evaluate": EVALUATE,
        "app": Command(
            "app.command", "a page in the browser: edit, draw, vary, interpolate", result=False
        ),
        "convert": Command("convert", "convert a model from one weight layout into another"),
        "push": Command("push", "write a model into a repository of the Hugging Face Hub"),
        "list": Command("listing", "name the models and edits that are here, with their sizes"),
        "clean": Command("clean", "delete what is kept to be quick, once that is agreed to"),
        "embed": Command("embed", "embed the pictures of a data set with CLIP, once"),
        "completion": Command(
            "completion.command",
            "print what makes a shell complete commands and options",
            result=False,
            quick=True,
        ),
        "data": Command("data", "write avatars as a folder, or prepare a data set by name"),
    },
)


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "clipdiff",
    target: Command | Group = CLIPDIFF,
) -> int:
    """Runs a command line and returns its exit status.

    0 is success, 2 a mistake that the user can correct, with one line on standard error, 130 a
    run that was stopped by Ctrl-C, 143 one that was told to end by SIGTERM (129: by SIGHUP).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        while isinstance(target, Group):
            if not words:
                raise UsageError(f"{prog} needs a command (see {prog} --help)")
            if words[0] in ("-h", "--help"):
                print(_help(prog, target))
                return 0
            if words[0] == "--version":
                print(f"clipdiff_jax {clipdiff_jax.__version__}")
                return 0
            name = words.pop(0)
            if name not in target.commands:
                raise UsageError(
                    f"{prog} has no command '{name}'.{nearest(name, target.commands)} "
                    f"(see {prog} --help)"
                )
            prog, target = f"{prog} {name}", target.commands[name]
        return _run(target, prog, words)
    except KeyboardInterrupt as stop:
        print(f"stopped: {stop}" if str(stop) else "stopped", file=sys.stderr)
        return stop.status if isinstance(stop, Told) else STOPPED
    except BrokenPipeError:  # whoever reads the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE


train = functools.partial(main, prog="train.py", target=TRAIN)
sample = functools.partial(main, prog="sample.py", target=SAMPLE)
evaluate = functools.partial(main, prog="evaluate.py", target=EVALUATE)


def _run(command: Command, prog: str, words: Sequence[str]) -> int:
    args = command.parser(prog).parse_args(words)
    module = importlib.import_module(f"clipdiff_jax.cli.{command.module}")
    if command.quick:
        module.run(args)
        return 0
    # These import jax or tqdm, which a mistake in the command line need not wait for.
    from clipdiff_jax.core.compilation import enable_compilation_cache
    from clipdiff_jax.core.log import console

    enable_compilation_cache()
    name = prog.partition(" ")[2] or prog.removesuffix(".py")
    with console(quiet=args.quiet), stoppable(), saying.speaking(args, name):
        module.run(args)
    return 0


def _help(prog: str, group: Group) -> str:
    width = max(len(name) for name in group.commands)
    lines = [f"  {name:<{width}}  {one.help}" for name, one in group.commands.items()]
    return "\n".join(
        [
            f"usage: {prog} COMMAND ...",
            "",
            f"{group.help[0].upper()}{group.help[1:]}.",
            "",
            *lines,
            "",
            f"{prog} COMMAND --help says more; {prog} --version is the version.",
        ]
    )
