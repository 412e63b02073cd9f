"""`load_clip` from every kind of source, and preprocessing against Pillow's and transformers'."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip
from PIL import Image
from safetensors.numpy import save_file

from clipdiff_jax.clip.model import load_clip, preprocess, save_clip
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import clip_openai, clip_transformers
from clipdiff_jax.weights.tables import export_params

TEXTS = ["a face", "a smiling face"]


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


def assert_same(loaded, clip):
    images = pictures(2)
    np.testing.assert_allclose(
        loaded.embed_images(images), clip.embed_images(images), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        loaded.embed_texts(TEXTS), clip.embed_texts(TEXTS), rtol=1e-5, atol=1e-5
    )


def write_transformers(folder, clip, shards=1):
    config, preprocessor = clip_transformers.write_config(clip.config)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    for name, content in clip.tokenizer.files().items():
        (folder / name).write_bytes(content)
    tensors = export_params(clip_transformers.TABLE, clip.params)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return
    files = {name: f"model-{i % shards}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({n: a for n, a in tensors.items() if files[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def test_our_folder(tmp_path, clip):
    save_clip(tmp_path / "m", clip.config, clip.params, clip.tokenizer)
    loaded = load_clip(tmp_path / "m")
    assert loaded.config == clip.config
    assert_same(loaded, clip)
    assert loaded.encode_texts(TEXTS)[1].shape == (2, 12, 16)
    assert loaded.temperature == pytest.approx(clip.temperature)


@pytest.mark.parametrize("shards", [1, 2])
def test_transformers_folder(tmp_path, clip, shards):
    write_transformers(tmp_path, clip, shards)
    loaded = load_clip(tmp_path, param_dtype=jnp.float32)
    assert loaded.config == clip.config
    assert_same(loaded, clip)
    half = load_clip(tmp_path, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(half.params))
    assert half.embed_texts(TEXTS).dtype == jnp.float32
    np.testing.assert_allclose(half.embed_texts(TEXTS), clip.embed_texts(TEXTS), atol=0.1)


def test_single_file_needs_a_tokenizer(tmp_path, clip):
    file = tmp_path / "clip.safetensors"
    save_file(export_params(clip_openai.table(clip.config), clip.params), file)
    with pytest.raises(WeightsError, match="holds weights only: give `tokenizer`"):
        load_clip(file)
    loaded = load_clip(file, tokenizer=clip.tokenizer)
    # heads cannot be read off the weights: they are taken to be 64 wide, these are 8
    assert loaded.config.text.heads == 1
    np.testing.assert_array_equal(loaded.params["vision"]["projection"]["kernel"],
                                  clip.params["vision"]["projection"]["kernel"])  # fmt: skip


def test_sources_that_are_none(tmp_path, clip, monkeypatch):
    with pytest.raises(WeightsError, match=r"no file or folder .*/nothing/here"):
        load_clip(tmp_path / "nothing" / "here")
    (tmp_path / "modle").mkdir()
    with pytest.raises(WeightsError, match="Did you mean 'modle'"):
        load_clip(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"no 'config\.json'"):
        load_clip(tmp_path / "modle")
    write_transformers(tmp_path, clip)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-5])
    with pytest.raises(WeightsError, match=r"model\.safetensors' is cut short"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(WeightsError, match="model_type 'bert', expected 'clip'"):
        load_clip(tmp_path)


def test_hub_repository_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"no folder 'some/clip' here; .* cannot be reached"):
        load_clip("some/clip")


def test_any_image_size_and_dtype(clip):
    square = clip.embed_images(pictures(2, 16))
    assert clip.embed_images(pictures(2, 40)).shape == square.shape
    wide = np.concatenate([np.zeros((2, 16, 5, 3)), pictures(2, 16), np.ones((2, 16, 5, 3))], 2)
    np.testing.assert_allclose(clip.embed_images(wide.astype(np.float32)), square, atol=1e-5)
    with pytest.raises(TypeError, match=r"images are int32, expected floats in \[-1, 1\]"):
        clip.embed_images(np.zeros((1, 16, 16, 3), np.int32))
    levels = np.arange(768, dtype=np.uint8).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(
        clip.embed_images(levels), clip.embed_images(levels / np.float32(127.5) - np.float32(1))
    )


def test_gradients_reach_the_images(clip):
    images = jnp.asarray(pictures(1, 24))
    gradient = jax.grad(lambda x: clip.embed_images(x).sum())(images)
    assert gradient.shape == images.shape
    assert float(jnp.abs(gradient).min(axis=(0, 3)).max()) > 0


def scene(height, width) -> np.ndarray:
    """A picture with flat regions, sharp edges, gradients and texture."""
    y, x = np.mgrid[0:height, 0:width]
    periods = np.array([5.0, 11.0, 17.0])
    waves = 127 + 90 * np.sin(x / 9.0)[..., None] * np.cos(y[..., None] / periods)
    waves[height // 4 : height // 2, width // 3 : width // 2] = (250, 20, 30)
    waves += np.random.default_rng(0).normal(0, 6, waves.shape)
    return np.clip(waves, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (301, 480), (513, 230), (100, 120)])
def test_preprocessing_equals_pillow(height, width):
    image = scene(height, width)
    size = 96
    short = min(height, width)
    shape = (size * width // short, size * height // short)
    expected = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))
    top, left = (expected.shape[0] - size) // 2, (expected.shape[1] - size) // 2
    expected = expected[top : top + size, left : left + size] / 255
    ours = preprocess(jnp.asarray(image[None] / 127.5 - 1, jnp.float32), size)[0]
    assert np.abs((np.asarray(ours) + 1) / 2 - expected).mean() < 1 / 255


@pytest.mark.parity
@pytest.mark.parametrize("photograph", ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"])
def test_preprocessing_of_photographs_equals_transformers(photograph):
    folder = Path(pytest.importorskip("skimage.data").__file__).parent
    image = Image.open(folder / photograph).convert("RGB")
    assert_preprocessing_equals_transformers(np.asarray(image))


@pytest.mark.parity
@pytest.mark.parametrize(("height", "width"), [(224, 224), (301, 480), (513, 231)])
def test_preprocessing_equals_transformers(height, width):
    assert_preprocessing_equals_transformers(scene(height, width))


def assert_preprocessing_equals_transformers(image):
    transformers = pytest.importorskip("transformers")
    processor = transformers.CLIPImageProcessorPil()
    theirs = processor(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
    mean, std = np.array(processor.image_mean), np.array(processor.image_std)
    theirs = theirs.transpose(1, 2, 0) * std + mean
    ours = preprocess(jnp.asarray(image[None] / 127.5 - 1, jnp.float32), 224)[0]
    assert np.abs((np.asarray(ours) + 1) / 2 - theirs).mean() < 1 / 255


@pytest.mark.parity
def test_a_folder_written_by_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tower = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "projection_dim": 8,
    }  # fmt: skip
    clip = tiny_clip()
    text = tower | {
        "vocab_size": clip.tokenizer.vocab_size, "max_position_embeddings": 12,
        "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1,
    }  # fmt: skip
    vision = tower | {"image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    for name, content in clip.tokenizer.files().items():
        (tmp_path / name).write_bytes(content)
    loaded = load_clip(tmp_path)
    ids = torch.tensor(clip.tokenizer(TEXTS))
    with torch.no_grad():
        theirs = model.text_projection(model.text_model(ids).pooler_output).numpy()
    ours = loaded.embed_texts(TEXTS)
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-4


def test_a_clip_is_one_pytree(clip):
    """A copy with equal static fields is the same program; arrays are its only leaves."""
    leaves, tree = jax.tree.flatten(clip)
    again = tiny_clip()
    assert jax.tree.structure(again) == tree
    assert len(leaves) == len(jax.tree.leaves(clip.params))
    images = pictures(2)
    traced = []

    @jax.jit
    def embed(model, images):
        traced.append(1)
        return model.embed_images(images)

    np.testing.assert_allclose(embed(clip, images), clip.embed_images(images), rtol=1e-5)
    embed(again, images)
    assert len(traced) == 1
