"""Stage `base`: what it learns on plain data, and what it exports."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.stage import BaseStage, make_stage
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig

UNET = UNetConfig(channels=(8,), blocks=1, attention_levels=(), norm_groups=4, input_skip=True)
MODEL = DiffusionConfig(unet=UNET, image_size=8, prediction="v")
CONFIG = BaseStage(data=AvatarsData(size=8), model=MODEL)


class Grey:
    """Pictures of one grey each: x0 is known as soon as the noise is small."""

    fingerprint = "grey"

    def __len__(self):
        return 32

    def __getitem__(self, index):
        return {"image": np.full((8, 8, 3), 8 * index, np.uint8)}


@pytest.mark.slow
def test_loss_falls_and_the_export_is_the_moving_average(tmp_path):
    train = TrainConfig(
        steps=200, batch_size=16, ema=0.9, log_every=200, optim=OptimConfig(learning_rate=3e-3)
    )
    stage = make_stage(CONFIG, Grey())
    state = fit(stage, train, tmp_path)
    batch = {"image": jnp.linspace(-1, 1, 16)[:, None, None, None] * jnp.ones((16, 8, 8, 3))}
    loss, start = jax.jit(stage.loss), jax.jit(stage.init)(jax.random.key(0))
    before, _ = loss(start, None, batch, jax.random.key(1))
    after, _ = loss(state.params, None, batch, jax.random.key(1))
    assert float(after) < 0.6 * float(before)
    model = load_diffusion(tmp_path)
    assert model.config == MODEL
    np.testing.assert_array_equal(model.params["conv_out"]["bias"], state.ema["conv_out"]["bias"])
    images = model.generate(2, key=jax.random.key(0), steps=3)
    assert images.shape == (2, 8, 8, 3)
    # Each picture depends on its own key alone.
    np.testing.assert_allclose(
        model.generate(1, key=jax.random.key(0), steps=3)[0], images[0], atol=1e-5
    )


def test_a_start_of_another_architecture_is_refused(tmp_path):
    stage = make_stage(CONFIG, Grey())
    params = jax.jit(stage.init)(jax.random.key(0))
    stage.export(tmp_path / "model", params)
    again = make_stage(replace(CONFIG, start=str(tmp_path)), Grey())
    np.testing.assert_array_equal(again.start["conv_in"]["kernel"], params["conv_in"]["kernel"])
    other = DiffusionConfig(unet=replace(UNET, channels=(16,)), image_size=8, prediction="v")
    with pytest.raises(ValueError, match="has the network"):
        make_stage(replace(CONFIG, model=other, start=str(tmp_path)), Grey())


@pytest.mark.slow
def test_a_start_may_lack_the_last_stage_at_full_resolution(tmp_path):
    patches = replace(UNET, patch=2)
    plain = make_stage(replace(CONFIG, model=replace(MODEL, unet=patches)), Grey())
    params = jax.jit(plain.init)(jax.random.key(1))
    plain.export(tmp_path / "model", params)
    refined = replace(MODEL, unet=replace(patches, refine_channels=4))
    start = make_stage(replace(CONFIG, model=refined, start=str(tmp_path)), Grey()).start
    np.testing.assert_array_equal(start["conv_in"]["kernel"], params["conv_in"]["kernel"])
    shapes = jax.eval_shape(
        make_stage(replace(CONFIG, model=refined), Grey()).init, jax.random.key(0)
    )
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, shapes)
    refined_folder = tmp_path / "refined"
    make_stage(replace(CONFIG, model=refined), Grey()).export(refined_folder, start)
    with pytest.raises(ValueError, match="has the network"):
        make_stage(
            replace(CONFIG, model=replace(MODEL, unet=patches), start=str(refined_folder)), Grey()
        )


def test_learned_variance_needs_its_channels():
    with pytest.raises(ValueError, match="out_channels is 3, expected 6"):
        DiffusionConfig(unet=UNET, image_size=8, learned_variance=True)
    with pytest.raises(ValueError, match="not a multiple"):
        DiffusionConfig(unet=UNetConfig(), image_size=100)
