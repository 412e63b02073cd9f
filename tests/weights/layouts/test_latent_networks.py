"""The UNet and text towers of latent diffusion under foreign names: numbers, names, refusals."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.models import autoencoder, presets
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.clip import TextTransformer
from clipdiff_jax.models.latent import TextTower, init_text
from clipdiff_jax.models.unet import UNet
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import (
    latent_autoencoder,
    latent_text,
    latent_unet,
    latent_unet_shapes,
)
from clipdiff_jax.weights.tables import expected, export_params, import_params

TOLERANCE = 2e-4  # of the reference's largest number


def stored(name):
    with np.load(REFERENCES / "latent.npz") as file:
        arrays = {key.removeprefix(f"{name}/"): file[key] for key in file if key.startswith(name)}
    state = {k.removeprefix("state/"): a for k, a in arrays.items() if k.startswith("state/")}
    return json.loads(str(arrays["config"])), state, arrays


def unet_shapes(config):
    x, t = jnp.zeros((1, 1, 1, config.in_channels)), jnp.zeros((1,), jnp.int32)
    cond = {"context": jnp.zeros((1, 1, config.context_width))}
    if config.time_ids is not None:
        cond["pooled"] = jnp.zeros((1, config.pooled_width))
        cond["time_ids"] = jnp.zeros((1, config.time_ids))
    return jax.eval_shape(lambda key: UNet(config).init(key, x, t, cond), jax.random.key(0))[
        "params"
    ]


def text_shapes(tower):
    return jax.eval_shape(partial(init_text, tower), jax.random.key(0))


def assert_close(ours, theirs):
    assert np.abs(np.asarray(ours) - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


def assert_unet(config, state, arrays):
    """The numbers, and that the names are a round trip in both namings."""
    table, shapes = latent_unet.table(config, "diffusers"), unet_shapes(config)
    params = import_params(table, state, shapes)
    cond = {k: jnp.asarray(arrays[k]) for k in ("context", "pooled", "time_ids") if k in arrays}
    run = jax.jit(UNet(config).apply)
    out = run({"params": params}, jnp.asarray(arrays["x"]), jnp.asarray(arrays["t"]), cond)
    assert_close(out, arrays["out"])
    assert_same(export_params(table, params), state)
    original = latent_unet.table(config, "original")
    other = export_params(original, params)
    assert not other.keys() & state.keys()
    jax.tree.map(np.testing.assert_array_equal, import_params(original, other, shapes), params)
    return other


def test_stored_unet_with_odd_sides():
    document, state, arrays = stored("unet")
    config = latent_unet.read_config(document, 5)
    assert_unet(config, state, arrays)
    written = latent_unet.write_config(config, document["sample_size"])
    assert {name: written[name] for name in written if name in document} == {
        name: document[name] for name in written if name in document
    }


def test_stored_text_tower():
    document, state, arrays = stored("text")
    config, projection = latent_text.read_config(document)
    assert latent_text.is_prefixed(state)
    tower = TextTower(config, projection)
    table, shapes = latent_text.transformers_table(), text_shapes(tower)
    params = import_params(table, state, shapes)
    assert_same(export_params(table, params), state)
    ids = jnp.asarray(arrays["ids"])
    run = lambda **how: jax.jit(TextTransformer(config, projection, **how).apply)(
        {"params": params}, ids
    )
    pooled, last = run()
    assert_close(pooled, arrays["pooled"])
    assert_close(last, arrays["last"])
    pooled, states = run(skip=1, norm_states=False)
    assert_close(pooled, arrays["pooled"])
    assert_close(states, arrays["penultimate"])
    again, other = latent_text.read_config(json.loads(json.dumps(latent_text.write_config(tower))))
    assert (again, other) == (config, projection)


def test_text_towers_with_the_prefix_without_it_and_fused():
    _, state, _ = stored("text")
    config, projection = latent_text.read_config(stored("text")[0])
    shapes = text_shapes(TextTower(config, projection))
    bare = {name.removeprefix("text_model."): array for name, array in state.items()}
    table = latent_text.transformers_table(prefixed=False)
    params = import_params(table, bare, shapes)
    jax.tree.map(np.testing.assert_array_equal, params, import_params(table, state, shapes))
    assert_same(export_params(table, params), bare)
    fused = latent_text.openclip_table(projected=True)
    names = export_params(fused, params)
    assert "transformer.resblocks.2.attn.in_proj_weight" in names
    jax.tree.map(np.testing.assert_array_equal, params, import_params(fused, names, shapes))
    read = latent_text.read_shapes(names, 2, openclip=True)
    assert read == latent_text.read_shapes(names | {"logit_scale": np.zeros(())}, 2, True)
    assert (read.depth, read.width, read.eos_token_id) == (3, 8, 39)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "count", "diffusers", "original"),
    [
        (
            presets.SD1_UNET, 686,
            "mid_block.attentions.0.proj_in.weight", "output_blocks.8.2.conv.weight",
        ),
        (
            presets.SDXL_UNET, 1680,
            "add_embedding.linear_1.weight", "input_blocks.4.1.transformer_blocks.1.norm3.bias",
        ),
    ],
)  # fmt: skip
def test_published_networks_have_their_tensors(preset, count, diffusers, original):
    shapes = unet_shapes(preset)
    for naming, name in (("diffusers", diffusers), ("original", original)):
        found = expected(latent_unet.table(preset, naming), shapes)
        assert len(found) == count
        assert name in found


def test_the_published_autoencoder_has_its_tensors():
    config = AutoencoderConfig()
    shapes = jax.eval_shape(partial(autoencoder.init_params, config), jax.random.key(0))
    diffusers, original = (
        expected(latent_autoencoder.table(config, naming), shapes)
        for naming in ("diffusers", "original")
    )
    assert len(diffusers) == len(original) == 248
    assert diffusers["decoder.up_blocks.0.resnets.2.conv1.weight"] == (512, 512, 3, 3)
    assert original["decoder.up.0.block.0.nin_shortcut.weight"] == (128, 256, 1, 1)
    assert original["encoder.mid.attn_1.q.weight"] == (512, 512, 1, 1)


def test_published_heads_of_single_files(caplog):
    heads = latent_unet_shapes.published_heads
    assert heads((320, 640, 1280, 1280), True) == presets.SD1_UNET.heads
    assert heads((320, 640, 1280, 1280), False) == presets.SD2_UNET.heads
    assert heads((320, 640, 1280), False) == presets.SDXL_UNET.heads
    assert not caplog.records
    assert heads((32, 96), False) == (1, 3)
    assert "give `heads`" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_class_name": "UNet2DModel"}, "describes 'UNet2DModel'"),
        ({"down_block_types": ["CrossAttnDownBlock3D"] * 2}, "Did you mean 'CrossAttnDownBlock2D'"),
        ({"dual_cross_attention": True}, "dual_cross_attention True"),
        ({"class_embed_type": "timestep"}, "class_embed_type 'timestep'"),
        ({"time_cond_proj_dim": 256}, "time_cond_proj_dim 256"),
        ({"encoder_hid_dim": 4096}, "encoder_hid_dim 4096"),
        ({"attention_type": "gated"}, "attention_type 'gated'"),
        ({"addition_embed_type": "image"}, "addition_embed_type 'image'"),
        ({"projection_class_embeddings_input_dim": 30}, "expected the pooled embedding's width"),
        ({"cross_attention_dim": [6, 8]}, "expected one number"),
        ({"attention_head_dim": [2, 0]}, "expected numbers above 0"),
        ({"transformer_layers_per_block": [[1], [2]]}, "expected numbers above 0"),
        ({"attention_head_dim": [3, 5]}, "do not divide into 5 heads"),
    ],
)  # fmt: skip
def test_other_unets_are_refused(changes, said):
    document, _, _ = stored("unet")
    with pytest.raises(ValueError, match=said):
        latent_unet.read_config(document | changes, 5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latents_mean": [0.0] * 4}, "latents_mean"),
        ({"use_quant_conv": False}, "use_quant_conv False"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"]}, "with 'AttnDownEncoderBlock2D'"),
        ({"_class_name": "AutoencoderTiny"}, "describes 'AutoencoderTiny'"),
    ],
)
def test_other_autoencoders_are_refused(changes, said):
    document = latent_autoencoder.write_config(AutoencoderConfig(), 512)
    assert latent_autoencoder.read_config(document) == AutoencoderConfig()
    with pytest.raises(WeightsError, match=said):
        latent_autoencoder.read_config(document | changes)
    with pytest.raises(WeightsError, match="patches of 2"):
        latent_autoencoder.table(AutoencoderConfig(patch=2), "diffusers")


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        "SD2",
        pytest.param("SD1", marks=pytest.mark.slow),
        pytest.param("XL", marks=pytest.mark.slow),
    ],
)
def test_unets_of_diffusers(name):
    """Another seed, even sides, and diffusers' own converter of the original names."""
    import make_latent
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    model = make_latent.unet(5, **getattr(make_latent, name))
    document, state = make_latent.document_of(model), make_latent.state_of(model)
    config = latent_unet.read_config(document, 5)
    other = assert_unet(config, state, make_latent.run_unet(model, 6, (8, 12)))
    prefixed = {f"model.diffusion_model.{key}": array for key, array in other.items()}
    assert_same(convert_ldm_unet_checkpoint(prefixed, dict(model.config)), state)


@pytest.mark.parity
@pytest.mark.parametrize("projection", [None, 5])
def test_text_towers_of_transformers(projection):
    import make_latent

    model = make_latent.text_model(3, projection, hidden_act="quick_gelu")
    config, width = latent_text.read_config(make_latent.document_of(model))
    assert width == projection
    state, arrays = make_latent.state_of(model), make_latent.run_text(model, 4)
    shapes = text_shapes(TextTower(config, width))
    params = import_params(latent_text.transformers_table(), state, shapes)
    pooled, states = jax.jit(TextTransformer(config, width, skip=1, norm_states=False).apply)(
        {"params": params}, jnp.asarray(arrays["ids"])
    )
    assert_close(states, arrays["penultimate"])
    assert_close(pooled, arrays["pooled"])
