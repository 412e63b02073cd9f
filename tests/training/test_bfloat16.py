"""Networks in bfloat16 with a learned variance: finite for thousands of steps, and learning."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers.tiny_decoder import CONDITIONING, UNET, Pictures
from helpers.tiny_models import SIZE, tiny_clip

from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unclip import Decoder, Upsampler
from clipdiff_jax.pixel import stage as base
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages import decoder, upsampler

STEPS = 2000
DATA = FolderData("images")
SCHEDULE = DiscreteSchedule("squared_cosine")
LEARNED = replace(UNET, out_channels=6)
PLAIN = replace(LEARNED, pooled_width=None, pooled_projection=True, context_width=None)


def base_stage():
    model = DiffusionConfig(PLAIN, SIZE, SCHEDULE, learned_variance=True)
    config = base.BaseStage(data=DATA, model=model, dtype="bfloat16")
    return base.make_stage(config, Pictures())


def decoder_stage():
    model = Decoder(LEARNED, CONDITIONING, SIZE, SCHEDULE)
    config = decoder.DecoderStage(data=DATA, model=model, dtype="bfloat16")
    embeddings = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    return decoder.make_stage(config, Pictures(embeddings), tiny_clip())


def upsampler_stage():
    network = replace(PLAIN, in_channels=6)
    model = Upsampler(network, SIZE, SIZE // 4, SCHEDULE, learned_variance=True, last=False)
    config = upsampler.UpsamplerStage(data=DATA, model=model, crop=1.0, dtype="bfloat16")
    return upsampler.make_stage(config, Pictures())


@pytest.mark.slow
@pytest.mark.parametrize("make", [base_stage, decoder_stage, upsampler_stage])
def test_two_thousand_steps_stay_finite_and_learn(make, tmp_path):
    config = TrainConfig(
        steps=STEPS, batch_size=8, ema=0.99, log_every=50, optim=OptimConfig(learning_rate=1e-3)
    )
    state = fit(make(), config, tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.ema)))
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(steps) == STEPS // 50
    assert all(np.isfinite(step["loss"]) and np.isfinite(step["vlb"]) for step in steps)
    errors = [step["mse"] for step in steps]
    assert np.mean(errors[-5:]) < 0.7 * errors[0]
