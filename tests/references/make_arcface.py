"""IR-SE networks in plain torch, written from the papers, and the reference made with a tiny one.

    python tests/references/make_arcface.py        (needs torch)

`arcface.npz` has `state/<name>` (the names of the public `model_ir_se50.pth`), `images` (NHWC) and
`embeddings`.
"""

from pathlib import Path

import numpy as np
import torch
from openai_clip import stir
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent


class Excitation(nn.Module):
    def __init__(self, width, reduction):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(width // reduction, width, 1, bias=False)

    def forward(self, x):
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(pooled))))


class Block(nn.Module):
    def __init__(self, inputs, width, stride, reduction):
        super().__init__()
        if inputs == width:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            convolution = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(convolution, nn.BatchNorm2d(width))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, width, 3, 1, 1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            Excitation(width, reduction),
        )

    def forward(self, x):
        return self.shortcut_layer(x) + self.res_layer(x)


class ArcFace(nn.Module):
    def __init__(self, size, width, depths, reduction, features):
        super().__init__()
        stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.input_layer = nn.Sequential(stem, nn.BatchNorm2d(width), nn.PReLU(width))
        blocks, inputs = [], width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                outputs = width * 2**stage
                blocks.append(Block(inputs, outputs, 2 if block == 0 else 1, reduction))
                inputs = outputs
        self.body = nn.Sequential(*blocks)
        positions = (size // 2 ** len(depths)) ** 2
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.Dropout(), nn.Flatten(),
            nn.Linear(inputs * positions, features), nn.BatchNorm1d(features),
        )  # fmt: skip

    def forward(self, x):
        return self.output_layer(self.body(self.input_layer(x)))


def random_arcface(seed, *args):
    return stir(ArcFace(*args), seed)


def run(model, size, seed) -> dict[str, np.ndarray]:
    images = np.random.default_rng(seed).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        embeddings = model(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    return {"images": images, "embeddings": embeddings}


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


if __name__ == "__main__":
    model = random_arcface(0, 16, 4, (2, 1), 2, 8)
    state = {f"state/{name}": array for name, array in state_of(model).items()}
    np.savez_compressed(HERE / "arcface.npz", **state, **run(model, 16, 1))
