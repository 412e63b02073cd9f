"""Trains a tiny stage on N simulated devices and writes losses and parameters.

Run as a script: sharded_run.py DEVICES DATA FSDP STAGE OUT [WORKDIR]. Devices have to be simulated
before jax starts, hence a process of its own.
"""

import os
import sys

DEVICES = sys.argv[1] if __name__ == "__main__" else "1"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from clipdiff_jax.data.avatars import AvatarsData
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.data.tokenize import train_tokenizer
from clipdiff_jax.models.clip import CLIPConfig, TextConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pipelines.clip import Clip
from clipdiff_jax.pipelines.clip import init_params as init_clip
from clipdiff_jax.pipelines.diffusion import Diffusion, DiffusionConfig, init_params
from clipdiff_jax.stages import base
from clipdiff_jax.stages.edit import EditObjective, make_stage
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.loop import fit
from clipdiff_jax.train.optim import OptimConfig
from clipdiff_jax.train.sharding import MeshConfig
from clipdiff_jax.weights import flatten

UNET = UNetConfig(channels=(8, 16), blocks=1, attention_levels=(1,), norm_groups=4)
MODEL = DiffusionConfig(unet=UNET, image_size=8, prediction="v")


EMBEDDINGS = EmbeddingsData("")  # the toy's own are taken


class Noise:
    """Fixed random pictures of 8 px."""

    fingerprint = "noise"

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return {"image": np.random.default_rng(index).integers(0, 255, (8, 8, 3)).astype(np.uint8)}


def base_stage():
    stage = base.make_stage(base.BaseStage(data=AvatarsData(size=8), model=MODEL), Noise())
    return replace(stage, start=filled(stage.init(jax.random.key(0))))


def edit_stage():
    texts = ["a face", "a smiling face"]
    tokenizer = train_tokenizer(texts, 520, 12)
    vision = ModifiedResNetConfig(
        image_size=8,
        width=8,
        depths=(1,),
        heads=2,
        stem="space_to_depth",
        norm="group",
        norm_groups=4,
    )
    text = TextConfig(
        vocab_size=tokenizer.vocab_size,
        context_length=12,
        width=8,
        depth=1,
        heads=2,
        mlp_width=16,
        eos_token_id=tokenizer.end_id,
    )
    config = CLIPConfig(vision, text, projection_dim=8)
    clip = Clip(config, init_clip(config, jax.random.key(1)), tokenizer)
    model = Diffusion(MODEL, filled(init_params(MODEL, jax.random.key(0))))
    objective = EditObjective(
        source_text=texts[0], target_text=texts[1], t0=100, invert_steps=3, train_steps=2, noise=1.0
    )
    images = np.stack([Noise()[i]["image"] for i in range(16)]).astype(np.float32) / 127.5 - 1
    return make_stage(objective, model, clip, images, progress=False)


def diffusion_prior_stage():
    from prior_toy import open_toy

    from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
    from clipdiff_jax.pipelines.unclip_configs import Prior
    from clipdiff_jax.stages import diffusion_prior

    network = DiffusionPriorConfig(8, 16, text_length=12, width=16, depth=2, heads=2)
    config = diffusion_prior.DiffusionPriorStage(data=EMBEDDINGS, model=Prior(network))
    return diffusion_prior.make_stage(config, open_toy(Path(tempfile.mkdtemp())))


def filled(params):
    """Zero-initialised layers filled, so that every parameter matters from the first step."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noisy = [p + 0.1 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, noisy)


def main(data: int, fsdp: int, stage: str, out: Path, workdir: Path | None) -> None:
    config = TrainConfig(
        steps=3,
        batch_size=16,
        accumulate=2,
        ema=0.9,
        log_every=1,
        # Plain enough that float32 rounding is not blown up by dividing by tiny second moments.
        optim=OptimConfig(learning_rate=1e-3, eps=1e-3),
        mesh=MeshConfig(data=data, fsdp=fsdp, min_split=64),
        checkpoint=CheckpointConfig(every=100),
    )
    stages = {
        "base": base_stage,
        "edit": edit_stage,
        "diffusion_prior": diffusion_prior_stage,
    }
    state = fit(stages[stage](), config, workdir)
    arrays = flatten(jax.tree.map(np.asarray, {"params": state.params, "ema": state.ema}))
    split = sum("fsdp" in str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.params))
    np.savez(out, step=int(state.step), split=split, **arrays)


if __name__ == "__main__":
    main(
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
        Path(sys.argv[5]),
        Path(sys.argv[6]) if len(sys.argv) > 6 else None,
    )
