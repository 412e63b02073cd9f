"""Pictures of prompts: what `clipdiff generate --prompt` does, and what a prior is good for.

unCLIP (Ramesh et al. 2022, arXiv 2204.06125, section 5.1) is compared with its decoder given the
text's own embedding in place of an image's, and given the text alone: `--embedding`.
"""

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax

from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.marks import mark_in, mark_of, marked
from clipdiff_jax.cli.options import add_options, from_args, given, option_name
from clipdiff_jax.cli.prompt_files import Prompt, drawn
from clipdiff_jax.cli.sources import Sources
from clipdiff_jax.cli.unclip_model import described, guidance_of, load_model, make_maker
from clipdiff_jax.pictures.pages import Group, cell, save_columns, save_square
from clipdiff_jax.pictures.records import Record, record_keys, request_of
from clipdiff_jax.pictures.results import Results
from clipdiff_jax.pictures.watermark.key import Key
from clipdiff_jax.pictures.watermark.marking import check_sampling, marked_decoder_start
from clipdiff_jax.unclip import small
from clipdiff_jax.unclip.drawing import Drawing
from clipdiff_jax.unclip.model import UnClip

DEFAULT = Drawing()
_PRIOR = ("prior", "prior_guidance", "prior_steps", "candidates", "temperature")
_HAS = {
    "prior": ("prior_guidance", "prior_steps", "candidates"),
    "ar_prior": ("prior_guidance", "candidates", "temperature"),
    "direct_prior": (),
}
_EMBEDDINGS = {"prior": "prior", "text": "text embedding", "none": "caption alone"}
OF_UNCLIP = (*_PRIOR, "upsample_steps", "embedding")
OPTIONS = ("guidance", "negative", *OF_UNCLIP)  # for pictures of prompts only
_OWN = ("file", "index", "prompt", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The prompts, and the fields of `Drawing` that are not those of `Sampling`."""
    group = parser.add_argument_group("models that take prompts (unCLIP)")
    group.add_argument("--prompt", action="append", help="what to draw; repeat it for several")
    group.add_argument(
        "--prompts", type=Path, metavar="FILE",
        help="a text file, one prompt a line, which may have a seed, a count and a negative of its "
        "own: 'a red cube | seed=3 | count=4', or as JSON",
    )  # fmt: skip
    group.add_argument(
        "--negative", metavar="TEXT",
        help="what guidance leads away from, of a latent model too (no text)",
    )  # fmt: skip
    shown = dict.fromkeys(("guidance", "prior_guidance"), "the model's own")
    add_options(group, DEFAULT, OPTIONS, shown=shown)
    group.add_argument(
        "--embedding", nargs="+", choices=tuple(_EMBEDDINGS),
        help="what to decode: the prior's embedding (default), the text's own, or none but the "
        "text; several give several rows",
    )  # fmt: skip


def generate(args: argparse.Namespace, prompts: Sequence[Prompt], results: Results) -> None:
    """Makes `--count` pictures of each prompt."""
    drawing = from_args(DEFAULT, args)
    embeddings = list(dict.fromkeys(args.embedding or ["prior"]))
    of_prior = given(args, _PRIOR)
    if of_prior and "prior" not in embeddings:
        raise ValueError(f"{option_name(of_prior[0])} is of a prior: add 'prior' to --embedding")
    mark = mark_of(args)
    if mark is not None:
        check_sampling(mark, drawing.of_decoder)
    model = load_model(args.model, args.dtype)
    maker = _maker(model, mark)
    size = _size(model, args.size)
    settings = {one: _setting(drawing, model, one, of_prior) for one in embeddings}
    records: list[Record] = []
    for embedding, setting in settings.items():
        common = described(args, "generate", maker, {**setting, **size, "embedding": embedding})
        suffix = "" if len(embeddings) == 1 else f"-{embedding}"
        every = drawn(prompts, args, suffix)
        for prompt, seed, index, name in every:
            one = {"prompt": prompt.text, "seed": seed, "index": index, "file": name}
            if negative := prompt.negative or args.negative:
                one["negative"] = negative
            records.append({**common, **one})
    make([Job(maker, records, {})], results, args.batch_size)
    cells = [cell(results.folder / record["file"]) for record in records]
    if len(embeddings) == 1:
        captions = [record["prompt"] for record in records]
        save_square(results, cells, captions)
        return
    groups = [Group(one.prompt.text, cells[i :: len(every)]) for i, one in enumerate(every)]
    rows = [_EMBEDDINGS[embedding] for embedding in embeddings]
    save_columns(results, groups, rows)


def _size(model: UnClip, size: int | None) -> Record:
    """The field of a record that says where upsampling ends, if that is before the last.

    Raises `ValueError`, with the sizes that there are, for another.
    """
    names = [name for name in small.UPSAMPLERS if name in model.loaded]
    sizes = [model.part(name).config.image_size for name in ("decoder", *names)]
    if size is None or size == sizes[-1]:
        return {}
    if size not in sizes:
        made = ", then ".join(f"{one} px" for one in sizes[1:])
        more = f"its upsamplers make {made} of them" if made else "it has no upsampler"
        raise ValueError(f"--size {size}: this model draws {sizes[0]} px, and {more}")
    return {"size": size}


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    return _maker(load_model(record["model"], record["dtype"]), mark_in(record))


def _setting(drawing: Drawing, model: UnClip, embedding: str, of_prior: Sequence[str]) -> Record:
    """The request as a record has it: with the model's own guidance and prior, and of a prior what
    that has.

    of_prior: the options of a prior that were given; raises `ValueError` for those that it lacks.
    """
    values = drawing.to_dict() | {"guidance": guidance_of(model, "decoder", drawing.guidance)}
    whole = {name: value for name, value in values.items() if name not in _PRIOR}
    if embedding != "prior":
        return whole
    prior = model.prior_name(drawing.prior)
    for name in of_prior:
        if name != "prior" and name not in _HAS[prior]:
            raise ValueError(
                f"{option_name(name)} is given, but a part '{prior}' has no such thing"
            )
    if "prior_guidance" in _HAS[prior]:
        values["prior_guidance"] = guidance_of(model, prior, drawing.prior_guidance)
    return {**whole, "prior": prior, **{name: values[name] for name in _HAS[prior]}}


def _maker(model: UnClip, mark: Key | None) -> Maker:
    maker = make_maker(model, functools.partial(_compute, mark=mark), _OWN)
    return dataclasses.replace(maker, fingerprints={**maker.fingerprints, **marked(mark)})


def _compute(
    model: UnClip, records: Sequence[Record], sources: Sources, mark: Key | None
) -> jax.Array:
    del sources
    drawing, keys = request_of(Drawing, records[0]), record_keys(records)
    model = model.away_from(records[0].get("negative") or "")
    prompts = [record["prompt"] for record in records]
    embedding = _embedding(model, prompts, keys, drawing, records[0].get("embedding", "prior"))
    noise = None
    if mark is not None:
        noise = marked_decoder_start(model, mark, len(records), keys, drawing.of_decoder)
    made = model.decode(embedding, prompts, key=keys, sampling=drawing.of_decoder, noise=noise)
    size = records[0].get("size")
    return small.upsample_all(model, made, keys, drawing.of_upsampler, size=size)


def _embedding(
    model: UnClip, prompts: Sequence[str], keys: jax.Array, drawing: Drawing, name: str
) -> jax.Array | None:
    """What is decoded of the prompts, by the name of `--embedding`."""
    if name == "none":
        return None
    if name == "text":
        return model.encode_texts(prompts).embedding
    return model.embed_prompts(prompts, key=keys, sampling=drawing.of_prior)
