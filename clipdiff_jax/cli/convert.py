"""`clipdiff convert`: a model from one layout into another.

Whatever `load_clip`, `load_diffusion` or `load_latent` reads is a source, and every layout that can
write is a destination, see `weights.layout`. The destination appears whole, or not at all.
"""

import argparse
from pathlib import Path
from typing import Any

from clipdiff_jax.cli.saying import note
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import demo_folder, is_our_folder, model_folder, read_config
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.latent_reading import LatentReading
from clipdiff_jax.weights.layout import Layout, Reading
from clipdiff_jax.weights.layouts import clip, clip_ours, latent, latent_ours, pixel, pixel_ours
from clipdiff_jax.weights.loading import DEMO, first_match, read_first

LAYOUTS: dict[str, tuple[Layout[Any, Any], ...]] = {
    clip_ours.KIND: clip.LAYOUTS,
    pixel_ours.KIND: pixel.LAYOUTS,
    latent_ours.KIND: latent.LAYOUTS,
}
# Those of latent diffusion first: their folders hold what pixel diffusion's do.
_EVERY = [layout for layouts in reversed(LAYOUTS.values()) for layout in layouts]
_DESTINATIONS = tuple(dict.fromkeys(one.name for one in _EVERY if one.write is not None))
_DEMOS = {clip_ours.KIND: "clip", pixel_ours.KIND: "base"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, where to, and as what."""
    parser.add_argument("source", help="what load_clip, load_diffusion or load_latent takes")
    parser.add_argument(
        "destination", type=Path, help="the folder (or file) to write; must not exist"
    )
    parser.add_argument(
        "--to", required=True, choices=_DESTINATIONS,
        help="the layout: ours, a UNet2DModel or a pipeline of diffusers, a CLIPModel of "
        "transformers, or a single file of latent diffusion's original names",
    )  # fmt: skip
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FOLDER",
        help="the tokenizer of a CLIP or a latent model whose weights are a single file",
    )  # fmt: skip
    parser.add_argument(
        "--prediction", choices=("eps", "v"),
        help="what a single file of Stable Diffusion 2 predicts, which nothing in it tells",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Converts `args.source` as the command line says.

    Raises `WeightsError` for a destination that exists, and for a model that the layout cannot
    hold.
    """
    if args.destination.exists():
        raise WeightsError(f"'{args.destination}' exists: move it away or give another name")
    writers = {
        kind: layout.write
        for kind, layouts in LAYOUTS.items()
        for layout in layouts
        if layout.name == args.to and layout.write is not None
    }
    if args.source == DEMO:  # names a model of each kind
        kinds = [kind for kind in writers if kind in _DEMOS]
        if len(kinds) > 1:
            raise WeightsError("the models of 'demo' are in our layout already")
        if not kinds:
            raise WeightsError(f"--to {args.to} takes none of the models of 'demo'")
        (kind,) = kinds
        path = demo_folder(_DEMOS[kind])
    else:
        path = model_folder(locate(args.source))
        kind = kind_of(path)
    if kind not in writers:
        raise WeightsError(
            f"'{args.source}' is of kind '{kind}', but --to {args.to} takes {' or '.join(writers)}"
        )
    if args.prediction is not None and kind != latent_ours.KIND:
        raise WeightsError(f"--prediction is of latent diffusion, '{args.source}' is a {kind}")
    weights = read_first(LAYOUTS[kind], path, _reading(args, kind))
    writers[kind](args.destination, weights)
    said = f"wrote '{args.destination}' ({kind}, {args.to})"
    note(said, written=str(args.destination), kind=kind, layout=args.to)


def _reading(args: argparse.Namespace, kind: str) -> Reading:
    """Latent models keep the numbers that they have: many are in half precision."""
    tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
    if kind != latent_ours.KIND:
        return Reading(tokenizer=tokenizer)
    tokenizers = () if tokenizer is None else (tokenizer,)
    return Reading(
        param_dtype=None, latent=LatentReading(tokenizers=tokenizers, prediction=args.prediction)
    )


def kind_of(path: Path) -> str:
    """The kind of the model at `path`: "clip", "diffusion", or that of another folder of ours.

    Raises `WeightsError` where no layout matches.
    """
    if is_our_folder(path):
        return str(read_config(path)["kind"])
    found = first_match(_EVERY, path)
    return next(kind for kind, layouts in LAYOUTS.items() if found in layouts)
