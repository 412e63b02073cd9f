"""Trains tiny stages on N simulated devices and writes losses and parameters.

Run as a script: sharded_run.py DEVICES OUT STAGE:DATA:FSDP ..., where each of the last is a run on
a mesh of DATA x FSDP devices. Its work folder is OUT/STAGE-DATAxFSDP and its arrays are beside it
in an .npz.
Devices have to be simulated before jax starts, hence a process of its own.
"""

import os
import sys

DEVICES = sys.argv[1] if __name__ == "__main__" else "1"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from prior_toy import open_toy
from tiny_models import drawn, tiny_clip

from clipdiff_jax.data.avatars import AvatarsData
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.data.tokenize import train_tokenizer
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.clip import CLIPConfig, TextConfig
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pipelines.clip import Clip
from clipdiff_jax.pipelines.clip import init_params as init_clip
from clipdiff_jax.pipelines.diffusion import Diffusion, DiffusionConfig, init_params
from clipdiff_jax.pipelines.unclip_configs import Decoder, Prior, Upsampler
from clipdiff_jax.stages import (
    ar_prior,
    base,
    decoder,
    diffusion_prior,
    direct_prior,
    upsampler,
)
from clipdiff_jax.stages.edit import EditObjective, make_stage
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.loop import fit
from clipdiff_jax.train.optim import OptimConfig
from clipdiff_jax.train.sharding import MeshConfig
from clipdiff_jax.weights import flatten

UNET = UNetConfig(channels=(8,), blocks=1, attention_levels=(0,), norm_groups=4)
MODEL = DiffusionConfig(unet=UNET, image_size=8, prediction="v")


EMBEDDINGS = EmbeddingsData("")  # the toy's own are taken


class Noise:
    """Fixed random pictures of 8 px."""

    fingerprint = "noise"

    def __len__(self):
        return 24

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        return {"image": pixels, "captions": ["a smiling face"]}


def base_stage():
    stage = base.make_stage(base.BaseStage(data=AvatarsData(size=8), model=MODEL), Noise())
    return replace(stage, start=drawn(stage.init, 0))


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
    clip = Clip(config, drawn(partial(init_clip, config), 1), tokenizer)
    model = Diffusion(MODEL, drawn(partial(init_params, MODEL), 0))
    objective = EditObjective(
        source_text=texts[0], target_text=texts[1], t0=100, invert_steps=3, train_steps=2, noise=1.0
    )
    images = np.stack([Noise()[i]["image"] for i in range(16)]).astype(np.float32) / 127.5 - 1
    return make_stage(objective, model, clip, images, progress=False)


def diffusion_prior_stage():
    network = DiffusionPriorConfig(8, 16, text_length=12, width=16, depth=2, heads=2)
    config = diffusion_prior.DiffusionPriorStage(data=EMBEDDINGS, model=Prior(network))
    return diffusion_prior.make_stage(config, open_toy(Path(tempfile.mkdtemp())))


def ar_prior_stage():
    network = ARPriorConfig(
        8, 16, text_length=12, dims=4, buckets=16, dot_buckets=4, width=16, depth=2, heads=2
    )
    config = ar_prior.ARPriorStage(data=EMBEDDINGS, model=network)
    return ar_prior.make_stage(config, open_toy(Path(tempfile.mkdtemp())))


def direct_prior_stage():
    network = DirectPriorConfig(8, 16, text_length=12, width=16, depth=2, heads=2)
    config = direct_prior.DirectPriorStage(data=EMBEDDINGS, model=network)
    return direct_prior.make_stage(config, open_toy(Path(tempfile.mkdtemp())))


def decoder_stage():
    conditioning = DecoderConditioningConfig(8, 16, pooled_width=32, context_width=8)
    unet = replace(
        UNET, head_width=8, out_channels=6, pooled_width=32, pooled_projection=False,
        context_width=8,
    )  # fmt: skip
    model = Decoder(unet, conditioning, 8, DiscreteSchedule("squared_cosine"))
    config = decoder.DecoderStage(data=AvatarsData(size=8), model=model)
    return decoder.make_stage(config, Noise(), tiny_clip())


def upsampler_stage():
    model = Upsampler(replace(UNET, in_channels=6), 8, 4, DiscreteSchedule(), last=False)
    config = upsampler.UpsamplerStage(data=AvatarsData(size=8), model=model, crop=1.0)
    return upsampler.make_stage(config, Noise())


STAGES = {
    "base": base_stage,
    "edit": edit_stage,
    "diffusion_prior": diffusion_prior_stage,
    "ar_prior": ar_prior_stage,
    "direct_prior": direct_prior_stage,
    "decoder": decoder_stage,
    "upsampler": upsampler_stage,
}


def run(stage: str, data: int, fsdp: int, out: Path) -> None:
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
    name = f"{stage}-{data}x{fsdp}"
    state = fit(STAGES[stage](), config, out / name)
    arrays = flatten(jax.tree.map(np.asarray, {"params": state.params, "ema": state.ema}))
    split = sum("fsdp" in str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.params))
    np.savez(out / f"{name}.npz", step=int(state.step), split=split, **arrays)


if __name__ == "__main__":
    for text in sys.argv[3:]:
        stage, data, fsdp = text.split(":")
        run(stage, int(data), int(fsdp), Path(sys.argv[2]))
