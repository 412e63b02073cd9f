"""Latent diffusion models come back bit for bit from diffusers' folders and from single files."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_stable_diffusion as tiny
from helpers.tiny_models import drawn
from helpers.torch_files import Call, Fake, tensor, write_zip
from safetensors.numpy import load_file, save_file

import clipdiff_jax as cd
from clipdiff_jax.cli.main import main
from clipdiff_jax.core.devices import MeshConfig, make_mesh
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.models.taesd import TinyAutoencoderConfig
from clipdiff_jax.models.taesd import init_params as init_preview
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import Reading
from clipdiff_jax.weights.layouts import (
    latent_autoencoder,
    latent_diffusers,
    latent_original,
    latent_ours,
    latent_preview,
)
from clipdiff_jax.weights.tables import export_params


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Each kind in diffusers' layout, and the three families in a single file."""
    folder = tmp_path_factory.mktemp("latent")
    for kind in tiny.KINDS:
        latent_diffusers.write(folder / kind, tiny.weights(kind))
    for kind in ("sd1", "sd2", "xl"):
        latent_original.write(folder / f"{kind}.safetensors", tiny.weights(kind))
    return folder


def assert_params(model, weights):
    """Those of a `LatentDiffusion` or of what a layout reads."""
    found = model.params if hasattr(model, "params") else {
        "unet": model.unet, "autoencoder": model.autoencoder, "texts": model.texts,
    }  # fmt: skip
    wanted = {name: weights.params[name] for name in ("unet", "autoencoder", "texts")}
    jax.tree.map(np.testing.assert_array_equal, {name: found[name] for name in wanted}, wanted)


def copied(root, kind, tmp_path):
    return shutil.copytree(root / kind, tmp_path / kind)


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refused(source, said, **options):
    with pytest.raises(ValueError, match=said) as caught:
        cd.load_latent(source, **options)
    return str(caught.value)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_folders_come_back(root, kind):
    weights = tiny.weights(kind)
    model = cd.load_latent(root / kind)
    assert model.config == weights.config
    assert model.tokenizers == weights.tokenizers
    assert_params(model, weights)


@pytest.mark.parametrize("kind", ["sd1", "sd2", "xl"])
def test_single_files_hold_what_folders_do(root, kind):
    weights = tiny.weights(kind)
    heads = {} if kind == "sd1" else {"heads": weights.config.unet.heads}
    model = cd.load_latent(
        root / f"{kind}.safetensors", **heads, text_heads=2, image_size=16,
        tokenizer=load_tokenizer(root / kind / "tokenizer"),
    )  # fmt: skip
    texts = tuple(  # where texts end is that of CLIP's vocabulary, whose last id it is
        replace(one, tower=replace(one.tower, eos_token_id=519)) for one in weights.config.texts
    )
    assert model.config == replace(weights.config, texts=texts)
    assert_params(model, weights)
    assert [one.pad_id for one in model.tokenizers] == [one.pad_id for one in weights.tokenizers]
    bare = cd.load_latent(root / f"{kind}.safetensors", **heads)
    assert bare.tokenizers == ()


def test_a_prefix_stays_as_it_was(root, tmp_path):
    """transformers 5 leaves "text_model." out of one class, and older files have it."""
    names = load_file(root / "sd1/text_encoder/model.safetensors")
    assert all(name.startswith("text_model.") for name in names)
    folder = copied(root, "sd1", tmp_path)
    bare = {name.removeprefix("text_model."): array for name, array in names.items()}
    save_file(bare, folder / "text_encoder/model.safetensors")
    weights = latent_diffusers.LAYOUT.read(folder, Reading(param_dtype=None))
    assert_params(weights, tiny.weights("sd1"))
    latent_diffusers.write(tmp_path / "again", weights)
    again = load_file(tmp_path / "again/text_encoder/model.safetensors")
    assert again.keys() == bare.keys()


