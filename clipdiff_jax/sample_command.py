"""The command behind `sample.py`: edit pictures, make new ones or variations, or remake them.

First every picture to be made becomes a record (`pipelines.records`) that says all there is to
know; then records of one setting are computed in batches. `remake` starts from the records.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from clipdiff_jax import sample_unclip
from clipdiff_jax.command import run_command
from clipdiff_jax.config import nearest
from clipdiff_jax.data.folder import EXTENSIONS, UnreadableImage, read_image
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.pipelines.diffusion import Diffusion, load_diffusion
from clipdiff_jax.pipelines.edit import Edit, edit, load_edit
from clipdiff_jax.pipelines.grid import show
from clipdiff_jax.pipelines.records import (
    Record,
    add_to_manifest,
    read_records,
    read_source,
    record_keys,
    save_picture,
)
from clipdiff_jax.pipelines.unclip_folder import is_unclip_folder
from clipdiff_jax.pipelines.unclip_original import is_original_folder
from clipdiff_jax.weights import fingerprint
from clipdiff_jax.writing import write_whole

GRID_COLUMNS = 12
STEPS, COUNT = 40, 16
OF_ONE_PICTURE = ("file", "source", "source_sha256", "index", "strength", "prompt")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status, see `run_command`."""
    return run_command(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sample.py", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("edit", help="edit pictures with what the edit stage learned")
    one.set_defaults(run=run_edit)
    one.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")
    one.add_argument(
        "--edit", action="append", required=True, type=Path, metavar="FOLDER",
        help="what train.py wrote; several times for several edits at once",
    )  # fmt: skip
    one.add_argument("--ratios", nargs="+", type=float, help="how much of each edit")
    one.add_argument(
        "--strength", nargs="+", type=float, default=[1.0],
        help="degree of change: 0 none, 1 as learned; several give several pictures",
    )  # fmt: skip
    one.add_argument("--t0", type=int, help="time index to invert to (default: as trained)")
    one.add_argument(
        "--fixed-point", type=int, default=0, help="iterations refining each inversion step"
    )
    one.add_argument(
        "--random-inversion", action="store_true", help="noise at random instead of inverting"
    )
    one.add_argument(
        "--purify", type=int, default=0, metavar="N",
        help="first N rounds of noising and denoising with the base model, for strokes and "
        "foreign domains (8 or more)",
    )  # fmt: skip

    two = commands.add_parser("generate", help="sample new pictures from a diffusion model")
    two.set_defaults(run=run_generate)
    two.add_argument("--count", type=int, help=f"pictures ({COUNT}; 1 for each prompt)")
    two.add_argument("--eta", type=float, default=0.0, help="DDIM's noise, 0 to 1")
    sample_unclip.add_prompt_options(two)

    four = commands.add_parser("vary", help="make variations of pictures with an unCLIP model")
    four.set_defaults(run=run_vary)
    four.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")
    sample_unclip.add_vary_options(four)

    for command in (one, four):
        command.add_argument(
            "--on-error", choices=("skip", "stop"), default="skip",
            help="what to do about pictures that cannot be read (default: name and skip them)",
        )  # fmt: skip
    for command in (one, two):
        command.add_argument("--model", default="demo", help="base model: 'demo' or a folder")
    four.add_argument("--model", required=True, help="folder, or repository of the Hub")
    for command in (one, two, four):
        command.add_argument(
            "--steps", type=int, help=f"evaluations ({STEPS}; {sample_unclip.STEPS} of a decoder)"
        )
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")

    three = commands.add_parser("remake", help="make pictures again from what they say of it")
    three.set_defaults(run=run_remake)
    three.add_argument("records", type=Path, help="a manifest.jsonl, its folder, or one PNG")

    for command in (one, two, three, four):
        command.add_argument("--out", type=Path, required=True, help="folder for the results")
        command.add_argument("--batch-size", type=int, default=16)
    return parser


def run_edit(args: argparse.Namespace) -> None:
    """`sample.py edit`."""
    edits = [_edit(path) for path in args.edit]
    ratios = args.ratios or [1.0] * len(edits)
    if len(ratios) != len(edits):
        raise ValueError(f"{len(edits)} --edit need as many --ratios, got {len(ratios)}")
    base = _base(args.model, args.dtype)
    common = {
        "command": "edit",
        **_described(args, base),
        "edits": [str(path.resolve()) for path in args.edit],
        "edit_fingerprints": [fingerprint(one.params) for one in edits],
        "ratios": ratios,
        "t0": args.t0 or max(one.objective.t0 for one in edits),
        "fixed_point": args.fixed_point,
        "random_inversion": args.random_inversion,
        "purify": args.purify,
    }
    sources = _readable(_image_files(args.images), base.config.image_size, args.on_error)
    records: list[Record] = []
    taken: set[str] = set()
    for strength in args.strength:
        suffix = "" if len(args.strength) == 1 else f"-{strength:g}"
        for index, (path, digest) in enumerate(sources):
            records.append(
                {
                    **common,
                    "strength": strength,
                    "source": str(path.resolve()),
                    "source_sha256": digest,
                    "index": index,
                    "file": _free_name(path.stem + suffix, taken),
                }
            )
    _make(records, args.out, args.batch_size)
    labels = [_label(edits, strength, len(args.strength)) for strength in args.strength]
    _save_grids(args.out, records, len(sources), labels, base.config.image_size)


def run_generate(args: argparse.Namespace) -> None:
    """`sample.py generate`."""
    if args.count is not None and args.count < 1:
        raise ValueError(f"--count must be at least 1, got {args.count}")
    prompts = sample_unclip.read_prompts(args)
    if prompts and args.eta:
        raise ValueError(f"--eta {args.eta:g} is of DDIM, which models that take prompts lack")
    if prompts:
        records = sample_unclip.prompt_records(args, prompts)
    else:
        records = _sample_records(args)
    _make(records, args.out, args.batch_size)
    shown = [_made(args.out, record) for record in records[: GRID_COLUMNS**2]]
    write_whole(args.out / "grid.png", show(np.stack(shown))._repr_png_())


def run_vary(args: argparse.Namespace) -> None:
    """`sample.py vary`."""
    if args.count < 1:
        raise ValueError(f"--count must be at least 1, got {args.count}")
    common = sample_unclip.variation_settings(args)
    size = sample_unclip.tower_size(sample_unclip.model_of(common))
    sources = _readable(_image_files(args.images), size, args.on_error)
    records: list[Record] = []
    taken: set[str] = set()
    for number in range(1, args.count + 1):
        for path, digest in sources:
            records.append(
                {
                    **common,
                    "source": str(path.resolve()),
                    "source_sha256": digest,
                    "index": len(records),
                    "file": _free_name(f"{path.stem}-{number}", taken),
                }
            )
    _make(records, args.out, args.batch_size)
    labels = [f"variation {number}" for number in range(1, args.count + 1)]
    _save_grids(args.out, records, len(sources), labels, size)


def run_remake(args: argparse.Namespace) -> None:
    """`sample.py remake`."""
    records = read_records(args.records)
    for record in records:
        _check_unchanged(record)
    _make(records, args.out, args.batch_size)


def _sample_records(args: argparse.Namespace) -> list[Record]:
    """A record for each picture of an unconditional model."""
    given = [name for name in sample_unclip.OPTIONS if getattr(args, name) is not None]
    if given or is_unclip_folder(args.model) or is_original_folder(args.model):
        reason = f"--{given[0].replace('_', '-')}" if given else f"the model '{args.model}'"
        raise ValueError(f"{reason} is for pictures from texts: give --prompt")
    base = _base(args.model, args.dtype)
    common = {"command": "generate", **_described(args, base), "eta": args.eta}
    return [
        {**common, "index": index, "file": f"{args.seed}-{index:05d}.png"}
        for index in range(COUNT if args.count is None else args.count)
    ]


def _make(records: list[Record], out: Path, batch_size: int) -> None:
    """Computes and saves the picture of every record, and the manifest."""
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}")
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(records), unit="img") as bar:
        for part in _batches(records, batch_size):
            # The last batch is filled up, so that its size compiles nothing new.
            whole = part + part[-1:] * (min(batch_size, len(records)) - len(part))
            images = np.asarray(_maker(part[0])(whole))
            for record, image in zip(part, images, strict=False):
                save_picture(out / record["file"], image, record)
            bar.update(len(part))
    manifest = add_to_manifest(out, records)
    print(f"{len(records)} pictures and {manifest.name} are in '{out}'")


