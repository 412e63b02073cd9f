"""The command behind `clipdiff convert`: a model from one layout into another.

Whatever `load_clip` or `load_diffusion` reads is a source. The destination appears whole, or not
at all.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clipdiff_jax.cli.command import run_command
from clipdiff_jax.clip import model as clip_pipeline
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.pixel import load as diffusion_pipeline
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.export import export_diffusers, export_transformers
from clipdiff_jax.weights.folder import is_our_folder, model_folder, read_config
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.layouts import clip_openclip
from clipdiff_jax.weights.read import open_tensors

CLIP, DIFFUSION, DEMO = clip_pipeline.KIND, diffusion_pipeline.KIND, clip_pipeline.DEMO
# layout -> the kinds of model that it can hold
_LAYOUTS = {"ours": (CLIP, DIFFUSION), "diffusers": (DIFFUSION,), "transformers": (CLIP,)}
_FILES = ("*.json", "merges.txt")  # what a repository must have beside the weights


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status, see `run_command`."""
    parser = argparse.ArgumentParser(
        prog="clipdiff convert",
        description="Converts a CLIP or a diffusion model from one layout into another.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("source", help="what load_clip or load_diffusion takes")
    parser.add_argument("destination", type=Path, help="the folder to write; must not exist")
    parser.add_argument(
        "--to", required=True, choices=tuple(_LAYOUTS),
        help="the layout: ours, a UNet2DModel of diffusers, or a CLIPModel of transformers",
    )  # fmt: skip
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FOLDER",
        help="the tokenizer of a CLIP whose weights are a single file",
    )  # fmt: skip
    return run_command(parser.parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Converts `args.source` as the command line says.

    Raises `WeightsError` for a destination that exists, and for a model that the layout cannot
    hold.
    """
    if args.destination.exists():
        raise WeightsError(f"'{args.destination}' exists: move it away or give another name")
    kinds = _LAYOUTS[args.to]
    if args.source == DEMO:  # names a model of each kind
        if len(kinds) > 1:
            raise WeightsError("the models of 'demo' are in our layout already")
        source, kind = args.source, kinds[0]
    else:
        source = locate(args.source, _FILES)
        kind = kind_of(model_folder(source))
    if kind not in kinds:
        raise WeightsError(
            f"'{args.source}' is of kind '{kind}', but --to {args.to} takes {' or '.join(kinds)}"
        )
    if kind == CLIP:
        tokenizer = load_tokenizer(args.tokenizer) if args.tokenizer else None
        clip = clip_pipeline.load_clip(source, tokenizer=tokenizer)
        write = clip_pipeline.save_clip if args.to == "ours" else export_transformers
        write(args.destination, clip.config, clip.params, clip.tokenizer)
    else:
        model = diffusion_pipeline.load_diffusion(source)
        save = diffusion_pipeline.save_diffusion if args.to == "ours" else export_diffusers
        save(args.destination, model.config, model.params)
    print(f"wrote '{args.destination}' ({kind}, {args.to})")


def kind_of(path: Path) -> str:
    """The kind of the model at `path`: "clip", "diffusion", or that of another folder of ours.

    A file with weights alone is told by the names of its tensors, a folder by its config. Raises
    `WeightsError` where there is neither.
    """
    if path.is_file():
        return CLIP if "token_embedding.weight" in open_tensors(path) else DIFFUSION
    if is_our_folder(path):
        return str(read_config(path)["kind"])
    if clip_openclip.find_weights(path) is not None:
        return CLIP
    if (path / "unet").is_dir():
        return DIFFUSION
    return CLIP if "model_type" in read_config(path) else DIFFUSION
