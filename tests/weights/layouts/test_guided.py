"""Loaded guided-diffusion networks give the numbers of the original, in all of its variants."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.models.unet import UNet, UNetConfig
from clipdiff_jax.weights.layouts import unet_guided
from clipdiff_jax.weights.tables import ConvertError, expected, export_params, import_params

TOLERANCE = 1e-4


def conditioning(config, classes):
    return {} if config.num_classes is None else {"classes": jnp.asarray(classes)}


def init(config, key):
    x = jnp.zeros((1, config.stride, config.stride, config.in_channels))
    t = jnp.zeros((1,), jnp.int32)
    return UNet(config).init(key, x, t, conditioning(config, t))["params"]


def shapes_of(config):
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def shapes(state):
    return {name: array.shape for name, array in state.items()}


def relative_error(config, table, state, x, t, classes, out):
    params = import_params(table, state, shapes_of(config))
    back = export_params(table, params)
    assert set(back) == set(state)
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)
    cond = conditioning(config, classes)
    ours = jax.jit(UNet(config).apply)({"params": params}, jnp.asarray(x), jnp.asarray(t), cond)
    return np.linalg.norm(ours - out) / np.linalg.norm(out)


@pytest.fixture(scope="module")
def stored():
    with np.load(REFERENCES / "unet_guided.npz") as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): a for n, a in arrays.items() if n.startswith("state/")}
    return state, [arrays[name] for name in ("x", "t", "classes", "out")]


def test_stored_reference(stored):
    state, outputs = stored
    config = unet_guided.infer_config(shapes(state), head_width=4, norm_groups=4)
    assert config == UNetConfig(
        in_channels=3, out_channels=6, channels=(8, 8, 16), blocks=1, attention_levels=(1, 2),
        head_width=4, norm_groups=4, norm_eps=1e-5, time_order="cos_sin", time_shift=0.0,
        scale_shift=True, residual_resampling=True, downsample_padding="both", num_classes=3,
    )  # fmt: skip
    assert relative_error(config, unet_guided.table(config), state, *outputs) < TOLERANCE


def test_the_order_of_the_fused_rows_matters(stored):
    """Read in the other order the same file is another network, and fits all the same."""
    state, outputs = stored
    config = unet_guided.infer_config(shapes(state), head_width=4, norm_groups=4)
    table = unet_guided.table(config, new_attention_order=True)
    assert relative_error(config, table, state, *outputs) > 100 * TOLERANCE


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [
        {"multipliers": (1, 1, 2), "blocks": 2, "attention": (1, 2), "head_width": 4},
        {"heads": 4, "scale_shift": False, "residual_resampling": False, "outputs": 3},
        {"heads": 2, "residual_resampling": False, "multipliers": (1, 2, 3), "attention": (1, 2)},
        {"new_attention_order": True, "classes": 5, "head_width": 4, "attention": (0, 1)},
        {"multipliers": (0.5, 1, 2), "width": 16, "attention": (2,), "blocks": 2},
        {"inputs": 6, "attention": (), "new_attention_order": True, "heads": 4, "classes": 3},
        {"multipliers": (1,), "attention": (0,), "scale_shift": False},
    ],
    ids=["adm", "improved", "heads", "classes", "half_width", "upsampler", "one_level"],
)
def test_equal_to_the_original(options):
    pytest.importorskip("torch")
    from make_guided import random_unet, run, state_of

    model = random_unet(2, **options)
    state = state_of(model)
    known = {name: options[name] for name in ("heads", "head_width") if name in options}
    config = unet_guided.infer_config(shapes(state), **({"head_width": 8} | known), norm_groups=4)
    table = unet_guided.table(config, options.get("new_attention_order", False))
    error = relative_error(config, table, state, **run(model, 2 * config.stride, 3))
    print(f"relative error {error:.1e}")
    assert error < TOLERANCE


ADM_256 = UNetConfig(
    out_channels=6, channels=(256, 256, 512, 512, 1024, 1024), attention_levels=(3, 4, 5),
    head_width=64, norm_eps=1e-5, time_order="cos_sin", time_shift=0.0, scale_shift=True,
    residual_resampling=True, downsample_padding="both",
)  # fmt: skip


def test_the_unconditional_imagenet_network_at_full_size():
    """552.8M parameters (Dhariwal & Nichol 2021, table 4: 554M with its classes)."""
    names = expected(unet_guided.table(ADM_256), shapes_of(ADM_256))
    assert sum(int(np.prod(shape)) for shape in names.values()) == 552_814_086
    assert names["input_blocks.10.1.qkv.weight"] == (3 * 512, 512, 1)
    assert names["output_blocks.5.2.in_layers.2.weight"] == (1024, 1024, 3, 3)
    assert unet_guided.infer_config(names) == ADM_256
    assert unet_guided.infer_size(ADM_256) == 256


def test_what_does_not_fit_is_named(stored):
    names = shapes(stored[0])
    with pytest.raises(ConvertError, match=r"not the names .+: no time_embed\.0\.weight"):
        unet_guided.infer_config({"conv_in.weight": (8, 3, 3, 3)})
    fewer = {n: s for n, s in names.items() if not n.startswith("input_blocks.3.")}
    fewer |= {"input_blocks.9.0.op.weight": (8, 8, 3, 3)}
    with pytest.raises(ConvertError, match="10 input_blocks for levels of"):
        unet_guided.infer_config(fewer, head_width=4, norm_groups=4)
    with pytest.raises(ValueError, match="16 channels do not divide into heads of 64"):
        unet_guided.table(unet_guided.infer_config(names, norm_groups=4))
    with pytest.raises(ValueError, match="16 channels do not divide into 3 heads"):
        unet_guided.table(unet_guided.infer_config(names, heads=3, norm_groups=4))
    with pytest.raises(ValueError, match="heads 2 and head_width 4 are both given"):
        UNetConfig(heads=2, head_width=4)