def _batches(records: list[Record], size: int) -> Iterator[list[Record]]:
    """Runs of records that differ in what is one picture's own only, `size` at a time."""

    def setting(record: Record) -> dict[str, Any]:
        return {name: value for name, value in record.items() if name not in OF_ONE_PICTURE}

    batch: list[Record] = []
    for record in records:
        if batch and (len(batch) == size or setting(record) != setting(batch[0])):
            yield batch
            batch = []
        batch.append(record)
    yield batch


def _maker(record: Record) -> Callable[[list[Record]], jax.Array]:
    if "prompt" in record:
        return sample_unclip.make_prompted
    makers: dict[str, Callable[[list[Record]], jax.Array]] = {
        "edit": _make_edits,
        "generate": _make_samples,
        "vary": sample_unclip.make_variations,
    }
    return makers[record["command"]]


def _make_edits(records: list[Record]) -> jax.Array:
    one = records[0]
    base = _base(one["model"], one["dtype"])
    return edit(
        np.stack([read_source(record, base.config.image_size) for record in records]),
        base,
        [_edit(Path(path)) for path in one["edits"]],
        np.array([record["strength"] for record in records], np.float32),
        ratios=one["ratios"],
        t0=one["t0"],
        steps=one["steps"],
        fixed_point=one["fixed_point"],
        random_inversion=one["random_inversion"],
        purify=one["purify"],
        key=record_keys(records),
    )


