"""Writes the guided-diffusion reference: a tiny network with random weights and its output.

    python tests/references/make_guided.py        (needs torch)

`unet_guided.npz` has `state/<name>`, `x` (NHWC), `t`, `classes` and `out`. Its heads are 4 wide.
"""

from pathlib import Path

import numpy as np
import torch
from guided_unet import GuidedUNet
from openai_clip import stir

HERE = Path(__file__).parent


def random_unet(seed: int, **options) -> GuidedUNet:
    torch.manual_seed(seed)
    return stir(GuidedUNet(**options), seed)


def run(model: GuidedUNet, size: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    channels = model.input_blocks[0][0].in_channels
    x = rng.normal(size=(2, size, size, channels)).astype(np.float32)
    t, classes = np.array([3, 731], np.int32), np.array([2, 0], np.int32)
    with torch.no_grad():
        out = model(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(t), torch.tensor(classes))
    return {"x": x, "t": t, "classes": classes, "out": out.permute(0, 2, 3, 1).numpy()}


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


if __name__ == "__main__":
    model = random_unet(0, multipliers=(1, 1, 2), attention=(1, 2), head_width=4, classes=3)
    state = {f"state/{name}": array for name, array in state_of(model).items()}
    np.savez_compressed(HERE / "unet_guided.npz", **state, **run(model, 16, 1))
