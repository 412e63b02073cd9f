"""`clipdiff app`: a page in the browser that runs the commands, for this machine alone."""

import argparse
import importlib.util
import threading

from clipdiff_jax.cli.app.page import build
from clipdiff_jax.cli.app.workshop import STEPS, Workshop
from clipdiff_jax.cli.arguments import DEMO, add_dtype, check_at_least, check_between
from clipdiff_jax.core.devices import announce_devices
from clipdiff_jax.edit.model import ready_edits

HOST, PORT = "127.0.0.1", 7860
EXTRA = "the page is drawn by gradio: pip install 'clipdiff-jax[app]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The models, and where the page is."""
    parser.add_argument(
        "--model", default=DEMO, metavar="MODEL",
        help="the model that edits: 'demo' (default), a folder, or a repository of the Hub",
    )  # fmt: skip
    parser.add_argument(
        "--edit", action="append", metavar="FOLDER",
        help="an edit with a slider of its own; repeat it for several (default, with the demo: the "
        "ready ones)",
    )  # fmt: skip
    parser.add_argument(
        "--unclip", default=DEMO, metavar="MODEL",
        help="the unCLIP that draws, varies and turns pictures (demo)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=STEPS, metavar="N",
        help=f"steps of an edit; more are slower and keep more of the picture ({STEPS})",
    )  # fmt: skip
    add_dtype(parser)
    parser.add_argument(
        "--host", default=HOST, metavar="ADDRESS",
        help=f"address to answer at; 0.0.0.0 lets other machines in, without a password ({HOST})",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"port to answer at ({PORT})"
    )


def run(args: argparse.Namespace) -> None:
    """Loads the models and answers until it is stopped."""
    check_at_least("--steps", args.steps, 2)
    check_between("--port", args.port, 1, 65535)
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(EXTRA)
    if args.edit is None:
        args.edit = ready_edits() if args.model == DEMO else []
    announce_devices()
    workshop = Workshop.load(args)
    page = build(workshop)
    threading.Thread(target=workshop.warm_up, daemon=True).start()
    print(f"the page is at http://{args.host}:{args.port} (Ctrl-C ends it)")
    page.queue().launch(
        server_name=args.host, server_port=args.port, quiet=True, share=False, show_error=True
    )
