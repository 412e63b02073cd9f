"""Pictures by a latent diffusion model: what `generate` and `edit` do where `--model` is one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.cli.arguments import free_name, name_of
from clipdiff_jax.cli.beside import save_beside_sources
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.marks import mark_in, mark_of, marked
from clipdiff_jax.cli.options import add_options, from_args, given, option_name
from clipdiff_jax.cli.paths import SECOND
from clipdiff_jax.cli.sources import (
    DIGEST,
    Sources,
    by_digest,
    described_source,
    read_source,
    read_sources,
)
from clipdiff_jax.latent.load import load_latent
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.latent.requests import (
    Generation,
    Inpainting,
    Instruction,
    Painting,
    Repainting,
)
from clipdiff_jax.pictures.pages import cell, save_square
from clipdiff_jax.pictures.records import Record, record_keys, request_of
from clipdiff_jax.pictures.results import Results
from clipdiff_jax.pictures.watermark.key import Key
from clipdiff_jax.pictures.watermark.marking import check_sampling, marked_start
from clipdiff_jax.weights.params import fingerprint

SYSTEM = "latent"  # what a record says of what made it
GENERATION = Generation()
# The methods of `edit`, and the request of each.
METHODS: dict[str, Painting] = {
    "img2img": Repainting(),
    "inpaint": Inpainting(),
    "instruct": Instruction(),
}
_DRAWN = ("rescale", "height", "width")  # options of `generate` for latent models alone
_CHANGED = ("eta", "guidance", "rescale", "image_guidance")  # options of `edit` for them
_ELSEWHERE = ("count", "batch", "output", "threshold", "strength")  # no options, or another's
_MASK = f"{SECOND}{DIGEST}"
_OWN = ("file", "index", "prompt", "source", DIGEST)


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    """What a latent model can be asked for beside the options of all."""
    group = parser.add_argument_group("latent models (Stable Diffusion)")
    group.add_argument("--negative", metavar="TEXT", help="what guidance leads away from")
    add_options(group, GENERATION, _DRAWN)


def add_edit_arguments(parser: argparse.ArgumentParser) -> None:
    """The same for pictures that are changed."""
    group = parser.add_argument_group(
        "latent models (Stable Diffusion): img2img, inpaint, instruct"
    )
    group.add_argument(
        "--prompt", metavar="TEXT", help="what the picture shows, or the instruction"
    )
    group.add_argument("--negative", metavar="TEXT", help="what guidance leads away from")
    group.add_argument(
        "--mask", type=Path, metavar="FILE", help="for inpaint: a picture, white where to paint"
    )
    shown = {"guidance": "the model's own"}
    add_options(group, METHODS["instruct"], _CHANGED, shown=shown)


def of_generate(args: argparse.Namespace) -> list[str]:
    """The options given that latent models alone have."""
    return given(args, (*_DRAWN, "negative"))


def of_edit(args: argparse.Namespace) -> list[str]:
    """The options given that `METHODS` alone have."""
    return given(args, (*_CHANGED, "prompt", "negative", "mask"))


def generate(args: argparse.Namespace, prompts: Sequence[str], results: Results) -> None:
    """Makes `--count` pictures of each prompt."""
    request = from_args(GENERATION, args, leave_out=_ELSEWHERE)
    if hasattr(args, "threshold"):
        raise ValueError("--threshold is of pictures, latents have no range")
    mark = mark_of(args)
    if mark is not None:
        check_sampling(mark, request)
    model = load(args.model, args.dtype)
    maker = _maker(model, None, mark)
    common = _common(args, "generate", maker, request)
    every = [prompt for prompt in prompts for _ in range(args.count or 1)]
    records = [
        {**common, "prompt": prompt, "index": index, "file": f"{args.seed}-{index:05d}.png"}
        for index, prompt in enumerate(every)
    ]
    make([Job(maker, records, {})], results, args.batch_size)
    cells = [cell(results.folder / record["file"]) for record in records]
    save_square(results.folder, cells, label=results.saving.label)


def edit(args: argparse.Namespace, results: Results) -> None:
    """Changes every picture, with every strength that is given."""
    method = args.method
    if not args.prompt:
        raise ValueError(f"--method {method} needs --prompt")
    if (method == "inpaint") != (args.mask is not None):
        raise ValueError(
            "--method inpaint needs --mask"
            if args.mask is None
            else "--mask is of --method inpaint"
        )
    if method == "instruct" and hasattr(args, "strength"):
        raise ValueError("--strength is of --method img2img and inpaint: see --image-guidance")
    if method != "instruct" and hasattr(args, "image_guidance"):
        raise ValueError(f"{option_name('image_guidance')} is of --method instruct")
    if args.model is None:
        raise ValueError(f"--method {method} needs a latent diffusion model: give --model")
    request = from_args(METHODS[method], args, leave_out=_ELSEWHERE)
    model = load(args.model, args.dtype)
    maker = _maker(model, model.config.image_size)
    sources = read_sources(args.images, model.config.image_size, args.on_error)
    common = _common(args, "edit", maker, request) | {"method": method, "prompt": args.prompt}
    read = by_digest(sources)
    if args.mask is not None:
        mask = read_source(args.mask, model.config.image_size)
        common |= described_source(mask, SECOND)
        read = {**read, mask.digest: mask}
    own = [request.strength if isinstance(request, Repainting) else None]
    strengths: list[Any] = getattr(args, "strength", own)
    records: list[Record] = []
    taken: set[str] = set()
    for one in strengths:
        suffix = "" if len(strengths) == 1 else f"-{one:g}"
        more = {} if one is None else {"strength": one}
        for index, source in enumerate(sources):
            name = free_name(source.path.stem + suffix, taken)
            records.append(
                {**common, **more, **described_source(source), "index": index, "file": name}
            )
    for record in records:
        request_of(type(request), record)  # raises for a strength that cannot be
    make([Job(maker, records, read)], results, args.batch_size)
    labels = [args.prompt if one is None else f"{args.prompt}, {one:g}" for one in strengths]
    save_beside_sources(results, records, sources, labels)


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    model = load(record["model"], record["dtype"])
    return _maker(model, model.config.image_size if DIGEST in record else None, mark_in(record))


def load(source: str, dtype: str) -> LatentDiffusion:
    """The model that a record, or the command line, names."""
    return load_latent(source, dtype=jnp.dtype(dtype))


def request_type(record: Record) -> type[Painting]:
    """Which request a record holds."""
    return Generation if record["command"] == "generate" else type(METHODS[record["method"]])


def _common(args: argparse.Namespace, command: str, maker: Maker, request: Painting) -> Record:
    values = {k: v for k, v in request.to_dict().items() if k not in ("count", "batch", "output")}
    return {
        "command": command,
        "system": SYSTEM,
        "model": name_of(args.model),
        **maker.fingerprints,
        **values,
        "negative": args.negative,
        "seed": args.seed,
        "dtype": args.dtype,
    }


def _maker(model: LatentDiffusion, size: int | None, mark: Key | None = None) -> Maker:
    params = {
        "unet": model.unet,
        "autoencoder": model.autoencoder,
        "texts": {str(i): one for i, one in enumerate(model.texts)},
    }

    def compute(records: Sequence[Record], sources: Sources) -> jax.Array:
        first, keys = records[0], record_keys(records)
        request: Any = request_of(request_type(first), first)
        prompts = [record["prompt"] for record in records]
        options: dict[str, Any] = {"key": keys, "negative": first["negative"]}
        if first["command"] == "generate":
            if mark is not None:
                options["latents"] = marked_start(model, mark, len(records), keys, request)
            return model.generate(prompts, sampling=request, **options)
        images = np.stack([sources[record[DIGEST]].image() for record in records])
        if first["method"] == "instruct":
            return model.instruct(images, prompts, sampling=request, **options)
        if first["method"] == "img2img":
            return model.img2img(images, prompts, sampling=request, **options)
        mask = (sources[first[_MASK]].image().mean(axis=-1) + 1) / 2
        return model.inpaint(images, mask, prompts, sampling=request, **options)

    fingerprints = {"model_fingerprint": fingerprint(params), **marked(mark)}
    return Maker(compute, fingerprints, _OWN, size)
