"""Loaded CLIPs give the numbers of the originals: transformers' and OpenAI's layouts."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.models.clip import (
    CLIP,
    CLIPConfig,
    TextConfig,
    VisionTransformerConfig,
    init_params,
)
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import clip_openai, clip_transformers
from clipdiff_jax.weights.tables import ConvertError, expected, export_params, import_params

TOLERANCE = 1e-4


def relative_error(ours, theirs) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def shapes_of(config):
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def assert_parity(config, table, state, pixels, ids, images, texts, hidden):
    params = import_params(table, state, shapes_of(config))
    network = CLIP(config)
    pixels, ids = jnp.asarray(pixels), jnp.asarray(ids)
    ours = network.apply({"params": params}, pixels, method="embed_images")
    our_texts, our_hidden = network.apply({"params": params}, ids, method="embed_texts")
    assert relative_error(ours, images) < TOLERANCE
    assert relative_error(our_texts, texts) < TOLERANCE
    assert relative_error(our_hidden, hidden) < TOLERANCE
    back = export_params(table, params)
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def stored(name):
    with np.load(REFERENCES / f"{name}.npz") as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): a for n, a in arrays.items() if n.startswith("state/")}
    config = json.loads(str(arrays["config"])) if "config" in arrays else None
    outputs = [arrays[n] for n in ("pixels", "ids", "images", "texts", "hidden")]
    return config, state, outputs


@pytest.mark.parametrize("name", ["clip_legacy", "clip_gelu"])
def test_stored_transformers_reference(name):
    document, state, outputs = stored(name)
    config = clip_transformers.read_config(document)
    assert config.text.eos_token_id == (2 if name == "clip_legacy" else 7)
    assert_parity(config, clip_transformers.TABLE, state, *outputs)


def test_stored_openai_resnet_reference():
    _, state, outputs = stored("clip_resnet")
    config = clip_openai.infer_config({name: array.shape for name, array in state.items()})
    assert config.vision == ModifiedResNetConfig(32, width=4, depths=(1, 2), heads=1)
    assert_parity(config, clip_openai.table(config), state, *outputs)


@pytest.mark.parity
@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "quick_gelu", "eos_token_id": 2},
        {"activation": "gelu", "eos_token_id": 49},
        {"activation": "gelu", "eos_token_id": 5, "vision": {"image_size": 21, "patch_size": 7}},
        {
            "activation": "quick_gelu", "eos_token_id": 49, "projection_dim": 20,
            "vision": {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3},
        },
        {
            "activation": "gelu", "eos_token_id": 2,
            "text": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1},
            "vision": {"image_size": 24, "patch_size": 4, "intermediate_size": 40},
        },
    ],
)  # fmt: skip
def test_equal_to_transformers(changes):
    pytest.importorskip("torch")
    from make_clip import ids_for, pixels_for, run_transformers, transformers_clip

    model = transformers_clip(seed=3, **changes)
    config = clip_transformers.read_config(model.config.to_dict())
    pixels, ids = pixels_for(config.vision.image_size, 4), ids_for(model, 5)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    outputs = run_transformers(model, pixels, ids)
    assert_parity(config, clip_transformers.TABLE, state, pixels, ids, *outputs.values())
    again, preprocessor = clip_transformers.write_config(config)
    assert clip_transformers.read_config(again, preprocessor) == config


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize(
    ("size", "width", "depths", "heads", "expansion"),
    [
        (32, 8, (1, 1), 2, 4),
        (64, 4, (2, 1, 1), 8, 4),
        (64, 4, (1, 1, 2, 1), 2, 2),
        (16, 12, (2,), 4, 4),
        (96, 4, (1, 2, 1), 1, 4),
    ],
)
def test_equal_to_the_original_resnet(size, width, depths, heads, expansion):
    torch = pytest.importorskip("torch")
    from make_clip import pixels_for
    from references.openai_clip import ModifiedResNet, OriginalCLIP, stir

    visual = ModifiedResNet(size, width, depths, heads, expansion, 12)
    model = stir(OriginalCLIP(visual, 40, 7, 16, 1, 1, 12), 0)
    pixels, ids = pixels_for(size, 1), np.random.default_rng(2).integers(0, 40, (3, 7))
    with torch.no_grad():
        images = visual(torch.tensor(pixels).permute(0, 3, 1, 2)).numpy()
        texts, hidden = (x.numpy() for x in model.encode_text(torch.tensor(ids)))
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    config = clip_openai.infer_config({name: array.shape for name, array in state.items()})
    vision = dataclasses.replace(config.vision, heads=heads)
    assert vision == ModifiedResNetConfig(size, width, depths, heads=heads, expansion=expansion)
    config = dataclasses.replace(config, vision=vision)
    assert_parity(config, clip_openai.table(config), state, pixels, ids, images, texts, hidden)


def test_openai_transformer_names_agree_with_transformers_names():
    """The same parameters, written in both layouts, read back as the same network."""
    config = CLIPConfig(
        VisionTransformerConfig(16, 8, width=64, depth=2, heads=1, mlp_width=96),
        TextConfig(30, 6, width=64, depth=1, heads=1, mlp_width=80, eos_token_id=2),
        projection_dim=10,
    )
    params = jax.jit(partial(init_params, config))(jax.random.key(0))
    state = export_params(clip_openai.table(config), params)
    assert state["visual.transformer.resblocks.1.attn.in_proj_weight"].shape == (192, 64)
    assert clip_openai.infer_config({n: a.shape for n, a in state.items()}) == config
    back = import_params(clip_openai.table(config), state, params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


PUBLISHED = {
    "ViT-B/32": (CLIPConfig(), 151_277_313),
    "ViT-B/16": (CLIPConfig(VisionTransformerConfig(patch_size=16)), 149_620_737),
    "ViT-L/14": (
        CLIPConfig(
            VisionTransformerConfig(patch_size=14, width=1024, depth=24, heads=16, mlp_width=4096),
            TextConfig(width=768, heads=12, mlp_width=3072),
            projection_dim=768,
        ),
        427_616_513,
    ),
    "RN50": (CLIPConfig(ModifiedResNetConfig(), projection_dim=1024), 102_007_137),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    """Parameter counts of the released models, and OpenAI's names at full size."""
    config, count = PUBLISHED[name]
    shapes = shapes_of(config)
    sizes = jax.tree_util.tree_leaves_with_path(shapes)
    learned = [leaf.size for path, leaf in sizes if path[-1].key not in ("mean", "var")]
    assert sum(learned) == count
    names = expected(clip_openai.table(config), shapes)
    text = dataclasses.replace(config.text, eos_token_id=2)
    assert clip_openai.infer_config(names) == dataclasses.replace(config, text=text)


