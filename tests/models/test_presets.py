"""The published models have the published numbers of parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from clipdiff_jax.models import autoencoder, clip, presets, taesd, unclip
from clipdiff_jax.models.unet_size import num_params


def count(init) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (presets.CLIP_VIT_B32, 151.28),
        (presets.CLIP_VIT_B16, 149.62),
        (presets.CLIP_VIT_L14, 427.62),
        (presets.OPENCLIP_VIT_H14, 986.11),
    ],
)
def test_clips(config, millions):
    assert count(partial(clip.init_params, config)) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (presets.DDPM_256.unet, 113.67),
        (presets.DDPM_CIFAR10.unet, 35.75),
        (presets.ADM_64, 295.90),
        (presets.ADM_128, 421.53),
        (presets.ADM_256, 553.84),
        (presets.ADM_256_NO_CLASSES, 552.81),
        (presets.ADM_512, 559.00),
        (presets.P2_256, 93.56),
    ],
)
def test_pixel_networks(config, millions):
    assert num_params(config, config.stride) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (presets.KARLO_TEXT, 123.65),
        (presets.KARLO_PRIOR, 1022.0),
        (presets.KARLO_DECODER, 893.29),
        (presets.KARLO_UPSAMPLER, 1383.2),
    ],
)
def test_karlo(config, millions):
    assert count(partial(unclip.init_params, config)) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize(
    ("config", "number"),
    [
        (presets.SD1_UNET, 859_520_964),
        (presets.SDXL_UNET, 2_567_463_684),
        pytest.param(presets.SD2_UNET, 865_910_724, marks=pytest.mark.slow),
        pytest.param(presets.SD1_INPAINT_UNET, 859_535_364, marks=pytest.mark.slow),
        pytest.param(presets.PIX2PIX_UNET, 859_532_484, marks=pytest.mark.slow),
    ],
)
def test_latent_networks(config, number):
    assert num_params(config, 8) == number


@pytest.mark.parametrize(
    ("config", "projection", "number"),
    [
        (presets.SD1_TEXT, None, 123_060_480),
        (presets.SD2_TEXT, None, 340_387_840),
        (presets.SDXL_SECOND_TEXT, 1280, 694_659_840),
    ],
)
def test_text_towers_of_latent_models(config, projection, number):
    ids = jnp.zeros((1, config.context_length), jnp.int32)
    network = clip.TextTransformer(config, projection)
    assert count(lambda key: network.init(key, ids)) == number


def test_autoencoders():
    kl, tiny = autoencoder.AutoencoderConfig(), taesd.TinyAutoencoderConfig()
    assert count(partial(autoencoder.init_params, kl)) == 83_653_863
    assert count(partial(taesd.init_params, tiny)) == 2_445_063