def test_what_stands_beside_the_weights_in_a_single_file(root, tmp_path, caplog):
    """Averages and schedules are passed over, a step says what is predicted, and names of no part
    are refused."""
    tensors = load_file(root / "sd2.safetensors")
    beside = {
        "model_ema.decay": np.float32(0.9), "model_ema.diffusion_modelout2bias": np.zeros(4),
        "betas": np.zeros(3), "alphas_cumprod_prev": np.zeros(3), "sqrt_recip": np.zeros(3),
        "first_stage_model.loss.logvar": np.zeros(()), "posterior_variance": np.zeros(3),
        "cond_stage_model.model.attn_mask": np.zeros((2, 2)),
    }  # fmt: skip
    file, options = tmp_path / "sd2.safetensors", {"heads": (2, 4), "text_heads": 2}
    save_file(tensors | {k: np.asarray(v) for k, v in beside.items()}, file)
    model = cd.load_latent(file, **options)
    assert (model.config.prediction, model.config.image_size) == ("v", 768)
    assert "give prediction='eps'" in caplog.text
    assert cd.load_latent(file, prediction="eps", **options).config.prediction == "eps"
    save_file(tensors | {"global_step": np.array(875_000)}, file)
    of_step = cd.load_latent(file, **options).config
    assert (of_step.prediction, of_step.image_size) == ("eps", 512)
    save_file(tensors | {"control_model.a": np.zeros(3)}, file)
    refused(file, "tensors of no part of Stable Diffusion 2: control_model.a", **options)
    save_file({k: v for k, v in tensors.items() if not k.startswith("first_stage")}, file)
    refused(file, "no autoencoder under 'first_stage_model.'", **options)
    save_file({k: v for k, v in tensors.items() if not k.startswith("cond_stage")}, file)
    refused(file, "text towers of no known model", **options)
    xl = load_file(root / "xl.safetensors")
    save_file(xl | {"v_pred": np.zeros(0, np.float32)}, file)
    assert cd.load_latent(file, **options).config.prediction == "v"


def test_ckpt_files_are_read_without_torch(root, tmp_path):
    """As Lightning writes them: the weights beside callbacks, a step and numbers of numpy."""
    tensors = load_file(root / "sd2.safetensors")
    storages, entries = {}, {}
    for i, (name, array) in enumerate(tensors.items()):
        storages[str(i)] = np.ascontiguousarray(array)
        strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)
        entries[name] = tensor(str(i), array.shape, strides, count=array.size)
    number = Call(
        Fake("numpy.core.multiarray", "scalar"),
        Call(Fake("numpy", "dtype"), "f8", False, True),
        Call(Fake("_codecs", "encode"), "12345678", "latin1"),
    )
    document = {"epoch": 3, "global_step": 875_000, "state_dict": entries}
    callback = Fake("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    document["callbacks"] = {callback: {"score": number}}
    file = tmp_path / "model.ckpt"
    write_zip(file, document, storages)
    model = cd.load_latent(file, heads=(2, 4), text_heads=2)
    assert model.config.prediction == "eps"
    assert_params(model, tiny.weights("sd2"))


def test_half_precision_and_a_mesh(root):
    model = cd.load_latent(root / "sd1", dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype(jnp.bfloat16)}
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    split = cd.load_latent(root / "sd1", mesh=mesh)
    assert_params(split, tiny.weights("sd1"))
    assert split.unet["conv_in"]["kernel"].sharding.mesh == mesh


@pytest.mark.slow
def test_another_autoencoder_and_a_preview(root, tmp_path):
    """Each from diffusers' folder and from a file or two of its own names."""
    other, vae = tiny.weights("sd1", seed=7), tmp_path / "vae.safetensors"
    latent_diffusers.write(tmp_path / "other", other)
    original = export_params(
        latent_autoencoder.table(other.config.autoencoder, "original"),
        other.params["autoencoder"],
    )
    save_file(original | {"loss.logvar": np.zeros(1)}, vae)
    for source in (tmp_path / "other", tmp_path / "other/vae", vae):
        model = cd.load_latent(root / "sd1", autoencoder=source)
        jax.tree.map(np.testing.assert_array_equal, model.autoencoder, other.params["autoencoder"])
        jax.tree.map(np.testing.assert_array_equal, model.unet, tiny.weights("sd1").params["unet"])

    tiny_config = TinyAutoencoderConfig(encoder_blocks=(1, 3), decoder_blocks=(3, 1), width=8)
    params = drawn(lambda key: init_preview(tiny_config, key), 3)
    names = export_params(latent_preview.table(tiny_config), params)
    folder = tmp_path / "taesd"
    folder.mkdir()
    save_file(names, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(latent_preview.write_config(tiny_config)))
    model = cd.load_latent(root / "sd1", preview=folder)
    assert model.config.preview == tiny_config
    jax.tree.map(np.testing.assert_array_equal, model.preview, params)
    assert model.show(np.zeros((1, 4, 4, 4), np.float32)).shape == (1, 8, 8, 3)


def test_the_two_files_of_taesd(tmp_path):
    params = drawn(lambda key: init_preview(TinyAutoencoderConfig(), key), 3)
    names = export_params(latent_preview.table(TinyAutoencoderConfig()), params)
    assert names["encoder.layers.14.weight"].shape == (4, 64, 3, 3)
    for half, more in (("encoder", 0), ("decoder", 1)):
        own = {}
        for name, array in names.items():
            layers, _, rest = name.removeprefix(f"{half}.layers.").partition(".")
            if name.startswith(half):
                own[f"{int(layers) + more}.{rest}"] = array
        save_file(own, tmp_path / f"taesd_{half}.safetensors")
    for source in (tmp_path, tmp_path / "taesd_decoder.safetensors"):
        config, read = latent_preview.read(source, jnp.float32)
        assert config == TinyAutoencoderConfig()
        jax.tree.map(np.testing.assert_array_equal, read, params)
    (tmp_path / "taesd_encoder.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"such as 'taesd_encoder.safetensors'"):
        latent_preview.read(tmp_path, jnp.float32)


def test_what_is_asked_of_a_folder_beside_its_weights(root, tmp_path, caplog):
    """A LoRA by its strength, earlier text states, other heads; a safety checker is named."""
    rng, name = np.random.default_rng(0), "unet.down_blocks.0.attentions.0.proj_in"
    down, up = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 32), (32, 2)))
    file = tmp_path / "lora.safetensors"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, file)
    folder = copied(root, "sd1", tmp_path)
    change(folder / "model_index.json", safety_checker=["stable_diffusion", "SafetyChecker"])
    change(folder / "unet/config.json", only_cross_attention=[False, False])
    latent_ours.write(tmp_path / "ours", tiny.weights("sd1"))
    for source in (folder, tmp_path / "ours"):
        model = cd.load_latent(source, loras=(file, 0.5), clip_skip=1)
        assert model.config.texts[0].skip == 1
        before = tiny.weights("sd1").params["unet"]["down_0_attn_0"]["proj_in"]["kernel"]
        found = model.unet["down_0_attn_0"]["proj_in"]["kernel"]
        np.testing.assert_allclose(found, before + 0.5 * (up @ down).T, rtol=1e-5, atol=1e-6)
    assert "has a safety_checker, which is not run" in caplog.text
    refused(folder, "skip is 3, expected 0 to 2", clip_skip=3)
    refused(folder, "the strength of .* is inf", loras=[(file, np.inf)])
    with pytest.raises(ValueError, match="no tokenizer"):
        cd.load_latent(root / "sd1.safetensors", text_heads=2).embed_texts("a cube")


