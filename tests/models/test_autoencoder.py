"""Both autoencoders: diffusers' numbers, the published sizes, half precision, what is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import drawn, pictures

from clipdiff_jax.models import autoencoder, taesd
from clipdiff_jax.models.autoencoder import Autoencoder, AutoencoderConfig
from clipdiff_jax.models.taesd import TinyAutoencoder, TinyAutoencoderConfig
from clipdiff_jax.weights.params import flatten, unflatten
from clipdiff_jax.weights.tables import CONV, LINEAR

SMALL = AutoencoderConfig(channels=(8, 16), blocks=1, norm_groups=4)
SMALL_TINY = TinyAutoencoderConfig(width=8, encoder_blocks=(1, 2, 1), decoder_blocks=(2, 1, 1))
REFERENCE = "tests/references/autoencoder.npz"


@pytest.fixture(scope="module")
def stored():
    return dict(np.load(REFERENCE))


def weights(stored, prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}


def ours(tensors: dict[str, np.ndarray], name_of) -> dict:
    """Our parameters from diffusers' tensors; kernels transposed, leaves renamed."""
    flat = {}
    for name, value in tensors.items():
        module, leaf = name.rsplit(".", 1)
        path = name_of(module)
        if value.ndim == 1:
            leaf = "scale" if leaf == "weight" and "norm" in path else leaf.replace("weight", "?")
        else:
            leaf = "kernel"
            value = (CONV if value.ndim == 4 else LINEAR).to_ours(value)
        flat[f"{path}/{leaf}"] = value
    return unflatten(flat)


def kl_name(module: str, levels: int = 2) -> str:
    """Our path of a module of diffusers' `AutoencoderKL`."""
    parts = {"norm1": "norm_0", "norm2": "norm_1", "conv1": "conv_0", "conv2": "conv_1"}
    parts |= {"conv_shortcut": "shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k"}
    parts |= {"to_v": "v", "to_out.0": "out", "conv_norm_out": "norm_out"}
    module = module.replace("to_out.0", "out")
    module = re.sub(r"mid_block\.resnets\.(\d)", r"mid_res_\1", module)
    module = module.replace("mid_block.attentions.0", "mid_attn")
    module = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down_\1_res_\2", module)
    module = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down_\1_downsample", module)
    level = lambda m: str(levels - 1 - int(m[1]))
    module = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up_{level(m)}_res_{m[2]}", module
    )
    module = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up_{level(m)}_upsample", module)
    module = module.replace("post_quant_conv", "post_quant").replace("quant_conv", "quant")
    return "/".join(parts.get(one, one) for one in module.split("."))


def tiny_name(config: TinyAutoencoderConfig):
    """Our path of a module of diffusers' `AutoencoderTiny`."""
    encoder, decoder = ["conv_in"], ["conv_in", ""]  # "" is the ReLU
    for level, blocks in enumerate(config.encoder_blocks):
        encoder += [f"level_{level}_downsample"] * (level > 0)
        encoder += [f"level_{level}_block_{i}" for i in range(blocks)]
    for level, blocks in enumerate(config.decoder_blocks):
        decoder += [f"level_{level}_block_{i}" for i in range(blocks)]
        if level < len(config.decoder_blocks) - 1:
            decoder += ["", f"level_{level}_upsample"]
    names = {"encoder": [*encoder, "conv_out"], "decoder": [*decoder, "conv_out"]}

    def name(module: str) -> str:
        side, _, index, *rest = module.split(".")
        path = f"{side}/{names[side][int(index)]}"
        return f"{path}/conv_{int(rest[1]) // 2}" if rest else path

    return name


