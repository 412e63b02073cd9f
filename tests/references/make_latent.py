"""Writes latent.npz: a tiny UNet of SDXL's kind and a text tower, and what they compute.

    python tests/references/make_latent.py        (needs torch, diffusers and transformers)

`unet/...` and `text/...` hold each network's `config` (JSON), `state/<name>` under diffusers' and
transformers' names, inputs and outputs; pictures are NHWC. Every parameter is random, norms and
biases included.
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

HERE = Path(__file__).parent
# Stable Diffusion 1 in miniature.
SD1 = dict(
    sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
    cross_attention_dim=6, attention_head_dim=2, norm_num_groups=4,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
)  # fmt: skip
SD2 = SD1 | dict(
    attention_head_dim=(2, 4), use_linear_projection=True, in_channels=9, layers_per_block=2
)
XL = SD2 | dict(
    in_channels=4, layers_per_block=1, addition_embed_type="text_time", addition_time_embed_dim=4,
    projection_class_embeddings_input_dim=5 + 6 * 4, transformer_layers_per_block=(1, 2),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
)  # fmt: skip
TEXT = dict(
    vocab_size=40, hidden_size=8, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
    max_position_embeddings=12, bos_token_id=38, eos_token_id=39, pad_token_id=0,
)  # fmt: skip


def shuffled(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter random, norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.copy_((1.0 if name.endswith("weight") else 0.0) + 0.1 * noise)
            elif "embedding" in name:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
    return model.eval()


def unet(seed: int, **config) -> UNet2DConditionModel:
    return shuffled(UNet2DConditionModel(**config), seed)


def run_unet(model: UNet2DConditionModel, seed: int, sides=(7, 10)) -> dict[str, np.ndarray]:
    """Random inputs and the output."""
    rng, config = np.random.default_rng(seed), model.config
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    arrays = {
        "x": normal(2, *sides, config.in_channels),
        "t": np.array([981, 1], np.int32),
        "context": normal(2, 7, config.cross_attention_dim),
    }
    added = {}
    if config.addition_embed_type == "text_time":
        arrays["pooled"] = normal(2, 5)
        arrays["time_ids"] = np.array([[64, 64, 0, 0, 64, 64], [96, 80, 8, 4, 64, 64]], np.float32)
        added = {
            "text_embeds": torch.tensor(arrays["pooled"]),
            "time_ids": torch.tensor(arrays["time_ids"]),
        }
    with torch.no_grad():
        out = model(
            torch.tensor(arrays["x"]).permute(0, 3, 1, 2), torch.tensor(arrays["t"]),
            torch.tensor(arrays["context"]), added_cond_kwargs=added or None,
        ).sample  # fmt: skip
    return arrays | {"out": out.permute(0, 2, 3, 1).numpy()}


def text_model(seed: int, projection: int | None = None, **changes):
    """A text tower, with a projection where one is given."""
    config = CLIPTextConfig(**TEXT | changes, projection_dim=projection or TEXT["hidden_size"])
    kind = CLIPTextModel if projection is None else CLIPTextModelWithProjection
    return shuffled(kind(config), seed)


def run_text(model, seed: int) -> dict[str, np.ndarray]:
    """Random ids and the states."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 37, size=(3, 12))
    ids[:, 0], ids[0, 5:], ids[1, 11], ids[2, 3] = 38, 39, 39, 39
    with torch.no_grad():
        found = model(torch.tensor(ids), output_hidden_states=True)
    pooled = found.text_embeds if hasattr(found, "text_embeds") else found.pooler_output
    return {
        "ids": ids.astype(np.int32),
        "last": found.last_hidden_state.numpy(),
        "penultimate": found.hidden_states[-2].numpy(),
        "pooled": pooled.numpy(),
    }


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def document_of(model) -> dict:
    """Its `config.json`."""
    if hasattr(model.config, "to_dict"):  # transformers names the class as it saves it
        return model.config.to_dict() | {"architectures": [type(model).__name__]}
    return json.loads(model.to_json_string())


if __name__ == "__main__":
    arrays = {}
    networks = {
        "unet": (unet(0, **XL), run_unet),
        "text": (text_model(1, projection=5, hidden_act="gelu"), run_text),
    }
    for name, (model, run) in networks.items():
        found = {"config": json.dumps(document_of(model)), **run(model, 2)}
        found |= {f"state/{key}": array for key, array in state_of(model).items()}
        arrays |= {f"{name}/{key}": array for key, array in found.items()}
    np.savez_compressed(HERE / "latent.npz", **arrays)
