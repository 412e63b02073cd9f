"""`clipdiff convert`: exports load elsewhere, and come back bit for bit."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, stirred, tiny_clip
from safetensors.numpy import save_file

from clipdiff_jax.cli.main import main
from clipdiff_jax.clip.model import load_clip, save_clip
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pixel.load import load_diffusion, save_diffusion
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.folder import save_folder
from clipdiff_jax.weights.layouts import clip_openai
from clipdiff_jax.weights.tables import export_params

TEXTS = ["a face", "a smiling face"]
UNET = UNetConfig(
    channels=(8, 16), blocks=1, attention_levels=(1,), norm_groups=4, head_width=8, out_channels=6,
    norm_eps=1e-5, time_order="cos_sin", time_shift=0.0, scale_shift=True,
    residual_resampling=True, downsample_padding="both",
)  # fmt: skip


@pytest.fixture(scope="module")
def base():
    schedule = DiscreteSchedule("squared_cosine", 400)
    config = DiffusionConfig(UNET, 16, schedule, prediction="v", learned_variance=True)
    params = jax.jit(functools.partial(init_params, config))(jax.random.key(0))
    return Diffusion(config, stirred(params, 0, 0.05))


@pytest.fixture
def ours(tmp_path, base):
    save_diffusion(tmp_path / "ours", base.config, base.params)
    return tmp_path / "ours"


@pytest.fixture
def our_clip(tmp_path):
    clip = tiny_clip()
    save_clip(tmp_path / "clip", clip.config, clip.params, clip.tokenizer)
    return tmp_path / "clip"


def convert(*args):
    return main(["convert", *map(str, args)])


def assert_same_tree(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_diffusion_to_diffusers_and_back(tmp_path, ours, base):
    assert convert(ours, tmp_path / "there", "--to", "diffusers") == 0
    there = {file.name for file in (tmp_path / "there").iterdir()}
    assert there == {
        "config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors",
    }  # fmt: skip
    assert convert(tmp_path / "there", tmp_path / "back", "--to", "ours") == 0
    back = load_diffusion(tmp_path / "back")
    assert back.config == base.config
    assert_same_tree(back.params, base.params)


def test_clip_to_transformers_and_back(tmp_path, our_clip):
    clip = load_clip(our_clip)
    assert convert(our_clip, tmp_path / "there", "--to", "transformers") == 0
    assert convert(tmp_path / "there", tmp_path / "back", "--to", "ours") == 0
    back = load_clip(tmp_path / "back")
    assert back.config == clip.config
    assert_same_tree(back.params, clip.params)
    np.testing.assert_array_equal(back.tokenizer(TEXTS), clip.tokenizer(TEXTS))


def test_a_single_file_takes_its_tokenizer_from_elsewhere(tmp_path, our_clip, capsys):
    clip, file = load_clip(our_clip), tmp_path / "clip.safetensors"
    save_file(export_params(clip_openai.table(clip.config), clip.params), file)
    assert convert(file, tmp_path / "there", "--to", "transformers") == 2
    assert "give `tokenizer`" in capsys.readouterr().err
    assert not (tmp_path / "there").exists()
    there = (file, tmp_path / "there", "--to", "transformers", "--tokenizer", our_clip)
    assert convert(*there) == 0
    assert_same_tree(load_clip(tmp_path / "there").params, clip.params)


def test_what_cannot_be_converted_is_one_line_and_leaves_nothing(tmp_path, ours, our_clip, capsys):
    (tmp_path / "full").mkdir()
    save_folder(tmp_path / "edit", {"kind": "edit"}, {"a": np.zeros(1)})
    cases = [
        (ours, "full", "diffusers", "full' exists: move it away"),
        (ours, "new", "transformers", "is of kind 'diffusion', but --to transformers takes clip"),
        (our_clip, "new", "diffusers", "is of kind 'clip', but --to diffusers takes diffusion"),
        (tmp_path / "edit", "new", "ours", "is of kind 'edit', but --to ours takes clip or"),
        (tmp_path / "edit", "new", "diffusers", "is of kind 'edit', but --to diffusers takes"),
        ("demo", "new", "ours", "'demo' are in our layout already"),
        ("demo", "new", "diffusers", "cannot express this network's patch"),
        (tmp_path / "uors", "new", "ours", "Did you mean 'ours'"),
    ]
    before = sorted(path.name for path in tmp_path.iterdir())
    for source, destination, layout, message in cases:
        assert convert(source, tmp_path / destination, "--to", layout) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_interrupted_write_leaves_nothing(tmp_path, ours, monkeypatch, capsys):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("clipdiff_jax.weights.folder.save_file", fail)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert convert(ours, tmp_path / "there", "--to", "diffusers") == 130
    assert capsys.readouterr().err == "stopped\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parity
def test_diffusers_loads_what_is_exported(tmp_path, ours, base):
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    convert(ours, tmp_path / "there", "--to", "diffusers")
    model, report = diffusers.UNet2DModel.from_pretrained(
        tmp_path / "there", output_loading_info=True
    )
    assert not any(report.values())
    scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path / "there")
    assert scheduler.config.prediction_type == "v_prediction"
    alpha_bar = base.config.schedule.alpha_bar(jnp.arange(400))
    np.testing.assert_allclose(scheduler.alphas_cumprod.numpy(), alpha_bar, rtol=1e-3, atol=1e-7)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    t = np.array([3, 391], np.int32)
    with torch.no_grad():
        out = model.eval()(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(t)).sample
    theirs = out.permute(0, 2, 3, 1).numpy()
    error = np.linalg.norm(base.predict(x, t) - theirs) / np.linalg.norm(theirs)
    print(f"relative error {error:.1e}")
    assert error < 1e-4


@pytest.mark.parity
def test_transformers_loads_what_is_exported(tmp_path, our_clip):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    convert(our_clip, tmp_path / "there", "--to", "transformers")
    clip = load_clip(our_clip)
    model, report = transformers.CLIPModel.from_pretrained(
        tmp_path / "there", output_loading_info=True
    )
    assert not any(report.values())
    processor = transformers.CLIPImageProcessorPil.from_pretrained(tmp_path / "there")
    assert processor.crop_size["height"] == clip.config.vision.image_size
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "there")
    ids = tokenizer(TEXTS, padding="max_length", return_tensors="np")["input_ids"]
    np.testing.assert_array_equal(ids, clip.tokenizer(TEXTS))
    images = pictures(2)
    mean, std = np.array(processor.image_mean), np.array(processor.image_std)
    pixels = torch.tensor(((images + 1) / 2 - mean) / std, dtype=torch.float32)
    with torch.no_grad():
        features = model.get_image_features(pixels.permute(0, 3, 1, 2))
        output = model.text_model(torch.tensor(ids))
        texts = model.text_projection(output.pooler_output).numpy()
    features = getattr(features, "pooler_output", features).numpy()
    for ours, theirs in ((clip.embed_images(images), features), (clip.embed_texts(TEXTS), texts)):
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        print(f"relative error {error:.1e}")
        assert error < 1e-4


def test_the_exported_configs_name_their_classes(tmp_path, ours, our_clip):
    convert(ours, tmp_path / "unet", "--to", "diffusers")
    convert(our_clip, tmp_path / "model", "--to", "transformers")
    unet, clip = (
        json.loads((tmp_path / name / "config.json").read_text()) for name in ("unet", "model")
    )
    assert unet["_class_name"] == "UNet2DModel"
    assert clip["architectures"] == ["CLIPModel"]
