"""diffusers' scheduler configs: each class and option is honoured, of no matter, or refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import clipdiff_jax as cd
from clipdiff_jax.diffusion.sampler import step_noise
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pixel import DiffusionConfig, OwnSampling, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import DiffusionWeights
from clipdiff_jax.weights.layouts import pixel_diffusers
from clipdiff_jax.weights.layouts.schedule_diffusers import (
    check_variance,
    read_own_sampling,
    read_schedule,
    write_schedule,
)

OF_ANOTHER_PROCESS = (
    "CMStochasticIterativeScheduler", "ConsistencyDecoderScheduler", "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler", "CosineDPMSolverMultistepScheduler", "KarrasVeScheduler",
    "ScoreSdeVeScheduler", "ScoreSdeVpScheduler", "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler", "LCMScheduler", "TCDScheduler",
    "VQDiffusionScheduler", "SCMScheduler", "DDPMWuerstchenScheduler", "CogVideoXDDIMScheduler",
    "IPNDMScheduler", "AmusedScheduler", "UnCLIPScheduler",
)  # fmt: skip


def folder_with(path, scheduler, *, network="unet"):
    """A pipeline's folder with a tiny network and this scheduler."""
    unet = UNetConfig(channels=(8,), blocks=1, attention_levels=(), norm_groups=4)
    config = DiffusionConfig(unet, image_size=8)
    params = jax.jit(lambda key: init_params(config, key))(jax.random.key(0))
    pixel_diffusers.write(path / network, DiffusionWeights(config, params))
    (path / network / "scheduler_config.json").unlink()
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return path


@pytest.mark.parametrize("name", OF_ANOTHER_PROCESS)
def test_another_training_process_is_refused_by_name(name):
    for read in (read_schedule, read_own_sampling):
        with pytest.raises(WeightsError, match=f"describes '{name}', which is not trained as"):
            read({"_class_name": name})


def test_the_refusal_names_the_folder(tmp_path):
    folder = folder_with(tmp_path, {"_class_name": "EDMEulerScheduler"})
    with pytest.raises(WeightsError, match=r"scheduler'.*EDMEulerScheduler"):
        cd.load_diffusion(folder)


def refusal(document):
    try:
        read_schedule(document)
    except WeightsError as error:
        return str(error)
    return ""


@pytest.mark.parity
def test_every_class_of_diffusers_is_read_or_refused(tmp_path):
    """As each saves itself; those that are read have DDPM's table of betas in diffusers too."""
    diffusers = pytest.importorskip("diffusers")
    read = 0
    for name in sorted(n for n in dir(diffusers) if n.endswith("Scheduler")):
        try:
            one = getattr(diffusers, name)()
            one.save_pretrained(tmp_path)
        except Exception:  # needs a package that is not there, or arguments
            continue
        document = json.loads((tmp_path / "scheduler_config.json").read_text())
        if refused := refusal(document):
            assert name in refused
            continue
        schedule, own = read_schedule(document)[0], read_own_sampling(document)
        read += 1
        np.testing.assert_allclose(
            one.alphas_cumprod.numpy(), schedule.alpha_bar(jnp.arange(1000)), rtol=1e-4, atol=1e-6
        )
        clips = document.get("clip_sample", False) or document.get("thresholding", False)
        assert (own.bound is not None) == clips
        assert read_own_sampling({"_class_name": name}) == own
        assert read_schedule({"_class_name": name})[0] == schedule
    assert read >= 15


def test_what_a_file_says_of_the_walk():
    ddim = {"_class_name": "DDIMScheduler"}
    assert read_own_sampling(ddim) == OwnSampling(1.0, "leading")
    assert read_own_sampling(ddim | {"clip_sample": False}).bound is None
    assert read_own_sampling(ddim | {"clip_sample_range": 3}).bound == 3
    assert read_own_sampling(ddim | {"clip_sample": False, "thresholding": True}).bound == 1
    assert read_own_sampling(ddim | {"timestep_spacing": "trailing", "steps_offset": 1}) == (
        OwnSampling()
    )
    assert read_own_sampling(ddim | {"steps_offset": 1, "set_alpha_to_one": False}) == (
        OwnSampling(1.0, "leading", 1, False)
    )
    assert read_own_sampling({"_class_name": "PNDMScheduler"}) == (
        OwnSampling(None, "leading", 0, False)
    )
    assert read_own_sampling({"_class_name": "UniPCMultistepScheduler"}) == (
        OwnSampling(None, "linspace")
    )
    # A class that walks in sigmas ends at the clean image, whatever its file says (SDXL's does).
    euler = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
    assert read_own_sampling(euler | {"steps_offset": 1, "set_alpha_to_one": False}) == (
        OwnSampling(None, "leading", 1, True)
    )


