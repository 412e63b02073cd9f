"""The upsamplers' recipes: the paper's networks have the paper's sizes and settings."""

import pytest
from helpers.paths import CONFIGS

from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.data.degrade import BSR, Blur
from clipdiff_jax.models.unet_size import num_params
from clipdiff_jax.training.config import RunConfig

UNCLIP = CONFIGS / "unclip"


def load(name, *overrides):
    return load_config(UNCLIP / name, RunConfig, overrides)


@pytest.mark.parametrize(
    ("name", "millions", "without"),
    [("paper/upsampler_256.py", 730, 692), ("paper/upsampler_1024.py", 282, 267)],
)
def test_the_papers_upsamplers_have_its_number_of_parameters(name, millions, without):
    """The paper says 700M and 300M."""
    unet = load(name).stage.model.network
    assert round(num_params(unet, unet.stride) / 1e6) == millions
    unet = load(name, "stage.model.network.scale_shift=False").stage.model.network
    assert round(num_params(unet, unet.stride) / 1e6) == without


@pytest.mark.parametrize(
    ("name", "sizes", "crop", "betas", "dropout", "rate", "batch"),
    [
        ("paper/upsampler_256.py", (64, 256), 64, "squared_cosine", 0.1, 1.2e-4, 1024),
        ("paper/upsampler_1024.py", (256, 1024), 256, "linear", 0.0, 1e-4, 512),
    ],
)
def test_the_papers_table_3(name, sizes, crop, betas, dropout, rate, batch):
    config = load(name)
    model, train = config.stage.model, config.train
    assert (model.low_size, model.image_size) == sizes
    assert config.stage.crop_size == crop
    assert (model.schedule.betas, model.schedule.num_steps) == (betas, 1000)
    assert model.network.dropout == dropout
    assert (train.optim.learning_rate, train.batch_size, train.ema) == (rate, batch, 0.9999)
    assert (train.optim.b1, train.optim.b2, train.optim.eps) == (0.9, 0.999, 1e-8)


def test_each_has_its_degradation():
    assert load("avatars/upsampler.py").stage.degradation == Blur()
    assert load("paper/upsampler_256.py").stage.degradation == Blur(3, 0.6, 1.0)
    assert load("paper/upsampler_1024.py").stage.degradation == BSR("light")
    strong = load("paper/upsampler_1024.py", "stage.degradation.strength=full")
    assert strong.stage.degradation == BSR("full")
