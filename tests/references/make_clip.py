"""Writes the CLIP references: tiny torch models, their inputs and their outputs.

    python tests/references/make_clip.py        (needs torch and transformers)

Each `.npz` has `config` (JSON; absent for OpenAI's layout), `state/<name>`, `pixels` (NHWC), `ids`,
`images`, `texts`, `hidden`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from openai_clip import ModifiedResNet, OriginalCLIP, stir
from transformers import CLIPConfig, CLIPModel

HERE = Path(__file__).parent


def transformers_clip(activation: str, eos_token_id: int, seed: int, **changes):
    """A tiny CLIPModel with random weights."""
    tower = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "hidden_act": activation, "projection_dim": 12,
    }  # fmt: skip
    vision = tower | {"image_size": 16, "patch_size": 8} | changes.get("vision", {})
    text = tower | {"vocab_size": 50, "max_position_embeddings": 9, "eos_token_id": eos_token_id}
    text |= {"bos_token_id": 0, "pad_token_id": 1} | changes.get("text", {})
    width = changes.get("projection_dim", 12)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)
    return stir(CLIPModel(config), seed)


def ids_for(model, seed: int) -> np.ndarray:
    """Random ids with an end of text at a random place; larger ids only where 2 does not count."""
    text = model.config.text_config
    rng = np.random.default_rng(seed)
    vocab, length, end = text.vocab_size, text.max_position_embeddings, text.eos_token_id
    ids = rng.integers(3, vocab - 1, (3, length))
    for row, at in enumerate(rng.integers(2, length, 3)):
        ids[row, at:] = vocab - 1 if end == 2 else end
    return ids


def run_transformers(model, pixels: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        images = model.get_image_features(torch.tensor(pixels).permute(0, 3, 1, 2))
        output = model.text_model(torch.tensor(ids))
        texts = model.text_projection(output.pooler_output)
    images = getattr(images, "pooler_output", images)
    return {
        "images": images.numpy(),
        "texts": texts.numpy(),
        "hidden": output.last_hidden_state.numpy(),
    }


def state_of(model) -> dict[str, np.ndarray]:
    return {f"state/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}


def pixels_for(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, size, size, 3)).astype(np.float32)


def main() -> None:
    for name, activation, eos in (("clip_legacy", "quick_gelu", 2), ("clip_gelu", "gelu", 7)):
        model = transformers_clip(activation, eos, seed=0)
        pixels, ids = pixels_for(16, 1), ids_for(model, 2)
        np.savez_compressed(
            HERE / f"{name}.npz", config=json.dumps(model.config.to_dict()), pixels=pixels,
            ids=ids, **state_of(model), **run_transformers(model, pixels, ids),
        )  # fmt: skip
    visual = ModifiedResNet(32, 4, (1, 2), 1, 4, 12)
    model = stir(OriginalCLIP(visual, 50, 9, 16, 2, 1, 12), 0)
    pixels = pixels_for(32, 1)
    ids = np.random.default_rng(2).integers(0, 50, (3, 9))
    with torch.no_grad():
        images = model.visual(torch.tensor(pixels).permute(0, 3, 1, 2))
        texts, hidden = model.encode_text(torch.tensor(ids))
    np.savez_compressed(
        HERE / "clip_resnet.npz", pixels=pixels, ids=ids, images=images.numpy(),
        texts=texts.numpy(), hidden=hidden.numpy(), **state_of(model),
    )  # fmt: skip


if __name__ == "__main__":
    main()
