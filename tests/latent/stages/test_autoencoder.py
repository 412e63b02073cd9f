"""Stage `autoencoder`: what it learns, the scale of its latents, what it exports and refuses."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures

from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.latent.stages.autoencoder import (
    AutoencoderStage,
    kl_to_normal,
    latent_scaling,
    make_stage,
    psnr,
)
from clipdiff_jax.models.autoencoder import AutoencoderConfig, Posterior
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts.latent_ours import read_autoencoder

MODEL = AutoencoderConfig(channels=(16,), blocks=1, norm_groups=4, middle_attention=False, patch=4)
CONFIG = AutoencoderStage(data=AvatarsData(size=8), model=MODEL, image_size=8, preview_count=2)


class Smooth:
    """Smooth pictures of 8 pixels."""

    fingerprint = "smooth"
    images = np.round((pictures(32, 8) + 1) * 127.5).astype(np.uint8)

    def __len__(self):
        return 32

    def __getitem__(self, index):
        return {"image": self.images[index]}


@pytest.mark.slow
def test_it_learns_to_reconstruct_and_exports_what_can_be_started_from(tmp_path):
    train = TrainConfig(
        steps=200, batch_size=16, ema=0.9, log_every=200, optim=OptimConfig(learning_rate=5e-3)
    )
    stage = make_stage(CONFIG, Smooth())
    state = fit(stage, train, tmp_path)
    batch = {"image": jnp.asarray(Smooth.images / 127.5 - 1, jnp.float32)}
    loss = jax.jit(stage.loss)
    start = jax.jit(stage.init)(jax.random.key(0))
    before, _ = loss(start, None, batch, jax.random.key(1))
    after, aux = loss(state.params, None, batch, jax.random.key(1))
    assert float(after) < 0.5 * float(before)
    assert float(aux.metrics["psnr"]) > 14
    config, params = read_autoencoder(tmp_path)
    assert replace(config, scaling=MODEL.scaling) == MODEL
    np.testing.assert_array_equal(params["quant"]["bias"], np.asarray(state.ema["quant"]["bias"]))
    # The scale is that of the exported network's latents.
    measured = latent_scaling(config, params, np.asarray(batch["image"]))
    assert config.scaling == pytest.approx(measured, rel=1e-5)
    again = make_stage(replace(CONFIG, start=str(tmp_path)), Smooth())
    assert float(loss(again.start, None, batch, jax.random.key(1))[0]) < 0.7 * float(before)
    shown = stage.preview(params, None, jax.random.key(0))
    assert {name: images.shape for name, images in shown.items()} == {
        "originals": (2, 8, 8, 3),
        "reconstructions": (2, 8, 8, 3),
    }
    with pytest.raises(ValueError, match="has the autoencoder"):
        make_stage(replace(CONFIG, start=str(tmp_path), model=replace(MODEL, blocks=2)), Smooth())


def test_the_kl_is_that_of_normal_distributions():
    mean, logvar = jnp.array([[[[0.0, 2.0]]]]), jnp.array([[[[0.0, np.log(4.0)]]]])
    exact = 0.5 * (4 + 4 - 1 - np.log(4.0))
    assert float(kl_to_normal(Posterior(mean, logvar))) == pytest.approx(exact / 2, rel=1e-6)


def test_psnr_is_of_a_range_of_two():
    assert float(psnr(jnp.full((1, 4, 4, 3), 0.2))) == pytest.approx(20.0, abs=1e-4)


def test_an_autoencoder_alone_is_told_from_other_models(tmp_path):
    with pytest.raises(WeightsError, match="kind 'diffusion', not 'autoencoder'"):
        read_autoencoder("clipdiff_jax/assets/base")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_weight": -1.0}, "kl_weight is -1.0, expected 0 or more"),
        ({"lpips_weight": 0.5}, "lpips_weight is 0.5: give its weights"),
        ({"image_size": 10}, "image_size 10 is not a multiple of the autoencoder's factor 4"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **options)