def _make_samples(records: list[Record]) -> jax.Array:
    one = records[0]
    base = _base(one["model"], one["dtype"])
    return base.generate(record_keys(records), steps=one["steps"], eta=one["eta"])


def _described(args: argparse.Namespace, base: Diffusion) -> Record:
    return {
        "model": args.model if args.model == "demo" else str(Path(args.model).resolve()),
        "model_fingerprint": fingerprint(base.params),
        "steps": STEPS if args.steps is None else args.steps,
        "seed": args.seed,
        "dtype": args.dtype,
    }


def _check_unchanged(record: Record) -> None:
    """Raises ValueError where the model, an edit or the source is not what it was."""
    of_unclip = sample_unclip.is_of_unclip(record)
    hashed = sample_unclip.model_fingerprint if of_unclip else _base_fingerprint
    now = hashed(record["model"], record["dtype"])
    pairs = [(record["model"], now, record["model_fingerprint"])]
    for path, then in zip(
        record.get("edits", ()), record.get("edit_fingerprints", ()), strict=True
    ):
        pairs.append((path, fingerprint(_edit(Path(path)).params), then))
    if "source" in record:
        pairs.append((record["source"], _digest(Path(record["source"])), record["source_sha256"]))
    for path, now, then in pairs:
        if now != then:
            raise ValueError(
                f"'{path}' has changed since '{record['file']}' was made: {now}, was {then}"
            )


def _image_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
            if not found:
                raise ValueError(f"no pictures in the folder '{path}' ({', '.join(EXTENSIONS)})")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise FileNotFoundError(f"no picture or folder '{path}'.{nearest(path.name, beside)}")
    return files


def _readable(files: list[Path], size: int, on_error: str) -> list[tuple[Path, str]]:
    """(path, sha256) of the pictures that can be read; says which cannot or are small."""
    good = []
    for path in files:
        try:
            height, width = read_image(path).shape[:2]
        except UnreadableImage as error:
            if on_error == "stop":
                raise
            print(f"warning: skipped: {error}", file=sys.stderr)
            continue
        if min(height, width) < size:
            print(
                f"warning: '{path}' ({width}x{height}) is smaller than the model's {size} pixels "
                "and is enlarged",
                file=sys.stderr,
            )
        good.append((path, _digest(path)))
    if not good:
        raise ValueError(f"none of the {len(files)} pictures can be read")
    return good


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _free_name(stem: str, taken: set[str]) -> str:
    name, number = f"{stem}.png", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.png"
    taken.add(name)
    return name


def _label(edits: list[Edit], strength: float, count: int) -> str:
    text = " + ".join(one.objective.target_text for one in edits)
    return text if count == 1 else f"{text}, {strength:g}"


def _save_grids(
    out: Path, records: list[Record], count: int, labels: Sequence[str], size: int
) -> None:
    """The originals above what each strength made of them, `GRID_COLUMNS` to a file."""
    pages = -(-count // GRID_COLUMNS)
    for page in range(pages):
        chosen = range(page * GRID_COLUMNS, min((page + 1) * GRID_COLUMNS, count))
        rows = [np.stack([read_source(records[i], size) for i in chosen])]
        for row in range(len(labels)):
            rows.append(np.stack([_made(out, records[row * count + i]) for i in chosen]))
        name = "grid.png" if pages == 1 else f"grid-{page + 1}.png"
        write_whole(out / name, show(rows, rows=["original", *labels])._repr_png_())


def _made(out: Path, record: Record) -> np.ndarray:
    return to_float(read_image(out / record["file"]))


@cache
def _base(source: str, dtype: str) -> Diffusion:
    return load_diffusion(source, dtype=jnp.dtype(dtype))


@cache
def _base_fingerprint(source: str, dtype: str) -> str:
    return fingerprint(_base(source, dtype).params)


@cache
def _edit(path: Path) -> Edit:
    return load_edit(path)