def test_what_is_no_clip_is_refused():
    with pytest.raises(WeightsError, match="model_type 'siglip', expected 'clip'"):
        clip_transformers.read_config({"model_type": "siglip"})
    act = {"model_type": "clip", "text_config": {"hidden_act": "quick-gelu"}}
    with pytest.raises(WeightsError, match=r"'quick-gelu', not one of .+ mean 'quick_gelu'"):
        clip_transformers.read_config(act)
    with pytest.raises(ConvertError, match=r"no token_embedding\.weight"):
        clip_openai.infer_config({"a": (1,)})
    own = CLIPConfig(ModifiedResNetConfig(64, stem="space_to_depth", norm="group"))
    with pytest.raises(
        ConvertError, match=r"this one has .'stem': 'space_to_depth', 'norm': 'group'"
    ):
        clip_openai.table(own)
    with pytest.raises(WeightsError, match="no ModifiedResNetConfig tower"):
        clip_transformers.write_config(own)


def test_second_text_config_counts_alone():
    """transformers: what `text_config_dict` leaves out takes the default."""
    document = {
        "model_type": "clip",
        "text_config": {"hidden_size": 64, "eos_token_id": 2},
        "text_config_dict": {"hidden_size": 128},
    }
    text = clip_transformers.read_config(document).text
    assert (text.width, text.eos_token_id) == (128, 49407)
