"""Models load from every layout that `load_diffusion` names, and give the originals' numbers."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES
from safetensors.numpy import save_file

import clipdiff_jax as cd
from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.diffusion.prediction import Preconditioned
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pixel.load import save_diffusion
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.guided_flags import GuidedFlags
from clipdiff_jax.weights.layouts import pixel_ddpm, unet_guided
from clipdiff_jax.weights.layouts.schedule_diffusers import read_schedule, write_schedule
from clipdiff_jax.weights.tables import ConvertError, export_params

STORED = REFERENCES / "unet_ddpm.npz"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER = {"_class_name": "DDPMScheduler", "num_train_timesteps": 500, "beta_end": 0.01}


@pytest.fixture(scope="module")
def stored():
    with np.load(STORED) as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): a for n, a in arrays.items() if n.startswith("state/")}
    return json.loads(str(arrays["config"])), state, [arrays[n] for n in ("x", "t", "out")]


def write(folder, stored, scheduler=SCHEDULER, network="", schedule="", **changes):
    """A folder in the layout of the Hub; `network` and `schedule` are subfolders."""
    document, state, _ = stored
    for part in (network, schedule):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / network / "config.json").write_text(json.dumps(document | changes))
    save_file(state, folder / network / WEIGHTS)
    if scheduler is not None:
        (folder / schedule / "scheduler_config.json").write_text(json.dumps(scheduler))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("parts", [{}, {"network": "unet", "schedule": "scheduler"}])
def test_a_diffusers_folder_gives_diffusers_numbers(tmp_path, stored, parts):
    model = cd.load_diffusion(write(tmp_path, stored, **parts))
    x, t, out = stored[2]
    ours = np.asarray(model.apply(jnp.asarray(x), jnp.asarray(t)))  # also beyond its 500 times
    assert np.linalg.norm(ours - out) / np.linalg.norm(out) < 1e-4
    with pytest.raises(ValueError, match="whole numbers from 0 to 499"):
        model.predict(x, t)
    assert model.config.schedule == DiscreteSchedule(num_steps=500, beta_end=0.01)
    assert model.config.image_size == stored[0]["sample_size"]
    assert model.generate(1, key=jax.random.key(0), steps=2).shape[0] == 1


def test_without_a_scheduler_the_schedule_is_that_of_ddpm(tmp_path, stored):
    model = cd.load_diffusion(write(tmp_path, stored, scheduler=None))
    assert model.config.schedule == DiscreteSchedule()
    assert model.config.prediction == "eps"


def test_a_file_of_ddpm_names(tmp_path):
    config = DiffusionConfig(
        UNetConfig(channels=(32, 32), blocks=1, attention_levels=(1,)), image_size=32
    )
    params = jax.jit(lambda key: init_params(config, key))(jax.random.key(0))
    save_file(export_params(pixel_ddpm.TABLE, params), tmp_path / "faces.safetensors")
    model = cd.load_diffusion(tmp_path / "faces.safetensors")
    assert model.config == config
    jax.tree.map(np.testing.assert_array_equal, model.params, params)


def test_a_file_of_guided_diffusions_names(tmp_path):
    unet = UNetConfig(
        out_channels=6, channels=(64, 64), blocks=1, attention_levels=(1,), head_width=64,
        norm_eps=1e-5, time_order="cos_sin", time_shift=0.0, scale_shift=True,
        residual_resampling=True, downsample_padding="both",
    )  # fmt: skip
    config = DiffusionConfig(unet, image_size=16, learned_variance=True)
    params = jax.jit(lambda key: init_params(config, key))(jax.random.key(0))
    save_file(export_params(unet_guided.table(unet), params), tmp_path / "adm.safetensors")
    model = cd.load_diffusion(tmp_path / "adm.safetensors")
    assert model.config == config
    jax.tree.map(np.testing.assert_array_equal, model.params, params)


def test_a_class_conditional_file_with_its_flags(tmp_path):
    """improved-diffusion's: four heads, 4000 steps of which the network is told a quarter."""
    unet = UNetConfig(
        out_channels=6, channels=(32, 32), blocks=1, attention_levels=(1,), heads=4,
        norm_eps=1e-5, time_order="cos_sin", time_shift=0.0, scale_shift=True,
        downsample_padding="both", num_classes=3,
    )  # fmt: skip
    flags = GuidedFlags(
        num_heads=4, diffusion_steps=4000, noise_schedule="cosine", rescale_timesteps=True
    )
    config = DiffusionConfig(
        unet, 16, DiscreteSchedule("squared_cosine", 4000), learned_variance=True, time_scale=0.25
    )
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    rng = np.random.default_rng(0)
    draw = lambda leaf: 0.1 * rng.normal(size=leaf.shape).astype(np.float32)
    params = jax.tree.map(draw, shapes)
    save_file(export_params(unet_guided.table(unet), params), tmp_path / "classes.safetensors")
    model = cd.load_diffusion(tmp_path / "classes.safetensors", flags=flags)
    assert model.config == config
    jax.tree.map(np.testing.assert_array_equal, model.params, params)

    x = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    told = replace(model, config=replace(config, time_scale=1.0))
    ours, expected = model.predict(x, 400, [0, 2]), told.predict(x, 100, np.array([0, 2]))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert np.abs(ours - model.predict(x, 400, 0))[1].max() > 0.01

    keys = jax.random.split(jax.random.key(0), 2)
    images = model.generate(key=keys, classes=[0, 2], steps=2)
    np.testing.assert_allclose(
        model.generate(key=keys, classes=0, steps=2)[0], images[0], atol=1e-5
    )
    for classes, message in (
        (None, "3 classes: give"), ([0], "one class or 2"), (3, r"0 \.\. 2, got 3"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            model.generate(key=keys, classes=classes, steps=2)


def test_flags_are_for_files_that_need_them(tmp_path, stored):
    flags = GuidedFlags()
    with pytest.raises(WeightsError, match="has a config"):
        cd.load_diffusion(write(tmp_path, stored), flags=flags)
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="not guided-diffusion's names"):
        cd.load_diffusion(tmp_path / "a.safetensors", flags=flags)
    with pytest.raises(Exception, match="linear"):
        GuidedFlags(noise_schedule="sigmoid")
    assert flags.schedule == DiscreteSchedule()


def test_the_size_of_images_is_where_attention_is():
    assert pixel_ddpm.infer_size(UNetConfig()) == 256
    with pytest.raises(ConvertError, match="image size cannot be told"):
        pixel_ddpm.infer_size(UNetConfig(attention_levels=()))


@pytest.mark.parametrize(
    ("document", "schedule", "prediction"),
    [
        ({}, DiscreteSchedule(), "eps"),
        (
            {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
            DiscreteSchedule("squared_cosine"),
            "v",
        ),
    ],
)
def test_schedules_there_and_back(document, schedule, prediction):
    assert read_schedule(document) == (schedule, prediction)
    assert read_schedule(write_schedule(schedule, prediction, False)) == (schedule, prediction)


def test_a_preconditioned_model_is_written_and_read():
    config = DiffusionConfig(prediction=Preconditioned(0.1))
    assert from_dict(DiffusionConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_a_target_that_diffusers_lacks_is_refused():
    with pytest.raises(WeightsError, match=r"no prediction_type for Preconditioned\("):
        write_schedule(DiscreteSchedule(), Preconditioned(0.1), False)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid', expected one of"),
        ({"prediction_type": "v_predictoin"}, "Did you mean 'v_prediction'"),
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
    ],
)
def test_schedules_that_are_not_supported(document, message):
    with pytest.raises(WeightsError, match=message):
        read_schedule(document)


def test_what_cannot_be_loaded_is_named(tmp_path, stored):
    with pytest.raises(WeightsError, match="no file or folder"):
        cd.load_diffusion(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="sample_size None"):
        cd.load_diffusion(write(tmp_path / "size", stored, sample_size=None))
    with pytest.raises(WeightsError, match="describes 'VQModel', expected 'UNet2DModel'"):
        cd.load_diffusion(write(tmp_path / "kind", stored, _class_name="VQModel"))
    folder = write(tmp_path / "half", stored)
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cut short"):
        cd.load_diffusion(folder)


def test_our_own_folders_still_load(tmp_path):
    config = DiffusionConfig(
        UNetConfig(channels=(8,), blocks=1, attention_levels=(), norm_groups=4), image_size=8
    )
    params = jax.jit(lambda key: init_params(config, key))(jax.random.key(0))
    save_diffusion(tmp_path / "model", config, params)
    for source in (tmp_path, tmp_path / "model", str(tmp_path)):
        model = cd.load_diffusion(source)
        assert model.config == config
        jax.tree.map(np.testing.assert_array_equal, model.params, params)
