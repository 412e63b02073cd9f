"""Each stage on a tiny network and made-up data, for tests of the trainer that all stages share."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.data.puzzles import Puzzles
from clipdiff_jax.data.tokenize import train_tokenizer
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.edit.stage import EditObjective, make_stage
from clipdiff_jax.latent.stages import latent
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.clip import CLIPConfig, TextConfig
from clipdiff_jax.models.clip import init_params as init_clip
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.unclip import Decoder, Prior, Upsampler
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pixel import stage as base
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.reassembly import stage as reassembly
from clipdiff_jax.reassembly.stage import PuzzleStage
from clipdiff_jax.unclip.stages import ar_prior, decoder, diffusion_prior, direct_prior, upsampler
from helpers import tiny_latent, tiny_reassembly
from helpers.prior_toy import open_toy
from helpers.tiny_models import drawn, tiny_clip

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


def base_stage(dtype="float32"):
    stage = base.make_stage(
        base.BaseStage(data=AvatarsData(size=8), model=MODEL, dtype=dtype), Noise()
    )
    return replace(stage, start=drawn(stage.init, 0))


def edit_stage(dtype="float32"):
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
    clip = Clip(config, drawn(partial(init_clip, config), 1), tokenizer, jnp.dtype(dtype))
    model = Diffusion(MODEL, drawn(partial(init_params, MODEL), 0), jnp.dtype(dtype))
    objective = EditObjective(
        source_text=texts[0], target_text=texts[1], t0=100, invert_steps=3, train_steps=2, noise=1.0
    )
    images = np.stack([Noise()[i]["image"] for i in range(16)]).astype(np.float32) / 127.5 - 1
    return make_stage(objective, model, clip, images, progress=False)


def diffusion_prior_stage(dtype="float32"):
    network = DiffusionPriorConfig(8, 16, text_length=12, width=16, depth=2, heads=2)
    config = diffusion_prior.DiffusionPriorStage(data=EMBEDDINGS, model=Prior(network), dtype=dtype)
    return diffusion_prior.make_stage(config, open_toy(Path(tempfile.mkdtemp())))


def ar_prior_stage(dtype="float32"):
    network = ARPriorConfig(
        8, 16, text_length=12, dims=4, buckets=16, dot_buckets=4, width=16, depth=2, heads=2
    )
    config = ar_prior.ARPriorStage(data=EMBEDDINGS, model=network, dtype=dtype)
    return ar_prior.make_stage(config, open_toy(Path(tempfile.mkdtemp())))


def direct_prior_stage(dtype="float32"):
    network = DirectPriorConfig(8, 16, text_length=12, width=16, depth=2, heads=2)
    config = direct_prior.DirectPriorStage(data=EMBEDDINGS, model=network, dtype=dtype)
    return direct_prior.make_stage(config, open_toy(Path(tempfile.mkdtemp())))


def decoder_stage(dtype="float32"):
    conditioning = DecoderConditioningConfig(8, 16, pooled_width=32, context_width=8)
    unet = replace(
        UNET, head_width=8, out_channels=6, pooled_width=32, pooled_projection=False,
        context_width=8,
    )  # fmt: skip
    model = Decoder(unet, conditioning, 8, DiscreteSchedule("squared_cosine"))
    config = decoder.DecoderStage(data=AvatarsData(size=8), model=model, dtype=dtype)
    return decoder.make_stage(config, Noise(), tiny_clip())


def upsampler_stage(dtype="float32"):
    model = Upsampler(replace(UNET, in_channels=6), 8, 4, DiscreteSchedule(), last=False)
    config = upsampler.UpsamplerStage(data=AvatarsData(size=8), model=model, crop=1.0, dtype=dtype)
    return upsampler.make_stage(config, Noise())


def latent_stage(dtype="float32"):
    model = tiny_latent.model()
    unet = replace(model.config.unet, heads=1)  # of eight channels, as cuDNN takes them
    model = replace(model, config=replace(model.config, unet=unet), dtype=jnp.dtype(dtype))
    config = latent.LatentStage(data=AvatarsData(size=8), start="a model", dtype=dtype)
    return latent.make_stage(config, Noise(), model)


def puzzles_stage(dtype="float32"):
    config = PuzzleStage(
        data=AvatarsData(size=12), puzzles=Puzzles(grids=(2, 3)),
        model=tiny_reassembly.CONFIG, dtype=dtype,
    )  # fmt: skip
    stage = reassembly.make_stage(config, tiny_reassembly.Pictures())
    return replace(stage, start=drawn(stage.init, 0))


STAGES = {
    "base": base_stage,
    "edit": edit_stage,
    "diffusion_prior": diffusion_prior_stage,
    "ar_prior": ar_prior_stage,
    "direct_prior": direct_prior_stage,
    "decoder": decoder_stage,
    "upsampler": upsampler_stage,
    "latent": latent_stage,
    "puzzles": puzzles_stage,
}
