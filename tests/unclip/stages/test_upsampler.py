"""Stage `upsampler`: its small images, its loss, what it learns and what it exports."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.degrade import BSR, Blur, degrade
from clipdiff_jax.data.transforms import to_float, to_uint8
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.unclip import Upsampler, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.upsampler import LargeAndSmall, UpsamplerStage, make_stage
from clipdiff_jax.weights.layouts.unclip_ours import read_part_folder, write_part

UNET = UNetConfig(
    in_channels=6, channels=(16,), blocks=1, attention_levels=(), middle_attention=False,
    norm_groups=4, patch=4, input_skip=True,
)  # fmt: skip
MODEL = Upsampler(UNET, 32, 8, DiscreteSchedule(), prediction="x0", last=False)
CONFIG = UpsamplerStage(data=AvatarsData(size=32), model=MODEL, crop=0.5, preview_steps=5)


class Gradients:
    """Pictures whose four corners have random colours."""

    fingerprint = "gradients"

    def __len__(self):
        return 32

    def __getitem__(self, index):
        corners = np.random.default_rng(index).integers(0, 256, (2, 2, 3), np.uint8)
        return {"image": np.asarray(Image.fromarray(corners).resize((32, 32), Image.BILINEAR))}


def batch_of(count, config=CONFIG):
    make = LargeAndSmall(config)
    examples = [make(Gradients()[i], np.random.default_rng(i)) for i in range(count)]
    return {name: jnp.stack([e[name] for e in examples]) for name in examples[0]}


def first_loss(stage, batch):
    params = jax.jit(stage.init)(jax.random.key(0))
    return jax.jit(lambda params, batch: stage.loss(params, None, batch, jax.random.key(1)))(
        params, batch
    )


def test_a_crop_is_a_part_of_the_picture_and_its_small_image_is_of_the_crop():
    config = replace(CONFIG, crop=0.25, degradation=Blur(probability=0.0), resampling="bicubic")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (8, 8), (0, 1))
    windows = windows.transpose(0, 1, 3, 4, 2)
    seen, mirrored = set(), 0
    for seed in range(200):
        made = LargeAndSmall(config)({"image": pixels}, np.random.default_rng(seed))
        image = to_uint8(made["image"])
        found = np.argwhere((windows == image).all((2, 3, 4)))
        if len(found) == 0:
            mirrored += 1
            found = np.argwhere((windows == image[:, ::-1]).all((2, 3, 4)))
        assert len(found) == 1
        seen.add(tuple(found[0]))
        small = np.asarray(Image.fromarray(image).resize((2, 2), Image.BICUBIC))
        np.testing.assert_array_equal(to_uint8(made["low"]), small)
    assert mirrored == pytest.approx(100, abs=4 * np.sqrt(50))
    rows, columns = (sorted({place[axis] for place in seen}) for axis in (0, 1))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, 24, 0, 24)


def test_the_small_image_is_degraded_as_the_config_says():
    for how in (Blur(), BSR("light")):
        config = replace(CONFIG, crop=1.0, flip=False, degradation=how)
        made = LargeAndSmall(config)(Gradients()[0], np.random.default_rng(3))
        rng = np.random.default_rng(3)
        rng.integers(0, size=2, endpoint=True)  # the place of the crop
        expected = to_float(degrade(Gradients()[0]["image"], 8, how, rng))
        np.testing.assert_array_equal(made["low"], expected)
        np.testing.assert_array_equal(made["image"], to_float(Gradients()[0]["image"]))
    whole = LargeAndSmall(CONFIG, whole=True)(Gradients()[0], np.random.default_rng(0))
    assert (whole["image"].shape, whole["low"].shape) == ((32, 32, 3), (8, 8, 3))


def test_before_training_the_loss_is_the_mean_square_of_the_target():
    """The last convolution starts at zero, and the target is the picture."""
    stage, batch = make_stage(CONFIG, Gradients()), batch_of(8)
    assert batch["image"].shape == (8, 16, 16, 3)
    value, aux = first_loss(stage, batch)
    assert float(value) == pytest.approx(float(jnp.mean(batch["image"] ** 2)), rel=1e-5)
    assert aux.metrics.keys() == {"mse"}


def test_a_learned_variance_adds_the_weighted_bound():
    model = replace(MODEL, network=replace(UNET, out_channels=6), learned_variance=True)
    stage = make_stage(replace(CONFIG, model=model, vlb_weight=2.0), Gradients())
    value, aux = first_loss(stage, batch_of(4))
    assert float(aux.metrics["vlb"]) > 0.1
    expected = aux.metrics["mse"] + 2 * aux.metrics["vlb"]
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
def test_it_learns_to_enlarge_whole_pictures_from_crops(tmp_path):
    train = TrainConfig(
        steps=150, batch_size=16, ema=0.9, log_every=150, optim=OptimConfig(learning_rate=5e-3)
    )
    stage = make_stage(CONFIG, Gradients())
    state = fit(stage, train, tmp_path)
    model, params, clip = read_part_folder(tmp_path, "upsampler")
    assert (model, clip) == (MODEL, "")
    np.testing.assert_array_equal(
        params["unet"]["conv_out"]["bias"], state.ema["unet"]["conv_out"]["bias"]
    )
    whole = LargeAndSmall(CONFIG, whole=True)
    large = jnp.stack([whole(Gradients()[i], np.random.default_rng(i))["image"] for i in range(4)])
    shown = stage.preview(params, None, jax.random.key(0))
    np.testing.assert_array_equal(shown["originals"], large)
    assert shown["samples"].shape == shown["resized"].shape == (4, 32, 32, 3)
    assert float(jnp.sqrt(jnp.mean((shown["samples"] - large) ** 2))) < 0.15


def test_it_starts_from_ours_or_from_the_first_of_two_networks(tmp_path):
    two, rng = replace(MODEL, last=True), np.random.default_rng(0)
    random = lambda leaf: rng.random(leaf.shape, np.float32)
    for model, name in ((MODEL, "unet"), (two, "first")):
        shapes = jax.eval_shape(partial(init_params, model), jax.random.key(0))
        params = jax.tree.map(random, shapes)
        write_part(tmp_path / name, model, params)
        stage = make_stage(replace(CONFIG, start=str(tmp_path / name)), Gradients())
        jax.tree.map(np.testing.assert_array_equal, stage.start, {"unet": params[name]})
    other = replace(MODEL, network=replace(UNET, channels=(8,)))
    with pytest.raises(ValueError, match="has the network"):
        make_stage(replace(CONFIG, model=other, start=str(tmp_path / "unet")), Gradients())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": replace(MODEL, last=True)}, "trains one network"),
        ({"crop": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"crop": 0.3}, "is 10, expected a multiple of 4"),
        (
            {"model": replace(MODEL, network=replace(UNET, middle_attention=True))},
            "expected attention_levels",
        ),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_data_that_is_too_small_is_refused():
    model = replace(MODEL, image_size=64)
    with pytest.raises(ValueError, match=r"32 x 32 pixels, expected at least .*, 64"):
        make_stage(replace(CONFIG, model=model), Gradients())
