"""Makes the files beside it: what version ab31f15 of the library wrote, and computed.

    git checkout ab31f15 && git checkout - -- tests/references/before
    PYTHONPATH=.:tests python tests/references/before/make.py

Kept for the record: at any later version it would pin what that version does. It imports the
modules of its day, and takes about ten minutes on one core; the one name in `computations` that is
younger, `upsample_all`, was `enlarge` then. The one thing that is changed in what was written is
where it lay: paths in records and manifests become relative to this folder.
"""

import contextlib
import dataclasses
import io
import os
import shutil
import signal
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["CLIPDIFF_JAX_CACHE"] = tempfile.mkdtemp()

import jax
import numpy as np
from clipdiff_jax.config import to_dict
from clipdiff_jax.evaluate_command import main as evaluate
from clipdiff_jax.pipelines.clip import save_clip
from clipdiff_jax.pipelines.diffusion import DiffusionConfig, save_diffusion
from clipdiff_jax.pipelines.edit import Edit
from clipdiff_jax.pipelines.h_space import init_h_space
from clipdiff_jax.sample_command import main as sample
from clipdiff_jax.stages import BaseStage, RunConfig
from clipdiff_jax.stages.edit import EditObjective
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.optim import OptimConfig
from clipdiff_jax.train_command import main as train
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from references.before.computations import (
    BEFORE,
    BLACK,
    COMPUTATIONS,
    MODELS,
    RED,
    TEXTS,
    thinned,
)
from references.before.resuming import resume_arguments
from references.before.stand_in import write_stand_ins
from tiny_models import pictures, stirred, tiny_base, tiny_clip, write_unclip

import clipdiff_jax as cd
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights import fingerprint

STOP_AFTER = 5


def main() -> None:
    """Makes everything anew."""
    os.chdir(BEFORE)
    for folder in ("models", "faces", "pictures", "work", "records", "expected"):
        shutil.rmtree(BEFORE / folder, ignore_errors=True)
    (BEFORE / "expected").mkdir()
    make_models()
    make_pictures()
    make_work()
    make_records()
    make_outputs()


def make_models() -> None:
    """A tiny model folder of every kind."""
    clip, base = tiny_clip(), tiny_base()
    save_clip(MODELS / "clip", clip.config, clip.params, clip.tokenizer)
    save_diffusion(MODELS / "diffusion", base.config, base.params)
    write_unclip(MODELS / "unclip")
    objective = EditObjective(
        source_text="a face", target_text="a smile", t0=300, invert_steps=4, train_steps=3
    )
    params = stirred(base.params, 0, 0.02)
    Edit(base.config, params, objective, fingerprint(base.params)).save(MODELS / "edit_tuned")
    params = stirred(init_h_space(base.config, jax.random.key(0)), 2, 0.1)
    objective = dataclasses.replace(objective, mode="h_space", t_edit=100, t_boost=80)
    Edit(base.config, params, objective, fingerprint(base.params)).save(MODELS / "edit_h_space")


def make_pictures() -> None:
    """Faces of the demo model, and smaller pictures to train on."""
    faces = cd.load_diffusion("demo").generate(jax.random.key(11), 2, steps=40)
    for folder, name, images in (
        ("faces", "face", faces),
        ("pictures", "picture", pictures(6, 12)),
    ):
        (BEFORE / folder).mkdir()
        for i, image in enumerate(to_uint8(np.asarray(images))):
            Image.fromarray(image).save(BEFORE / folder / f"{name}{i}.png")


class StopAfter(io.StringIO):
    """Standard error that sends SIGTERM as soon as the trainer tells of a step."""

    def write(self, text: str) -> int:
        if text.startswith(f"step {STOP_AFTER} "):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().write(text)


