"""LoRAs: every naming gives the same update, and what is not used or not understood is refused."""

import json
from functools import cache

import numpy as np
import pytest
from helpers import tiny_stable_diffusion as tiny
from safetensors.numpy import save_file

from clipdiff_jax.weights import lora
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.latent_reading import Lora
from clipdiff_jax.weights.layouts.latent_parts import lora_places, part_shapes, with_changes
from clipdiff_jax.weights.params import flatten

RANK, ALPHA = 2, 3.0
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
TEXT = "encoder.layers.1.self_attn.q_proj"
# Module, shape of down's kernel, its outputs, our path and how the update lies there.
MODULES = {
    f"{BLOCK}.attn1.to_q": ((32,), 32),
    f"{BLOCK}.attn2.to_k": ((8,), 32),
    f"{BLOCK}.attn2.to_out.0": ((32,), 32),
    f"{BLOCK}.ff.net.0.proj": ((32,), 256),
    "down_blocks.0.attentions.0.proj_in": ((32, 1, 1), 32),
    "down_blocks.0.resnets.0.conv1": ((32, 3, 3), 32),
}
ORIGINAL = {
    name: name.replace("down_blocks.0.attentions.0", "input_blocks.1.1").replace(
        "down_blocks.0.resnets.0.conv1", "input_blocks.1.0.in_layers.2"
    )
    for name in MODULES
}
_RNG = np.random.default_rng(0)
_draw = lambda *shape: _RNG.normal(size=shape).astype(np.float32)
PAIRS = {
    name: (_draw(RANK, *inside), _draw(out, RANK, *[1] * (len(inside) - 1)))
    for name, (inside, out) in MODULES.items()
}
TEXT_PAIR = (_draw(RANK, 8), _draw(8, RANK))


def kohya(names=None, root="te"):
    found = {}
    for name, (down, up) in {**PAIRS, TEXT: TEXT_PAIR}.items():
        theirs = (names or {}).get(name, name).replace(".", "_")
        key = f"lora_{root}_text_model_{theirs}" if name == TEXT else f"lora_unet_{theirs}"
        found |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        found[f"{key}.alpha"] = np.float32(ALPHA)
    return {name: np.asarray(value) for name, value in found.items()}


def dotted(down=".lora_A.weight", up=".lora_B.weight", scale=ALPHA / RANK):
    found = {}
    for name, (first, second) in {**PAIRS, TEXT: TEXT_PAIR}.items():
        key = f"text_encoder.text_model.{name}" if name == TEXT else f"unet.{name}"
        found |= {key + down: first, key + up: second * np.float32(scale)}
    return found


@cache
def places():
    config = tiny.config("sd1")
    return lora_places(config, part_shapes(config))


def added(file, *strengths):
    """The parameters of a tiny model, and with the LoRA at these strengths, flat, by path."""
    params = tiny.weights("sd1").params
    params = {"unet": params["unet"], "texts": {"0": params["texts"][0]}}
    loras = [Lora(path=file, strength=strength) for strength in strengths or (1.0,)]
    changed = with_changes(params, lora.read_changes(loras, places()))
    return flatten(params), flatten(changed)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lora.safetensors"


def written(file, tensors, **metadata):
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, file, metadata or None)
    return file


