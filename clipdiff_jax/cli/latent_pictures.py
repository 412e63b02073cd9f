"""Pictures by a latent diffusion model: what `generate` and `edit` do where `--model` is one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from clipdiff_jax.cli.arguments import free_name, name_of
from clipdiff_jax.cli.beside import save_beside_sources
from clipdiff_jax.cli.layouts import read_layout, regions_of
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.marks import mark_in, mark_of, marked
from clipdiff_jax.cli.options import add_options, from_args, given, option_name
from clipdiff_jax.cli.paths import SECOND
from clipdiff_jax.cli.prompt_files import Prompt, drawn
from clipdiff_jax.cli.sources import (
    DIGEST,
    Sources,
    by_digest,
    described_source,
    read_source,
    read_sources,
)
from clipdiff_jax.core.types import DTypeName, as_dtype
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.latent.load import load_latent
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.latent.requests import (
    Collage,
    ConceptEditing,
    Generation,
    Inpainting,
    Instruction,
    Painting,
    PromptEditing,
    Repainting,
)
from clipdiff_jax.pictures.pages import cell, save_square
from clipdiff_jax.pictures.records import Record, record_keys, request_of
from clipdiff_jax.pictures.results import Results
from clipdiff_jax.pictures.watermark.key import Key
from clipdiff_jax.pictures.watermark.marking import check_sampling, marked_start
from clipdiff_jax.weights.params import fingerprint

SYSTEM = "latent"  # what a record says of what made it
GENERATION, COLLAGE = Generation(), Collage()
# The methods of `edit`, and the request of each.
METHODS: dict[str, Painting] = {
    "img2img": Repainting(),
    "inpaint": Inpainting(),
    "instruct": Instruction(),
    "p2p": PromptEditing(),
    "ledits": ConceptEditing(),
}
# What options single methods have of their own; those of the last two are fields of their requests.
_OF_METHOD = {
    "inpaint": ("mask",),
    "instruct": ("image_guidance",),
    "p2p": (
        "inversion", "pairing", "cross_share", "self_share", "blend_from", "blend_above", "blend",
        "weight",
    ),
    "ledits": ("skip", "source_guidance", "spare", "warmup", "away", "anywhere"),
}  # fmt: skip
_DRAWN = ("rescale", "height", "width", "binding")  # options of `generate` for latent models alone
_PLACED = ("global_weight", "background_drop")  # and of those with a layout
_CHANGED = ("eta", "guidance", "rescale", "image_guidance")  # options of `edit` for them
_ELSEWHERE = ("count", "batch", "output", "threshold", "strength")  # no options, or another's
_MASK = f"{SECOND}{DIGEST}"
_OWN = ("file", "index", "prompt", "seed", "source", DIGEST)


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    """What a latent model can be asked for beside the options of all."""
    group = parser.add_argument_group("latent models (Stable Diffusion)")
    add_options(group, GENERATION, _DRAWN)
    group.add_argument(
        "--phrase", dest="phrases", action="append", default=argparse.SUPPRESS, metavar="TEXT",
        help="for --binding: a noun with its adjectives, as in the prompt; repeat it for several "
        "(found in the prompt)",
    )  # fmt: skip
    group.add_argument(
        "--layout", type=Path, metavar="FILE",
        help="what is to be where, as JSON: a prompt, and regions with prompts of their own",
    )  # fmt: skip
    add_options(group, COLLAGE, _PLACED)


def add_edit_arguments(parser: argparse.ArgumentParser) -> None:
    """The same for pictures that are changed."""
    group = parser.add_argument_group(
        "latent models (Stable Diffusion): img2img, inpaint, instruct, p2p, ledits"
    )
    group.add_argument(
        "--prompt", metavar="TEXT",
        help="what the picture is to show, the instruction, or the concept of ledits",
    )  # fmt: skip
    group.add_argument(
        "--source-prompt", metavar="TEXT", help="for p2p, and ledits: what the picture shows"
    )
    group.add_argument("--negative", metavar="TEXT", help="what guidance leads away from")
    group.add_argument(
        "--mask", type=Path, metavar="FILE", help="for inpaint: a picture, white where to paint"
    )
    shown = {"guidance": "the model's own"}
    add_options(group, METHODS["instruct"], _CHANGED, shown=shown)
    for method in ("p2p", "ledits"):
        add_options(group, METHODS[method], _OF_METHOD[method])
    group.add_argument(
        "--blend", nargs=2, metavar=("SOURCE", "TARGET"),
        help="for p2p: words of both prompts around which alone the picture may change",
    )  # fmt: skip
    group.add_argument(
        "--weight", nargs=2, action="append", metavar=("WORD", "X"),
        help="for p2p: how much a word of the prompt counts (1); repeat it for several",
    )  # fmt: skip


def of_generate(args: argparse.Namespace) -> list[str]:
    """The options given that latent models alone have."""
    return given(args, (*_DRAWN, *_PLACED, "phrases"))


def of_edit(args: argparse.Namespace) -> list[str]:
    """The options given that `METHODS` alone have."""
    own = [name for names in _OF_METHOD.values() for name in names]
    return given(args, (*_CHANGED, "prompt", "negative", "source_prompt", *own))


def generate(args: argparse.Namespace, prompts: Sequence[Prompt], results: Results) -> None:
    """Makes `--count` pictures of each prompt, or of a layout."""
    if args.layout is not None:
        if options := given(args, ("binding", "phrases")):
            raise ValueError(f"{option_name(options[0])} is of pictures without --layout")
        whole, regions = read_layout(args.layout)
        request: Painting = from_args(COLLAGE, args, leave_out=_ELSEWHERE)
        prompts, placed = [Prompt(whole)], {"regions": regions}
    else:
        if options := given(args, _PLACED):
            raise ValueError(f"{option_name(options[0])} is of pictures with --layout")
        request, placed = request_of_prompts(args), {}
    if args.size is not None:
        if options := given(args, ("height", "width")):
            raise ValueError(
                f"--size is both sides: leave out {option_name(options[0])}, or --size"
            )
        request = request.replace(height=args.size, width=args.size)
    if hasattr(args, "threshold"):
        raise ValueError("--threshold is of pictures, latents have no range")
    mark = mark_of(args)
    if mark is not None:
        check_sampling(mark, request)
    model = load(args.model, args.dtype)
    maker = _maker(model, None, mark)
    common = _common(args, "generate", maker, request) | placed
    records = []
    for prompt, seed, index, name in drawn(prompts, args):
        one = {"prompt": prompt.text, "seed": seed, "index": index, "file": name}
        if prompt.negative is not None:
            one["negative"] = prompt.negative
        records.append({**common, **one})
    make([Job(maker, records, {})], results, args.batch_size)
    cells = [cell(results.folder / record["file"]) for record in records]
    save_square(results, cells, [record["prompt"] for record in records])


def request_of_prompts(args: argparse.Namespace) -> Generation:
    """How pictures of prompts are drawn."""
    return from_args(GENERATION, args, leave_out=_ELSEWHERE)


def edit(args: argparse.Namespace, results: Results) -> None:
    """Changes every picture, with every strength that is given."""
    method = args.method
    if not args.prompt:
        raise ValueError(f"--method {method} needs --prompt")
    for other, names in _OF_METHOD.items():
        if other != method and (options := given(args, names)):
            raise ValueError(f"{option_name(options[0])} is of --method {other}")
    if method == "inpaint" and args.mask is None:
        raise ValueError("--method inpaint needs --mask")
    if method == "p2p" and not args.source_prompt:
        raise ValueError("--method p2p needs --source-prompt, what the picture shows")
    if method not in ("p2p", "ledits") and args.source_prompt is not None:
        raise ValueError("--source-prompt is of --method p2p and ledits")
    if method not in ("img2img", "inpaint") and hasattr(args, "strength"):
        raise ValueError("--strength is of --method img2img and inpaint")
    if args.model is None:
        raise ValueError(f"--method {method} needs a latent diffusion model: give --model")
    request = from_args(METHODS[method], args, leave_out=_ELSEWHERE)
    model = load(args.model, args.dtype)
    maker = _maker(model, model.config.image_size)
    sources = read_sources(args.images, model.config.image_size, args.on_error)
    common = _common(args, "edit", maker, request) | {"method": method, "prompt": args.prompt}
    if method in ("p2p", "ledits"):
        common |= {"source_prompt": args.source_prompt}
    if method == "p2p":
        common |= {"blend": args.blend, "weights": _weights(args.weight)}
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
            name = free_name(source.path.stem + suffix, taken, args.format)
            records.append(
                {**common, **more, **described_source(source), "index": index, "file": name}
            )
    for record in records:
        request_of(type(request), record)  # raises for a strength that cannot be
    make([Job(maker, records, read)], results, args.batch_size)
    labels = [args.prompt if one is None else f"{args.prompt}, {one:g}" for one in strengths]
    save_beside_sources(results, records, sources, labels)


def _weights(given: Sequence[Sequence[str]] | None) -> dict[str, float]:
    """Words and numbers as --weight takes them."""
    found = {}
    for word, text in given or ():
        try:
            found[word] = float(text)
        except ValueError:
            raise ValueError(f"--weight {word} {text}: '{text}' is no number") from None
    return found


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    model = load(record["model"], record["dtype"])
    return _maker(model, model.config.image_size if DIGEST in record else None, mark_in(record))


def load(source: str, dtype: DTypeName) -> LatentDiffusion:
    """The model that a record, or the command line, names."""
    return load_latent(source, dtype=as_dtype(dtype))


def request_type(record: Record) -> type[Painting]:
    """Which request a record holds."""
    if record["command"] == "generate":
        return Collage if "regions" in record else Generation
    return type(METHODS[record["method"]])


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
            if "regions" in first:
                regions = regions_of(first["regions"])
                request = request.replace(count=len(records))
                return model.collage(prompts[0], regions, sampling=request, **options)
            return model.generate(prompts, sampling=request, **options)
        images = np.stack([sources[record[DIGEST]].pixels for record in records])
        if first["method"] == "instruct":
            return model.instruct(images, prompts, sampling=request, **options)
        if first["method"] == "img2img":
            return model.img2img(images, prompts, sampling=request, **options)
        if first["method"] in ("p2p", "ledits"):
            target = prompts if first["method"] == "p2p" else first["prompt"]
            options |= {name: first[name] for name in ("blend", "weights") if name in first}
            return model.edit(
                images, source=first["source_prompt"], target=target, method=first["method"],
                sampling=request, **options,
            )  # fmt: skip
        mask = (to_float(sources[first[_MASK]].pixels).mean(axis=-1) + 1) / 2
        return model.inpaint(images, mask, prompts, sampling=request, **options)

    fingerprints = {"model_fingerprint": fingerprint(params), **marked(mark)}
    return Maker(compute, fingerprints, _OWN, size)