def nchw(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def nhwc(x):
    return jnp.moveaxis(jnp.asarray(x), 1, -1)


def close(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    error = np.abs(np.asarray(found, np.float32) - expected).max()
    assert error < tolerance * np.abs(expected).max(), error


def applied(network, params):
    """(x, method) -> what the network makes of it, compiled."""
    return lambda x, method="__call__": jax.jit(functools.partial(network.apply, method=method))(
        {"params": params}, x
    )


def check_kl(config, params, expected):
    """Both directions, of arrays as `make_autoencoder.outputs` gives them."""
    apply = applied(Autoencoder(config), params)
    mean, logvar = apply(nhwc(expected["image"]), "encode")
    close(nchw(mean), expected["mean"])
    close(nchw(logvar), expected["logvar"])
    close(nchw(apply(nhwc(expected["z"]), "decode")), expected["decoded"])


def check_tiny(config, params, expected):
    apply = applied(TinyAutoencoder(config), params)
    close(nchw(apply(nhwc(expected["image"]), "encode")), expected["latents"])
    close(nchw(apply(nhwc(expected["z"]), "decode")), expected["decoded"])


def test_kl_autoencoder_computes_what_diffusers_does(stored):
    params = ours(weights(stored, "kl/"), kl_name)
    shapes = jax.eval_shape(functools.partial(autoencoder.init_params, SMALL), jax.random.key(0))
    assert {k: v.shape for k, v in flatten(params).items()} == {
        k: v.shape for k, v in flatten(shapes).items()
    }
    check_kl(SMALL, params, weights(stored, "kl_"))


def test_taesd_computes_what_diffusers_does(stored):
    params = ours(weights(stored, "tiny/"), tiny_name(SMALL_TINY))
    init = functools.partial(taesd.init_params, SMALL_TINY)
    shapes = jax.eval_shape(init, jax.random.key(0))
    assert {k: v.shape for k, v in flatten(params).items()} == {
        k: v.shape for k, v in flatten(shapes).items()
    }
    check_tiny(SMALL_TINY, params, weights(stored, "tiny_"))


@pytest.mark.parity
def test_other_sizes_compute_what_diffusers_does():
    pytest.importorskip("diffusers")
    import make_autoencoder as make

    numpy = lambda tensors: {k: v.numpy() for k, v in tensors.items()}
    theirs = make.kl(
        5, block_out_channels=(8, 8, 16), layers_per_block=2, latent_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    config = AutoencoderConfig(3, (8, 8, 16), blocks=2, norm_groups=4)
    params = ours(numpy(theirs.state_dict()), functools.partial(kl_name, levels=3))
    check_kl(config, params, numpy(make.outputs(6, theirs, 20, 12)))
    theirs = make.tiny(
        7, num_encoder_blocks=(2, 1), num_decoder_blocks=(1, 2), latent_channels=5,
        encoder_block_out_channels=(8,) * 2, decoder_block_out_channels=(8,) * 2,
    )  # fmt: skip
    config = TinyAutoencoderConfig(5, 8, (2, 1), (1, 2))
    params = ours(numpy(theirs.state_dict()), tiny_name(config))
    check_tiny(config, params, numpy(make.outputs(8, theirs, 6, 10)))


def count(init, config) -> tuple[int, int]:
    shapes = jax.tree.leaves(jax.eval_shape(functools.partial(init, config), jax.random.key(0)))
    return sum(int(np.prod(leaf.shape)) for leaf in shapes), len(shapes)


def test_published_sizes():
    assert count(autoencoder.init_params, AutoencoderConfig()) == (83_653_863, 248)
    assert count(taesd.init_params, TinyAutoencoderConfig()) == (2_445_063, 134)


def test_patches_fold_pixels_and_keep_the_size_also_in_bfloat16():
    config = AutoencoderConfig(channels=(8, 16), blocks=1, norm_groups=4, patch=2)
    assert config.factor == 4
    params = drawn(functools.partial(autoencoder.init_params, config), 0)
    images = jnp.asarray(pictures(2, 16))
    plain = applied(Autoencoder(config), params)(images)
    half = applied(Autoencoder(config, jnp.bfloat16), params)(images)
    assert plain.shape == images.shape
    assert half.dtype == jnp.float32
    assert float(jnp.linalg.norm(half - plain) / jnp.linalg.norm(plain)) < 0.05


@pytest.mark.parametrize(("height", "width", "fits"), [(15, 16, "16x16"), (16, 3, "16x4")])
def test_sides_that_do_not_fit_are_refused_with_those_that_do(height, width, fits):
    with pytest.raises(ValueError, match=f"{height}x{width} pixels.*multiples of 2.*{fits}"):
        autoencoder.check_sides(height, width, 2)


def test_wrong_configs_are_refused():
    with pytest.raises(ValueError, match="8 channels do not divide into 32 groups"):
        AutoencoderConfig(channels=(8,))
    with pytest.raises(ValueError, match="scaling is 0"):
        AutoencoderConfig(scaling=0.0)
    with pytest.raises(ValueError, match="encoder_blocks has 1 levels, decoder_blocks 4"):
        TinyAutoencoderConfig(encoder_blocks=(1,))