def test_walks_of_stable_diffusion():
    """Spec: 4 steps of SD 1 and 2 end at time 0, of SDXL at the clean latents; strides that divide
    and that do not; a single step."""
    schedule = DiscreteSchedule("scaled_linear", 1000, 0.00085, 0.012)
    ends_noisy = OwnSampling(None, "leading", 1, False)
    walk = lambda own, steps: own.times(cd.Sampling(steps=steps), schedule).tolist()
    assert walk(ends_noisy, 4) == [751, 501, 251, 1, 0]
    assert walk(OwnSampling(None, "leading", 1, True), 4) == [751, 501, 251, 1, -1]
    assert walk(ends_noisy, 50)[:2] + walk(ends_noisy, 50)[-3:] == [981, 961, 21, 1, 0]
    assert walk(ends_noisy, 7) == [853, 711, 569, 427, 285, 143, 1, 0]
    assert walk(ends_noisy, 1) == [1, 0]
    # A spacing of the call's own ends clean.
    trailing = ends_noisy.times(cd.Sampling(steps=2, spacing="trailing"), schedule)
    assert trailing.tolist() == [999, 499, -1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholding": True, "sample_max_value": 1.5}, "sample_max_value 1.5"),
        ({"timestep_spacing": "leadign"}, "timestep_spacing 'leadign'.* mean 'leading'"),
        ({"steps_offset": 7}, "steps_offset 7"),
        ({"steps_offset": "1"}, "steps_offset '1'"),
        ({"clip_sample_range": -1}, "clip_sample_range -1.0"),
        ({"clip_sample_range": "big"}, "clip_sample_range 'big'"),
    ],
)
def test_walks_that_are_not_ours(changes, message):
    with pytest.raises(WeightsError, match=message):
        read_own_sampling({"_class_name": "DDIMScheduler"} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_karras_sigmas": True}, "use_karras_sigmas True"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas True"),
        ({"timestep_type": "continuous"}, "timestep_type 'continuous', expected 'discrete'"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid'"),
        ({"beta_schedule": ["linear"]}, r"beta_schedule \['linear'\]"),
        ({"prediction_type": "flow_prediction"}, "prediction_type 'flow_prediction'"),
        ({"num_train_timesteps": 10**12}, "num_train_timesteps 1000000000000"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps 'many'"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "0 < beta_start <= beta_end"),
        ({"snr_shift_scale": 3.0}, "snr_shift_scale 3.0"),
    ],
)
def test_processes_that_are_not_ours(changes, message):
    with pytest.raises(WeightsError, match=message):
        read_schedule({"_class_name": "EulerDiscreteScheduler"} | changes)


def test_older_files():
    assert read_schedule({"predict_epsilon": False, "tensor_format": "pt"})[1] == "x0"
    heun = read_schedule({"_class_name": "HeunDiscreteScheduler"})[0]
    assert heun == DiscreteSchedule(beta_start=0.00085, beta_end=0.012)


def test_the_variance_is_that_of_the_network():
    check_variance({}, learned=True)
    check_variance({"variance_type": "learned_range"}, learned=True)
    check_variance({"variance_type": "fixed_large"}, learned=False)
    for kind, learned in (("learned", True), ("fixed_small", True), ("learned_range", False)):
        with pytest.raises(WeightsError, match=f"variance_type '{kind}'"):
            check_variance({"variance_type": kind}, learned)


@pytest.mark.parametrize(
    "own",
    [
        OwnSampling(),
        OwnSampling(None, "linspace"),
        OwnSampling(2.5, "leading", 1),
        OwnSampling(1.0, "leading", 0, False),
    ],
)
def test_walks_there_and_back(own):
    document = write_schedule(DiscreteSchedule(), "v", False, own)
    assert read_own_sampling(document) == own
    assert read_schedule(document) == (DiscreteSchedule(), "v")


def test_a_walk_that_no_class_has():
    with pytest.raises(WeightsError, match="no scheduler for a learned variance"):
        write_schedule(DiscreteSchedule(), "eps", True, OwnSampling(ends_clean=False))


def test_the_network_of_a_pipeline_finds_its_scheduler(tmp_path):
    folder = folder_with(tmp_path, {"_class_name": "DDIMScheduler", "num_train_timesteps": 300})
    for source in (folder, folder / "unet"):
        assert cd.load_diffusion(source).config.schedule.num_steps == 300


@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_sample": False},
        {"clip_sample_range": 0.5, "timestep_spacing": "trailing"},
        {"steps_offset": 1, "set_alpha_to_one": False},
        {"timestep_spacing": "trailing", "thresholding": True},
        {"set_alpha_to_one": False, "prediction_type": "v_prediction"},
    ],
)
def test_pictures_are_those_of_diffusers_scheduler(tmp_path, options):
    """The model's own walk, step by step as diffusers goes it, from the same noise."""
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(**options)
    scheduler.set_timesteps(10)
    folder = folder_with(tmp_path, dict(scheduler.config) | {"_class_name": "DDIMScheduler"})
    model = cd.load_diffusion(folder)
    size = model.config.image_size
    times = model.times(cd.Sampling(steps=10))
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(3), i))(np.arange(2))
    start = step_noise(keys, len(times), (2, size, size, 3))
    x = torch.from_numpy(np.array(start))
    for t in scheduler.timesteps:
        out = torch.from_numpy(np.array(model.predict(x.numpy(), int(t))))
        x = scheduler.step(out, t, x, use_clipped_model_output=True).prev_sample
    ours = model.generate(2, key=3, steps=10)
    np.testing.assert_allclose(ours, np.clip(x.numpy(), -1, 1), atol=2e-3)