def make_work() -> None:
    """The work folder of a training told to stop, and what it becomes when it is resumed."""
    unet = UNetConfig(channels=(8,), blocks=1, attention_levels=(0,), norm_groups=4, dropout=0.1)
    config = RunConfig(
        stage=BaseStage(
            data=FolderData(path="pictures"),
            model=DiffusionConfig(unet=unet, image_size=8, prediction="v"),
        ),
        train=TrainConfig(
            steps=12,
            batch_size=4,
            accumulate=2,
            seed=5,
            ema=0.7,
            log_every=1,
            export_every=3,
            optim=OptimConfig(
                learning_rate=1e-3, schedule="cosine", warmup=3, weight_decay=0.01, clip_norm=1.0
            ),
            checkpoint=CheckpointConfig(every=4, keep=1),
        ),
    )
    arguments = [*resume_arguments(to_dict(config)), "--workdir", "work"]
    with contextlib.redirect_stderr(StopAfter()), contextlib.suppress(SystemExit):
        train(arguments)
    assert not (BEFORE / "work" / "checkpoints" / "12").exists()
    for file in (BEFORE / "work").rglob("commit_success.txt"):
        without_place(file)
    shutil.copytree("work", "finished")
    assert train([*arguments[:-1], "finished"]) == 0
    (BEFORE / "finished" / "model").rename(BEFORE / "expected" / "resumed_model")
    (BEFORE / "finished" / "log.jsonl").rename(BEFORE / "expected" / "resumed_log.jsonl")
    shutil.rmtree("finished")


def make_records() -> None:
    """Pictures with records, of every subcommand of `sample.py`."""
    write_stand_ins(BEFORE / "stand_ins")
    few = ["--steps", "3", "--upsample-steps", "2"]
    prompts = [word for text in TEXTS for word in ("--prompt", text)]
    both = ["--edit", "models/edit_tuned", "--edit", "models/edit_h_space"]
    one, two = "faces/face0.png", "faces"
    commands = {
        "generate": ["generate", "--count", "3", "--steps", "4", "--eta", "0.5", "--seed", "3"],
        "prompts": ["generate", *prompts, *few, "--prior", "prior", "--prior-steps", "3"],
        "prompts_ar": [
            "generate", *prompts[:2], *few, "--prior", "ar_prior", "--candidates", "2",
            "--sampler", "ddim", "--eta", "0.5", "--threshold", "99",
        ],
        "prompts_rows": [
            "generate", *prompts[:2], *few, "--prior", "direct_prior",
            "--embedding", "prior", "text", "none",
        ],
        "edit": [
            "edit", two, "--model", "models/diffusion", *both, "--ratios", "2", "1",
            "--strength", "0.5", "1", "--steps", "4",
        ],
        "edit_exactly": [
            "edit", one, "--model", "models/diffusion", *both[:2], "--steps", "4",
            "--method", "edict", "--purify", "2", "--seed", "2",
        ],
        "edit_at_random": [
            "edit", two, "--model", "models/diffusion", *both[:2], "--steps", "4",
            "--random-inversion", "--strength", "0.8", "--seed", "2",
        ],
        "vary": ["vary", one, "--count", "2", *few],
        "vary_inverted": ["vary", two, "--inverted", "--eta", "0.5", *few],
        "interpolate": ["interpolate", two, "--count", "3", *few],
        "interpolate_fixed": ["interpolate", two, "--count", "2", "--latents", "fixed", *few],
        "textdiff": ["textdiff", one, "--from", BLACK, "--to", RED, "--thetas", "0.1", "0.4", *few],
        "reconstruct": ["reconstruct", one, "--dims", "8", "200", *few],
    }  # fmt: skip
    for name, words in commands.items():
        if "--model" not in words:
            model = "base" if name == "generate" else "unclip"
            words = [*words, "--model", f"stand_ins/{model}"]
        out = BEFORE / "records" / name
        assert sample([*words, "--out", str(out)]) == 0
        (out / "grid.png").unlink()
        for file in out.iterdir():
            without_place(file)
    assert evaluate(
        ["images", "records", "--reference", "pictures", "--rounds", "4", "--out", "measured"]
    ) == 0  # fmt: skip
    (BEFORE / "measured" / "scores.json").rename(BEFORE / "expected" / "images.json")
    shutil.rmtree("measured")
    shutil.rmtree("stand_ins")


def without_place(file: Path) -> None:
    """Makes the paths in a manifest, or in a picture's record, relative to this folder."""
    place = f"{BEFORE}/"
    if file.suffix != ".png":
        file.write_text(file.read_text().replace(place, ""))
        return
    with Image.open(file) as picture:
        picture.load()
        described = PngInfo()
        for name, text in picture.text.items():
            described.add_itxt(name, text.replace(place, ""))
        picture.save(file, "PNG", pnginfo=described)


def make_outputs() -> None:
    """Part of every output of `computations`."""
    outputs = {
        f"{name}: {output}": thinned(array)
        for name, compute in COMPUTATIONS.items()
        for output, array in compute().items()
    }
    np.savez_compressed(BEFORE / "expected" / "outputs.npz", **outputs)


if __name__ == "__main__":
    main()
