"""Loaded UNets give the numbers of the originals: diffusers' and DDPM's names."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.models.unet import UNet, UNetConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import pixel_ddpm, unet_diffusers
from clipdiff_jax.weights.tables import ConvertError, expected, export_params, import_params

TOLERANCE = 1e-4
CELEBAHQ = UNetConfig()  # the defaults are the CelebA-HQ 256 network


def init(config, key):
    x = jnp.zeros((1, config.stride, config.stride, config.in_channels))
    return UNet(config).init(key, x, jnp.zeros((1,), jnp.int32))["params"]


def shapes_of(config):
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def assert_parity(config, table, state, x, t, out):
    params = import_params(table, state, shapes_of(config))
    ours = jax.jit(UNet(config).apply)({"params": params}, jnp.asarray(x), jnp.asarray(t))
    assert np.linalg.norm(ours - out) / np.linalg.norm(out) < TOLERANCE
    back = export_params(table, params)
    assert set(back) == set(state)
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def stored():
    with np.load(REFERENCES / "unet_ddpm.npz") as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): a for n, a in arrays.items() if n.startswith("state/")}
    return json.loads(str(arrays["config"])), state, [arrays[n] for n in ("x", "t", "out")]


def test_stored_reference():
    document, state, outputs = stored()
    config = unet_diffusers.read_config(document)
    assert_parity(config, unet_diffusers.table(config), state, *outputs)


def test_older_attention_names():
    document, state, _ = stored()
    new_to_old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    pattern = re.compile("|".join(map(re.escape, new_to_old)))
    older = {pattern.sub(lambda m: new_to_old[m[0]], name): a for name, a in state.items()}
    assert older.keys() != state.keys()
    config = unet_diffusers.read_config(document)
    table = unet_diffusers.table(config)
    new, old = (import_params(table, s, shapes_of(config)) for s in (state, older))
    jax.tree.map(np.testing.assert_array_equal, new, old)


@pytest.mark.parity
@pytest.mark.parametrize(
    "changes",
    [
        {"attention_head_dim": 4, "downsample_padding": 1},
        {"flip_sin_to_cos": True, "freq_shift": 0, "norm_eps": 1e-5, "layers_per_block": 2},
        {
            "down_block_types": 3 * ("ResnetDownsampleBlock2D",), "add_attention": False,
            "up_block_types": 3 * ("ResnetUpsampleBlock2D",), "in_channels": 6,
        },
        {
            "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 4,
            "downsample_type": "resnet", "upsample_type": "resnet", "out_channels": 6,
            "down_block_types": (*2 * ("ResnetDownsampleBlock2D",), "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", *2 * ("ResnetUpsampleBlock2D",)),
        },
        {
            "block_out_channels": (8, 16), "down_block_types": 2 * ("AttnDownBlock2D",),
            "up_block_types": 2 * ("AttnUpBlock2D",), "sample_size": 8, "act_fn": "swish",
        },
    ],
)  # fmt: skip
def test_equal_to_diffusers(changes):
    pytest.importorskip("torch")
    from make_unet import document_of, random_unet, run, state_of

    model = random_unet(2, **changes)
    document = document_of(model)
    config = unet_diffusers.read_config(document)
    table = unet_diffusers.table(config)
    assert_parity(config, table, state_of(model), **run(model, 3))
    again = unet_diffusers.write_config(config, model.config.sample_size)
    assert unet_diffusers.read_config(again) == config


@pytest.fixture(scope="module")
def celebahq_tensors():
    """Every name and shape of the CelebA-HQ 256 checkpoint, without its numbers."""
    lines = (REFERENCES / "ddpm_celebahq_tensors.tsv").read_text().splitlines()
    rows = (line.split("\t") for line in lines)
    return {name: tuple(map(int, re.findall(r"\d+", shape))) for name, shape in rows}


def test_all_450_tensors_of_celebahq_fit(celebahq_tensors):
    assert len(celebahq_tensors) == 450
    assert sum(int(np.prod(s)) for s in celebahq_tensors.values()) == 113_673_219
    assert pixel_ddpm.infer_config(celebahq_tensors) == CELEBAHQ
    assert expected(pixel_ddpm.TABLE, shapes_of(CELEBAHQ)) == celebahq_tensors


def test_ddpm_and_diffusers_names_fill_the_same_network():
    """The same parameters written under both names, and read back."""
    document, state, _ = stored()
    config = unet_diffusers.read_config(document)
    params = import_params(unet_diffusers.table(config), state, shapes_of(config))
    original = export_params(pixel_ddpm.TABLE, params)
    shapes = {name: array.shape for name, array in original.items()}
    inferred = pixel_ddpm.infer_config(shapes, config.norm_groups)
    assert (inferred.channels, inferred.blocks) == (config.channels, config.blocks)
    assert inferred.attention_levels == config.attention_levels
    back = import_params(pixel_ddpm.TABLE, original, shapes_of(config))
    jax.tree.map(np.testing.assert_array_equal, back, params)
    # spot checks of the correspondence given in the method's description
    np.testing.assert_array_equal(
        original["up.2.block.0.conv1.weight"], state["up_blocks.0.resnets.0.conv1.weight"]
    )
    np.testing.assert_array_equal(
        original["mid.attn_1.k.weight"][:, :, 0, 0], state["mid_block.attentions.0.to_k.weight"]
    )
    np.testing.assert_array_equal(
        original["down.1.block.0.temb_proj.bias"],
        state["down_blocks.1.resnets.0.time_emb_proj.bias"],
    )


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize(
    ("channels", "blocks", "attention", "groups", "ends"),
    [
        ((8, 8, 16), 2, (1,), 4, (3, 3)),
        ((16, 8), 1, (0, 1), 8, (3, 6)),
        ((8, 16, 24, 8), 1, (2,), 8, (1, 1)),
        ((12,), 3, (), 3, (6, 3)),
        ((32, 64), 1, (1,), 32, (3, 3)),
    ],
)
def test_equal_to_the_original(channels, blocks, attention, groups, ends):
    torch = pytest.importorskip("torch")
    from references.ddpm_unet import DDPM

    torch.manual_seed(0)
    model = DDPM(channels, blocks, attention, groups, *ends)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms that differ from 1 and 0
            parameter.data += 0.1 * torch.randn_like(parameter)
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 16, 16, ends[0]), np.float32)
    t = np.array([3, 870])
    with torch.no_grad():
        out = model(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(t)).permute(0, 2, 3, 1)
    config = pixel_ddpm.infer_config({n: a.shape for n, a in state.items()}, groups)
    assert (config.channels, config.blocks) == (channels, blocks)
    assert config.attention_levels == attention
    assert_parity(config, pixel_ddpm.TABLE, state, x, t, out.numpy())


def test_celebahq_config_of_diffusers_is_the_default_network():
    document = {
        "_class_name": "UNet2DModel", "act_fn": "silu", "attention_head_dim": None,
        "block_out_channels": [128, 128, 256, 256, 512, 512], "center_input_sample": False,
        "down_block_types": [*4 * ["DownBlock2D"], "AttnDownBlock2D", "DownBlock2D"],
        "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3,
        "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-06,
        "norm_num_groups": 32, "out_channels": 3, "sample_size": 256,
        "time_embedding_type": "positional",
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *4 * ["UpBlock2D"]],
    }  # fmt: skip
    assert unet_diffusers.read_config(document) == CELEBAHQ


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "describes 'UNet2DConditionModel'"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type 'fourier', supported is"),
        (
            {"down_block_types": ["DownBlock2d"], "up_block_types": ["UpBlock2D"]},
            "block type 'DownBlock2d', not one of .+ mean 'DownBlock2D'",
        ),
        (
            {"down_block_types": ["AttnDownBlock2D"], "up_block_types": ["UpBlock2D"]},
            "do not mirror",
        ),
        ({"resnet_time_scale_shift": "scale_shift"}, "attn_norm_num_groups None"),
        ({"downsample_type": "resnet"}, "downsample_type 'resnet' and upsample_type None"),
    ],
)
def test_unsupported_options_are_named(changes, message):
    with pytest.raises(WeightsError, match=message):
        unet_diffusers.read_config({"_class_name": "UNet2DModel"} | changes)


def test_heads_of_one_width_are_written_as_that_width():
    one_width = UNetConfig(channels=(32, 64), attention_levels=(1,), heads=4)
    assert unet_diffusers.write_config(one_width, 64)["attention_head_dim"] == 16


def test_what_diffusers_cannot_be_told_is_named():
    with pytest.raises(WeightsError, match="cannot express this network's patch, blocks"):
        unet_diffusers.write_config(UNetConfig(patch=2, blocks=(1, 1, 1, 1, 1, 2)), 64)
    two_widths = UNetConfig(channels=(32, 64), attention_levels=(0, 1), heads=4, sinusoid_width=64)
    with pytest.raises(WeightsError, match="cannot express this network's heads, sinusoid_width"):
        unet_diffusers.write_config(two_widths, 64)
    with pytest.raises(ConvertError, match=r"no temb\.dense\.0\.weight"):
        pixel_ddpm.infer_config({"conv_in.weight": (1, 2, 3, 3)})