def test_older_names_of_the_autoencoder(root, tmp_path):
    folder = copied(root, "sd1", tmp_path)
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    for new, old in (
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ):
        tensors = {name.replace(f".{new}.", f".{old}."): a for name, a in tensors.items()}
    save_file(tensors, file)
    assert_params(cd.load_latent(folder), tiny.weights("sd1"))


def test_the_scheduler_s_words(root, tmp_path):
    """Latents are never clipped, the walk of Stable Diffusion begins at time 1, and where it ends
    is the class's."""
    file = copied(root, "sd1", tmp_path) / "scheduler/scheduler_config.json"
    folder = tmp_path / "sd1"
    change(file, clip_sample=True, steps_offset=0)
    assert cd.load_latent(folder).config == tiny.config("sd1")
    change(file, _class_name="EulerDiscreteScheduler")
    assert cd.load_latent(folder).config.sampling.ends_clean
    change(file, prediction_type="sample")
    refused(folder, "expected 'epsilon' or 'v'")
    change(file, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    refused(folder, "rescale_betas_zero_snr True")


@pytest.mark.slow
def test_convert_goes_round(root, tmp_path, capsys):
    """From a folder to a single file, to ours, and to a folder again: the same bytes."""
    steps = [
        (root / "sd1", tmp_path / "a.safetensors", "original"),
        (tmp_path / "a.safetensors", tmp_path / "b", "ours"),
        (root / "xl", tmp_path / "c", "ours"),
        (tmp_path / "c", tmp_path / "d", "diffusers"),
    ]
    for source, destination, to in steps:
        more = ["--tokenizer", str(root / "sd1/tokenizer")] if source.is_file() else []
        arguments = ["convert", str(source), str(destination), "--to", to, *more]
        assert main(arguments) == 0, capsys.readouterr().err
    assert_params(cd.load_latent(tmp_path / "b"), tiny.weights("sd1"))
    for file in (root / "xl").rglob("*.safetensors"):
        again = tmp_path / "d" / file.relative_to(root / "xl")
        assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("kind", "file", "values", "said"),
    [
        ("sd1", "model_index.json", {"_class_name": "StableDiffusion3Pipeline"},
         "Did you mean 'StableDiffusionPipeline'"),
        ("sd1", "unet/config.json", {"cross_attention_dim": 24}, "context_width is 24, expected 8"),
        ("sd1", "unet/config.json", {"in_channels": 5}, "takes 5 channels, expected 4"),
        ("sd1", "unet/config.json", {"in_channels": 8}, "expected 4 or 9"),
        ("instruct", "unet/config.json", {"in_channels": 4}, "expected 8"),
        ("sd1", "unet/config.json", {"attention_type": "gated"}, "attention_type 'gated'"),
        ("sd1", "vae/config.json", {"latent_channels": 16}, "unet.in_channels is 4, expected 16"),
        ("sd1", "vae/config.json", {"latents_std": [1.0]}, "latents_std"),
        ("sd1", "text_encoder/config.json", {"architectures": ["T5EncoderModel"]},
         "expected 'CLIPTextModel'"),
        ("xl", "text_encoder_2/config.json", {"architectures": ["CLIPTextModel"]},
         "no 'CLIPTextModelWithProjection'"),
        ("xl", "text_encoder_2/config.json", {"projection_dim": 7}, "pooled embedding's width"),
        ("sd1", "unet/config.json", {"layers_per_block": 2}, "missing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_named(root, tmp_path, kind, file, values, said):
    folder = copied(root, kind, tmp_path)
    change(folder / file, **values)
    assert str(folder) in refused(folder, said)


def test_missing_and_unknown(root, tmp_path):
    folder = copied(root, "sd1", tmp_path)
    shutil.rmtree(folder / "vae")
    refused(folder, "vae")
    refused(root / "nothing", "no file or folder")
    refused(root / "sd1", "there is no LoRA", loras=tmp_path / "none.safetensors")
    with pytest.raises(TypeError, match="no 'lora'"):
        cd.load_latent(root / "sd1", lora="a")


def test_what_a_layout_cannot_hold_is_not_written(tmp_path):
    weights = tiny.weights("sd1")
    config = weights.config
    patched = replace(config, autoencoder=replace(config.autoencoder, channels=(32,), patch=2))
    folder, file = tmp_path / "a", tmp_path / "a.safetensors"
    for write, path in ((latent_diffusers.write, folder), (latent_original.write, file)):
        with pytest.raises(WeightsError, match="patches of 2"):
            write(path, weights._replace(config=patched))
    with pytest.raises(WeightsError, match="this model has none: give one"):
        latent_diffusers.write(tmp_path / "a", weights._replace(tokenizers=()))
    with pytest.raises(WeightsError, match="cannot tell that this model predicts v"):
        latent_original.write(
            tmp_path / "a.safetensors", weights._replace(config=replace(config, prediction="v"))
        )
    with pytest.raises(WeightsError, match=r"must end in .safetensors"):
        latent_original.write(tmp_path / "a.ckpt", weights)
    (tmp_path / "b.safetensors").write_bytes(b"mine")
    with pytest.raises(WeightsError, match="exists: nothing was written"):
        latent_original.write(tmp_path / "b.safetensors", weights)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["b.safetensors"]


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("kind", ["sd1", "xl"])
def test_diffusers_opens_what_is_written(root, kind):
    import diffusers
    import torch

    pipeline = diffusers.DiffusionPipeline.from_pretrained(root / kind)
    assert (
        type(pipeline).__name__
        == json.loads((root / kind / "model_index.json").read_text())["_class_name"]
    )
    model = cd.load_latent(root / kind)
    ids = torch.tensor(model.tokenizers[0](["a red cube"]))
    theirs = pipeline.tokenizer("a red cube", padding="max_length", max_length=12)["input_ids"]
    assert theirs == ids[0].tolist()
    with torch.no_grad():
        states = pipeline.text_encoder(ids, output_hidden_states=True)
    context, _ = model.embed_texts(["a red cube"])
    wanted = states.last_hidden_state if kind == "sd1" else states.hidden_states[-2]
    np.testing.assert_allclose(context[..., :8], wanted.numpy(), atol=2e-5)
    found = pipeline.unet.state_dict()
    names = load_file(root / kind / "unet/diffusion_pytorch_model.safetensors")
    assert found.keys() == names.keys()
