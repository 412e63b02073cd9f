"""Folders in OpenCLIP's own layout give the numbers of the original networks."""

import json

import numpy as np
import pytest

from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import clip_openclip

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTS = ["a face", "a smiling face with a hat"]
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
# ViT-B-32 as published by LAION, and RN50 as published by OpenAI.
VIT_B_32 = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {
            "context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12,
        },
    },
    "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073],
                       "std": [0.26862954, 0.26130258, 0.27577711]},
}  # fmt: skip


def write_tokenizer(folder) -> int:
    """A vocabulary of letters whose last id is the end mark, as in CLIP's; returns its size."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return len(tokens)


def test_published_configs():
    gelu = {"activation": "gelu"}
    assert clip_openclip.read_config(VIT_B_32) == CLIPConfig(
        VisionTransformerConfig(**gelu), TextConfig(eos_token_id=2, **gelu)
    )
    resnet = {"image_size": 224, "layers": [3, 4, 6, 3], "width": 64, "patch_size": None}
    model = VIT_B_32["model_cfg"] | {"vision_cfg": resnet, "embed_dim": 1024, "quick_gelu": True}
    assert clip_openclip.read_config({"model_cfg": model}) == CLIPConfig(
        ModifiedResNetConfig(), TextConfig(eos_token_id=2), projection_dim=1024
    )
    giant = VIT_B_32["model_cfg"]["vision_cfg"] | {
        "layers": 40, "width": 1408, "head_width": 88, "mlp_ratio": 4.3637, "patch_size": 14,
    }  # fmt: skip
    vision = clip_openclip.read_config(
        {"model_cfg": VIT_B_32["model_cfg"] | {"vision_cfg": giant}}
    ).vision
    assert (vision.heads, vision.mlp_width) == (16, 6144)


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        ("vision_cfg", {"timm_model_name": "vit_base"}, r"vision_cfg\.timm_model_name 'vit_base'"),
        ("vision_cfg", {"head_widht": 80}, "which is not supported. Did you mean 'head_width'"),
        ("text_cfg", {"pool_type": "last"}, r"text_cfg\.pool_type 'last', expected 'argmax'"),
        ("text_cfg", {"ls_init_value": 0.1}, r"ls_init_value 0\.1, which is not supported"),
        ("preprocess_cfg", {"resize_mode": "squash"}, "'squash', expected 'shortest'"),
        ("preprocess_cfg", {"size": [224, 256]}, r"size \[224, 256\], expected 224"),
    ],
)
def test_other_networks_are_refused_by_name(where, changes, message):
    document = json.loads(json.dumps(VIT_B_32))
    parent = document if where in document else document["model_cfg"]
    parent[where] |= changes
    with pytest.raises(WeightsError, match=message):
        clip_openclip.read_config(document)


def test_options_that_are_off_or_idle_pass():
    document = json.loads(json.dumps(VIT_B_32))
    document["model_cfg"]["vision_cfg"] |= {"patch_dropout": 0.5, "timm_model_name": None}
    document["model_cfg"]["text_cfg"] |= {"pool_type": "argmax", "no_causal_mask": False}
    document["preprocess_cfg"] |= {"interpolation": "bicubic", "size": [224, 224]}
    assert clip_openclip.read_config(document) == clip_openclip.read_config(VIT_B_32)
    with pytest.raises(WeightsError, match=r"no model_cfg\.embed_dim"):
        clip_openclip.read_config({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}})
    with pytest.raises(WeightsError, match=r"no model_cfg\. Did you mean 'model_cgf'"):
        clip_openclip.read_config({"model_cgf": {}})


@pytest.mark.parity
@pytest.mark.parametrize(
    ("vision", "quick_gelu", "ending"),
    [
        ({"layers": 2, "width": 24, "head_width": 8, "patch_size": 8}, False, "bin"),
        (
            {"layers": 1, "width": 16, "head_width": 16, "patch_size": 16, "mlp_ratio": 2.3637},
            True, "safetensors",
        ),
        ({"layers": 3, "width": 8, "head_width": 2, "patch_size": 4}, True, "bin"),
        ({"layers": [1, 1, 1, 1], "width": 4, "head_width": 32}, True, "safetensors"),
        ({"layers": [2, 1, 1, 2], "width": 8, "head_width": 64}, False, "safetensors"),
    ],
)  # fmt: skip
def test_equal_to_the_original(tmp_path, vision, quick_gelu, ending):
    torch = pytest.importorskip("torch")
    from references.openai_clip import ModifiedResNet, OriginalCLIP, VisionTransformer, stir
    from safetensors.numpy import save_file

    size, layers, width = 32, vision["layers"], vision["width"]
    vocab = write_tokenizer(tmp_path)
    if isinstance(layers, list):
        heads = 32 * width // vision["head_width"]
        visual = ModifiedResNet(size, width, layers, heads, 4, 12)
    else:
        visual = VisionTransformer(
            size, vision["patch_size"], width, layers, width // vision["head_width"], 12,
            vision.get("mlp_ratio", 4.0), quick_gelu,
        )  # fmt: skip
    model = stir(OriginalCLIP(visual, vocab, 40, 16, 2, 2, 12, 3.0, quick_gelu), 0)
    text = {
        "context_length": 40, "vocab_size": vocab, "width": 16, "heads": 2, "layers": 2,
        "mlp_ratio": 3.0,
    }  # fmt: skip
    network = {"embed_dim": 12, "vision_cfg": {"image_size": size} | vision, "text_cfg": text}
    document = {
        "model_cfg": network | {"quick_gelu": quick_gelu},
        "preprocess_cfg": {"mean": MEAN, "std": STD},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(document))
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if ending == "bin":
        torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    else:
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        save_file(arrays, tmp_path / "open_clip_model.safetensors")

    clip = load_clip(tmp_path)
    images = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    pixels = ((images + 1) / 2 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        theirs = visual(torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2)).numpy()
        texts = model.encode_text(torch.tensor(clip.tokenizer(TEXTS)))[0].numpy()
    for ours, original in ((clip.embed_images(images), theirs), (clip.embed_texts(TEXTS), texts)):
        error = np.linalg.norm(ours - original) / np.linalg.norm(original)
        print(f"relative error {error:.1e}")
        assert error < 1e-4
