"""An edit from two texts: learned where it is asked for, and kept.

    clipdiff edit photo.png --from "a serious face" --to "a smiling face" --out edited/

What is learned is named by a hash of all that it depends on: the models, the pictures, the texts
and the settings. Asked for again, it is there.
"""

import argparse
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipdiff_jax.cli.arguments import DEMO
from clipdiff_jax.cli.photographs import read_photographs
from clipdiff_jax.cli.sources import Source
from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.core.files import cache_dir
from clipdiff_jax.data.images import digest_of
from clipdiff_jax.edit.finetune import finetune_edit
from clipdiff_jax.edit.presets import DEFAULT
from clipdiff_jax.edit.space import Base
from clipdiff_jax.pixel.load import is_demo
from clipdiff_jax.weights.params import fingerprint

STEPS, BATCH, PASSES = 48, 4, 8  # updates at least, pictures each, passes at least
_OPTIONS = ("source_text", "target_text", "clip", "learn_from")
_SAID = ("--from", "--to", "--clip", "--learn-from")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The texts, the CLIP that knows what they mean, and what is learned from."""
    group = parser.add_argument_group("an edit that is learned first, in place of --edit")
    group.add_argument(
        "--from", dest="source_text", metavar="TEXT", help="what the pictures show (none)"
    )
    group.add_argument("--to", dest="target_text", metavar="TEXT", help="what they should show")
    group.add_argument(
        "--clip", metavar="CLIP",
        help="the CLIP that judges: a folder, a file, or a repository of the Hub such as "
        "openai/clip-vit-base-patch16 (demo, with the demo's model)",
    )  # fmt: skip
    group.add_argument(
        "--learn-from", nargs="+", type=Path, metavar="PATH",
        help="pictures to learn from, some 16 to 50 (default: those that are edited)",
    )  # fmt: skip


def is_asked_for(args: argparse.Namespace) -> bool:
    """Whether an edit is to be learned. Raises `ValueError` where what is said is not enough."""
    given = [said for name, said in zip(_OPTIONS, _SAID, strict=True) if getattr(args, name, None)]
    if not given:
        return False
    if args.edit:
        raise ValueError(f"{given[0]} learns an edit: leave out --edit, or {given[0]}")
    if not (args.source_text and args.target_text):
        raise ValueError("an edit is learned from two texts: give --from and --to")
    if args.source_text == args.target_text:
        raise ValueError(f"--from and --to are both '{args.source_text}': no direction")
    return True


def learn(args: argparse.Namespace, base: Base, sources: Sequence[Source], align: str) -> Path:
    """The folder of the edit, learned where it is not there yet.

    sources: what is edited. Raises `ValueError` for a model of others without a CLIP.
    """
    if not args.clip and not is_demo(base):
        raise ValueError(
            "--clip is needed with this model: the demo's knows cartoon faces alone; such as "
            "--clip openai/clip-vit-base-patch16"
        )
    if args.learn_from:
        size = base.config.image_size
        sources = read_photographs(args.learn_from, size, args.on_error, align)
    pictures = np.stack([face for one in sources for face in one.faces or (one.pixels,)])
    clip = load_clip(args.clip or DEMO)
    texts = (args.source_text, args.target_text)
    updates = -(-len(pictures) // min(BATCH, len(pictures)))
    passes = max(PASSES, -(-STEPS // updates))
    depends = [base.fingerprint, fingerprint(clip.params), digest_of(pictures), *texts, passes]
    folder = cache_dir() / "edits" / f"{_slug(texts)}-{_digest(depends)}"
    if not folder.exists():
        logger.info("learning '%s' -> '%s' from %d pictures", *texts, len(pictures))
        learned = finetune_edit(pictures, base, clip, *texts, passes=passes, batch_size=BATCH)
        learned.save(folder)
    logger.info("the edit is in '%s': --edit %s applies it to other pictures", folder, folder)
    return folder


def _digest(depends: Sequence[str | int]) -> str:
    document = json.dumps([*depends, str(DEFAULT)])
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def _slug(texts: Sequence[str]) -> str:
    """The texts as part of a file name."""
    words = [re.sub(r"\W+", "-", text.lower()).strip("-")[:32] for text in texts]
    return "-to-".join(words)
