"""The published models have the published numbers of parameters."""

from functools import partial

import jax
import pytest

from clipdiff_jax.models import clip, presets, unclip
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
