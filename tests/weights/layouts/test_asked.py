"""What a file cannot say is asked for, and a guess is said in the log."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip
from safetensors.numpy import save_file

import clipdiff_jax as cd
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unet import UNet, UNetConfig
from clipdiff_jax.weights.clip_flags import ClipFlags
from clipdiff_jax.weights.documents import learns_variance
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.guided_flags import GuidedFlags
from clipdiff_jax.weights.layouts import clip_openai, pixel_ddpm, unet_guided
from clipdiff_jax.weights.tables import expected, export_params

SMALL = UNetConfig(
    in_channels=6, out_channels=6, channels=(32, 64), blocks=1, attention_levels=(1,),
    head_width=32, norm_eps=1e-5, time_order="cos_sin", time_shift=0.0, scale_shift=True,
    residual_resampling=True, downsample_padding="both",
)  # fmt: skip


def zeros(table, unet, size=16):
    def init(key):
        x = jnp.zeros((1, size, size, unet.in_channels))
        return UNet(unet).init(key, x, jnp.zeros((1,), jnp.int32))["params"]

    shapes = jax.eval_shape(init, jax.random.key(0))
    return {name: np.zeros(s, np.float32) for name, s in expected(table, shapes).items()}


def test_an_upsampler_is_refused_by_name(tmp_path):
    """guided-diffusion's `64_256_upsampler.pt`: 6 channels in, and 6 out with the variance."""
    file = tmp_path / "64_256_upsampler.safetensors"
    save_file(zeros(unet_guided.table(SMALL), SMALL), file)
    flags = GuidedFlags(num_head_channels=32, image_size=16)
    with pytest.raises(WeightsError, match=r"64_256_upsampler.* is an upsampler.*channels=6"):
        cd.load_diffusion(file, flags=flags)
    model = cd.load_diffusion(file, flags=dataclasses.replace(flags, channels=6))
    assert (model.config.unet.in_channels, model.config.learned_variance) == (6, False)
    with pytest.raises(WeightsError, match="does not fit pictures of 3 channels"):
        cd.load_diffusion(file, flags=dataclasses.replace(flags, channels=3))


@pytest.mark.parametrize(
    ("taken", "given", "learned"), [(3, 3, False), (3, 6, True), (1, 2, True), (4, 8, True)]
)
def test_channels_that_say_it(taken, given, learned, tmp_path):
    unet = dataclasses.replace(SMALL, in_channels=taken, out_channels=given)
    assert learns_variance(unet, None, tmp_path) == learned


@pytest.mark.parametrize(
    ("taken", "given", "message"),
    [(6, 3, "is an upsampler"), (2, 1, "is an upsampler"), (2, 2, "upsampler"), (9, 4, "9 or 18")],
)
def test_channels_that_are_no_picture_alone(taken, given, message, tmp_path):
    unet = dataclasses.replace(SMALL, in_channels=taken, out_channels=given)
    with pytest.raises(WeightsError, match=message):
        learns_variance(unet, None, tmp_path)


def test_guesses_of_a_pixel_model_are_said_and_can_be_told(tmp_path, caplog):
    unet = UNetConfig(channels=(32, 32), blocks=1, attention_levels=(1,))
    save_file(zeros(pixel_ddpm.TABLE, unet, 32), tmp_path / "x.safetensors")
    with caplog.at_level(logging.WARNING, "clipdiff_jax"):
        assert cd.load_diffusion(tmp_path / "x.safetensors").config.image_size == 32
    assert "nothing in" in caplog.text
    assert "32 px" in caplog.text
    caplog.clear()
    flags = GuidedFlags(image_size=64, prediction="v", noise_schedule="cosine")
    model = cd.load_diffusion(tmp_path / "x.safetensors", flags=flags)
    assert model.config == DiffusionConfig(unet, 64, flags.schedule, "v")
    assert not caplog.text


def test_the_moving_average_is_chosen(tmp_path):
    unet = UNetConfig(channels=(32, 32), blocks=1, attention_levels=(1,))
    weights = zeros(pixel_ddpm.TABLE, unet, 32)
    both = {f"model.{n}": a for n, a in weights.items()}
    both |= {f"ema_model.{n}": a + 2 for n, a in weights.items()}
    save_file(both, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"found ema_model, model; choose one .*'ema_model'"):
        cd.load_diffusion(tmp_path / "x.safetensors")
    model = cd.load_diffusion(tmp_path / "x.safetensors", part="ema_model")
    assert float(model.params["conv_in"]["bias"][0]) == 2
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match="is a folder: `part`"):
        cd.load_diffusion(tmp_path / "folder", part="ema")


def test_activation_and_heads_of_a_bare_clip(tmp_path, caplog):
    """A training's checkpoint is none of OpenAI's: how it was trained is asked for."""
    clip = tiny_clip()
    tensors = export_params(clip_openai.table(clip.config), clip.params)
    save_file({f"module.{n}": a for n, a in tensors.items()}, tmp_path / "epoch_3.safetensors")
    with pytest.raises(WeightsError, match=r"epoch_3.*nothing in it tells its activation"):
        cd.load_clip(tmp_path / "epoch_3.safetensors", tokenizer=clip.tokenizer)
    flags = ClipFlags(activation="gelu", vision_heads=2, text_heads=2)
    told = cd.load_clip(tmp_path / "epoch_3.safetensors", tokenizer=clip.tokenizer, flags=flags)
    assert told.config.vision == dataclasses.replace(clip.config.vision, activation="gelu")
    assert told.config.text.heads == 2
    assert told.embed_images(pictures(2)).shape == (2, 8)
    with pytest.raises(WeightsError, match="3 heads do not divide the width 16"):
        cd.load_clip(
            tmp_path / "epoch_3.safetensors",
            tokenizer=clip.tokenizer,
            flags=ClipFlags(vision_heads=3),
        )
    save_file(tensors, tmp_path / "clip.safetensors")
    with caplog.at_level(logging.WARNING, "clipdiff_jax"):
        cd.load_clip(tmp_path / "clip.safetensors", tokenizer=clip.tokenizer)
    assert "taking OpenAI's, QuickGELU and heads 64 wide" in caplog.text
