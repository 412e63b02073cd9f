"""`clipdiff push`: a model to the Hugging Face Hub, with a card that says what it is."""

import argparse
from pathlib import Path

from clipdiff_jax.cli.saying import note, tell
from clipdiff_jax.edit.model import is_ready, ready_folder
from clipdiff_jax.weights.card import About
from clipdiff_jax.weights.model_files import CARD
from clipdiff_jax.weights.publishing import check_licence, pack, push_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, the repository, and what the card says."""
    parser.add_argument(
        "folder", metavar="FOLDER",
        help="a model's folder, the work folder of a run, or a ready edit such as demo/smile",
    )  # fmt: skip
    parser.add_argument(
        "name",
        metavar="NAME",
        help="of the repository: organisation/name; made where there is none",
    )
    parser.add_argument(
        "--public", action="store_true",
        help="for everybody to see; needs --license (default: for its owners alone)",
    )  # fmt: skip
    said = parser.add_argument_group("what the model's card says")
    said.add_argument(
        "--license", "--licence", dest="licence", metavar="ID",
        help="by the Hub's name, such as cc-by-4.0 (not stated)",
    )  # fmt: skip
    said.add_argument(
        "--data", metavar="TEXT", help="what it was trained on (what its run's recipe tells)"
    )
    said.add_argument(
        "--base", metavar="NAME",
        help="the repository of the model that it was tuned from (what its config tells)",
    )  # fmt: skip
    said.add_argument(
        "--scores", type=Path, metavar="FOLDER", help="what `clipdiff evaluate` wrote of it (none)"
    )
    said.add_argument(
        "--picture", type=Path, metavar="FILE",
        help="an example of what it makes (the last preview of its run)",
    )  # fmt: skip
    parser.add_argument(
        "--include", nargs="+", default=[], metavar="FILE",
        help="files of the folder, beside the model's own, that go along (none)",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="send nothing, and say what would be sent"
    )


def run(args: argparse.Namespace) -> None:
    """Pushes the model, or says what would go."""
    about = About(
        licence=args.licence,
        data=args.data,
        base=args.base,
        scores=args.scores,
        picture=args.picture,
    )
    folder = ready_folder(args.folder) if is_ready(args.folder) else Path(args.folder)
    if args.dry_run:
        check_licence(not args.public, about)
        parcel = pack(folder, args.name, about, args.include)
        lines = [f"{size / 1e6:12.3f} MB  {name}" for name, size in parcel.sizes.items()]
        shown = parcel.written.get(CARD, b"").decode()
        said = [*lines, "", shown.rstrip()] if shown else lines
        return tell("\n".join(said), name=args.name, files=parcel.sizes, card=shown or None)
    address = push_folder(
        folder, args.name, private=not args.public, about=about, include=args.include
    )
    seen = "public" if args.public else "private"
    note(f"pushed to {address} ({seen})", name=args.name, address=address, private=not args.public)