def assert_close(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_allclose(array, b[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_kohya_s_update_is_the_equation(file):
    before, after = added(written(file, kohya()), 0.5)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    block, scale = "unet/down_0_attn_0/blocks", 0.5 * ALPHA / RANK
    paths = {
        f"{block}/self_q/kernel": f"{BLOCK}.attn1.to_q",
        f"{block}/cross_k/kernel": f"{BLOCK}.attn2.to_k",
        f"{block}/cross_out/kernel": f"{BLOCK}.attn2.to_out.0",
        f"{block}/mlp_up/kernel": f"{BLOCK}.ff.net.0.proj",
        "unet/down_0_attn_0/proj_in/kernel": "down_blocks.0.attentions.0.proj_in",
        "unet/down_0_res_0/conv_0/kernel": "down_blocks.0.resnets.0.conv1",
        "texts/0/transformer/blocks/attention/query/kernel": TEXT,
    }
    assert changed == set(paths)
    for path, name in paths.items():
        down, up = {**PAIRS, TEXT: TEXT_PAIR}[name]
        update = scale * np.einsum("or,ri...->oi...", up.reshape(len(up), RANK), down)
        if name.endswith("conv1"):
            update = update.transpose(2, 3, 1, 0)
        else:
            update = update.reshape(update.shape[:2]).T
        wanted = np.array(before[path])
        if name == TEXT:  # of the middle one of three blocks
            wanted[1] += update
        else:
            wanted += update.reshape(wanted.shape)
        np.testing.assert_allclose(after[path], wanted, rtol=1e-5, atol=1e-6, err_msg=path)


def test_all_namings_are_one(file):
    _, wanted = added(written(file, kohya()))
    old = dotted(".lora.down.weight", ".lora.up.weight")
    processors = {
        key.replace(f"attn1.{layer}.lora", f"attn1.processor.{layer}_lora"): value
        for layer in ("to_q",)
        for key, value in old.items()
    }
    processors = {
        key.replace("attn2.to_out.0.lora", "attn2.processor.to_out_lora"): value
        for key, value in processors.items()
    }
    unprefixed = {key.replace("text_model.", ""): value for key, value in dotted().items()}
    namings = {
        "kohya, original names": kohya(ORIGINAL),
        "kohya, first of two towers": kohya(root="te1"),
        "peft": dotted(),
        "diffusers before peft": old,
        "linear layers": dotted(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        "attention processors": processors,
        "no prefix of the tower": unprefixed,
    }
    for name, tensors in namings.items():
        assert tensors.keys() != kohya().keys(), name
        _, found = added(written(file, tensors))
        assert_close(found, wanted)


def test_alpha_in_metadata_in_a_file_beside_and_by_pattern(file):
    _, wanted = added(written(file, kohya()))
    plain = dotted(scale=1.0)
    settings = {f"{root}.lora_alpha": ALPHA for root in ("unet", "text_encoder")}
    _, found = added(written(file, plain, lora_adapter_metadata=json.dumps(settings)))
    assert_close(found, wanted)
    patterns = {"unet.alpha_pattern": {"attn1.to_q": 1.5 * ALPHA}}
    of_pattern = written(file, plain, lora_adapter_metadata=json.dumps(settings | patterns))
    before, found = added(of_pattern)
    path = "unet/down_0_attn_0/blocks/self_q/kernel"
    assert_close({path: found[path] - before[path]}, {path: 1.5 * (wanted[path] - before[path])})
    beside = written(file, plain).with_name("adapter_config.json")
    beside.write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
    assert_close(added(file)[1], wanted)
    beside.write_text(json.dumps({"use_rslora": True}))
    with pytest.raises(WeightsError, match="use_rslora"):
        added(file)
    beside.unlink()
    _, found = added(file)  # alpha is the rank
    before, halved = added(written(file, dotted(scale=1.0)))
    assert_close(found, halved)


def test_no_strength_changes_no_bit_and_two_halves_are_one(file):
    written(file, kohya())
    before, after = added(file, 0.0)
    for name, array in before.items():
        assert np.asarray(array).tobytes() == np.asarray(after[name]).tobytes()
    assert_close(added(file, 0.5, 0.5)[1], added(file)[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lora_unet_a.hada_w1_a": 1}, "LoHa"),
        ({"lora_unet_a.lokr_w1": 1}, "LoKr"),
        ({"lora_unet_a.lora_mid.weight": 1}, "Tucker"),
        ({"lora_unet_a.dora_scale": 1}, "DoRA"),
        ({"lora_unet_a.diff": 1}, "full difference"),
        ({"lora_unet_a.diff_b": 1}, "full difference"),
        ({"lora_unet_a.oft_blocks": 1}, "OFT"),
        ({"lora_unet_a.on_input": 1}, "IA3"),
        ({"bundle_emb.a": 1}, "keys that are no LoRA's: 'bundle_emb.a'"),
        ({"lora_unet_a.lora_up.weight": (3, 2)}, "no down matrix for 'a'"),
        ({"lora_te2_a.lora_up.weight": (3, 2), "lora_te2_a.lora_down.weight": (2, 3)},
         "made for SDXL, which has two text towers"),
        ({"lora_unet_down_blocks_0_attentions_0_proj_inn.lora_up.weight": (3, 2),
          "lora_unet_down_blocks_0_attentions_0_proj_inn.lora_down.weight": (2, 3)},
         "this one lacks 1: .*Did you mean 'down_blocks_0_attentions_0_proj_in'"),
        ({"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (2, 768),
          "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight": (64, 2)},
         "made for Stable Diffusion 1, and this model is of a context of width 8"),
        ({"unet.conv_in.lora_A.weight": (2, 4, 1, 1), "unet.conv_in.lora_B.weight": (32, 2, 1, 1)},
         r"do not make its \[32, 4, 3, 3\]"),
    ],
)  # fmt: skip
def test_what_is_not_used_is_refused(file, change, said):
    """Even where all else of the file fits."""
    more = {k: np.ones(v if isinstance(v, tuple) else (v,), np.float32) for k, v in change.items()}
    written(file, kohya() | more)
    with pytest.raises(WeightsError, match=said):
        added(file)


def test_odd_strengths_and_files_are_refused(file, tmp_path):
    with pytest.raises(ValueError, match="is nan, expected a number"):
        Lora(path=file, strength=float("nan"))
    written(file, {"a": np.zeros(1)})
    with pytest.raises(WeightsError, match="no LoRA's"):
        added(file)
    with pytest.raises(WeightsError, match="expected pytorch_lora_weights"):
        added(tmp_path)
    written(tmp_path / "pytorch_lora_weights.safetensors", kohya())
    assert_close(added(tmp_path)[1], added(written(file, kohya()))[1])
    assert lora.read_changes([], {}) == {}
