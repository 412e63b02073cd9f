"""Writes the UNet reference: a tiny `UNet2DModel` with random weights, an input and its output.

    python tests/references/make_unet.py        (needs torch and diffusers)

`unet_ddpm.npz` has `config` (JSON), `state/<name>`, `x` (NHWC), `t` and `out`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel

HERE = Path(__file__).parent
# google/ddpm-celebahq-256 in miniature.
DDPM = {
    "sample_size": 16, "block_out_channels": (4, 4, 8), "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), "downsample_padding": 0,
    "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6, "norm_num_groups": 4,
    "attention_head_dim": None,
}  # fmt: skip


def random_unet(seed: int, **changes) -> UNet2DModel:
    torch.manual_seed(seed)
    model = UNet2DModel(**(DDPM | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def run(model: UNet2DModel, seed: int) -> dict[str, np.ndarray]:
    size, channels = model.config.sample_size, model.config.in_channels
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, size, size, channels)).astype(np.float32)
    t = np.array([3, 731], np.int32)
    with torch.no_grad():
        out = model(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(t)).sample
    return {"x": x, "t": t, "out": out.permute(0, 2, 3, 1).numpy()}


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def document_of(model: UNet2DModel) -> dict:
    return json.loads(model.to_json_string())


if __name__ == "__main__":
    model = random_unet(0)
    state = {f"state/{name}": array for name, array in state_of(model).items()}
    config = json.dumps(document_of(model))
    np.savez_compressed(HERE / "unet_ddpm.npz", config=config, **state, **run(model, 1))
