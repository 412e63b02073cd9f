"""New pictures from a diffusion model, without prompts: what `clipdiff generate` does then."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from clipdiff_jax.cli.arguments import name_of
from clipdiff_jax.cli.loaded import held
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.marks import mark_in, mark_of, marked
from clipdiff_jax.cli.options import from_args
from clipdiff_jax.cli.sources import Sources
from clipdiff_jax.core.types import DTypeName, as_dtype
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.pictures.pages import cell, save_square
from clipdiff_jax.pictures.records import Record, record_keys, request_of
from clipdiff_jax.pictures.results import Results
from clipdiff_jax.pictures.watermark.key import Key
from clipdiff_jax.pictures.watermark.marking import check_sampling, marked_start
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion

DEFAULT = Sampling(steps=40)
COUNT = 16
_OWN = ("file", "index", "class")


def generate(args: argparse.Namespace, results: Results) -> None:
    """Makes `--count` pictures."""
    sampling = from_args(DEFAULT, args)
    mark = mark_of(args)
    if mark is not None:
        check_sampling(mark, sampling)
    base = load_base(args.model, args.dtype)
    sampling.times(base.config.schedule)  # raises before anything is started
    check_drawable(base)
    if args.size not in (None, base.config.image_size):
        raise ValueError(
            f"--size {args.size}: this model draws {base.config.image_size} px and has no "
            "upsampler; an unCLIP has one (give --prompt), and latent models draw other sizes"
        )
    chosen = args.classes
    if chosen is None and base.config.unet.num_classes is not None:
        raise ValueError(f"this model has {base.config.unet.num_classes} classes: give --class")
    base.check_classes(chosen, len(chosen or [0]))
    maker = _maker(base, mark)
    common = {
        "command": "generate",
        "model": name_of(args.model),
        **maker.fingerprints,
        **sampling.to_dict(),
        "seed": args.seed,
        "dtype": args.dtype,
    }
    count = COUNT if args.count is None else args.count
    records = [
        {**common, **_class_of(chosen, i), "index": i, "file": f"{args.seed}-{i:05d}.{args.format}"}
        for i in range(count)
    ]
    make([Job(maker, records, {})], results, args.batch_size)
    cells = [cell(results.folder / record["file"]) for record in records]
    save_square(results, cells, _captions(records))


def _captions(records: Sequence[Record]) -> list[str]:
    """The names of the files, and the class where there is one."""
    return [
        Path(one["file"]).stem + (f", class {one['class']}" if "class" in one else "")
        for one in records
    ]


def check_drawable(base: Diffusion) -> None:
    """Raises `ValueError` for a model whose pictures are neither grey nor RGB."""
    channels = base.config.unet.in_channels
    if channels not in (1, 3):
        raise ValueError(
            f"this model draws pictures of {channels} channels, expected 1 (grey) or 3 (RGB)"
        )


def _class_of(classes: Sequence[int] | None, index: int) -> Record:
    """The field of a record of a model that has classes: they take turns."""
    return {} if classes is None else {"class": classes[index % len(classes)]}


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    return _maker(load_base(record["model"], record["dtype"]), mark_in(record))


def load_base(source: str, dtype: DTypeName) -> Diffusion:
    """The diffusion model that a record, or the command line, names."""
    return held(source, Diffusion, lambda: load_diffusion(source, dtype=as_dtype(dtype)))


def _maker(base: Diffusion, mark: Key | None) -> Maker:
    def compute(records: Sequence[Record], sources: Sources) -> jax.Array:
        del sources
        sampling = request_of(Sampling, records[0])
        classes = [record["class"] for record in records] if "class" in records[0] else None
        keys, noise = record_keys(records), None
        if mark is not None:
            noise = marked_start(base, mark, len(records), keys, sampling)
        made = base.generate(key=keys, classes=classes, noise=noise, sampling=sampling)
        return jnp.repeat(made, 3, axis=-1) if made.shape[-1] == 1 else made

    return Maker(compute, {"model_fingerprint": base.fingerprint, **marked(mark)}, _OWN)
