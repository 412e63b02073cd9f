"""InceptionV3 of FID in plain torch, written from the paper, and what it answers of a few pictures.

    python tests/references/make_inception.py        (needs torch)

`inception.npz` has every 64th of the 2048 features of `random_images(2, 107, 75, 1)`, with the
weights `random_state(shapes, 0)` of `inception_weights.py`; the names are those of the published
`pt_inception-2015-12-05-6726825d.pth`.
"""

from pathlib import Path

import numpy as np
import torch
from inception_weights import random_images, random_state
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent


class Conv(nn.Module):
    def __init__(self, inputs, outputs, kernel=1, **options):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)))


class Parallel(nn.Module):
    """Branches side by side; each is a list of names and layers in a row, or ends in a pair."""

    def __init__(self, pool, **layers):
        super().__init__()
        self.pool = pool
        for name, layer in layers.items():
            self.add_module(name, layer)

    def chain(self, x, *names):
        for name in names:
            x = getattr(self, name)(x)
        return x

    def pooled(self, x):
        if self.pool == "mean":
            x = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        else:
            x = functional.max_pool2d(x, 3, 1, 1)
        return self.branch_pool(x)


class A(Parallel):
    def __init__(self, inputs, pooled):
        super().__init__(
            "mean",
            branch1x1=Conv(inputs, 64),
            branch5x5_1=Conv(inputs, 48),
            branch5x5_2=Conv(48, 64, 5, padding=2),
            branch3x3dbl_1=Conv(inputs, 64),
            branch3x3dbl_2=Conv(64, 96, 3, padding=1),
            branch3x3dbl_3=Conv(96, 96, 3, padding=1),
            branch_pool=Conv(inputs, pooled),
        )

    def forward(self, x):
        five = self.chain(x, "branch5x5_1", "branch5x5_2")
        three = self.chain(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return torch.cat([self.branch1x1(x), five, three, self.pooled(x)], 1)


class B(Parallel):
    def __init__(self, inputs):
        super().__init__(
            "max",
            branch3x3=Conv(inputs, 384, 3, stride=2),
            branch3x3dbl_1=Conv(inputs, 64),
            branch3x3dbl_2=Conv(64, 96, 3, padding=1),
            branch3x3dbl_3=Conv(96, 96, 3, stride=2),
        )

    def forward(self, x):
        double = self.chain(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return torch.cat([self.branch3x3(x), double, functional.max_pool2d(x, 3, 2)], 1)


class C(Parallel):
    def __init__(self, inputs, inner):
        row, column = {"padding": (0, 3)}, {"padding": (3, 0)}
        super().__init__(
            "mean",
            branch1x1=Conv(inputs, 192),
            branch7x7_1=Conv(inputs, inner),
            branch7x7_2=Conv(inner, inner, (1, 7), **row),
            branch7x7_3=Conv(inner, 192, (7, 1), **column),
            branch7x7dbl_1=Conv(inputs, inner),
            branch7x7dbl_2=Conv(inner, inner, (7, 1), **column),
            branch7x7dbl_3=Conv(inner, inner, (1, 7), **row),
            branch7x7dbl_4=Conv(inner, inner, (7, 1), **column),
            branch7x7dbl_5=Conv(inner, 192, (1, 7), **row),
            branch_pool=Conv(inputs, 192),
        )

    def forward(self, x):
        seven = self.chain(x, *(f"branch7x7_{i}" for i in range(1, 4)))
        double = self.chain(x, *(f"branch7x7dbl_{i}" for i in range(1, 6)))
        return torch.cat([self.branch1x1(x), seven, double, self.pooled(x)], 1)


class D(Parallel):
    def __init__(self, inputs):
        super().__init__(
            "max",
            branch3x3_1=Conv(inputs, 192),
            branch3x3_2=Conv(192, 320, 3, stride=2),
            branch7x7x3_1=Conv(inputs, 192),
            branch7x7x3_2=Conv(192, 192, (1, 7), padding=(0, 3)),
            branch7x7x3_3=Conv(192, 192, (7, 1), padding=(3, 0)),
            branch7x7x3_4=Conv(192, 192, 3, stride=2),
        )

    def forward(self, x):
        three = self.chain(x, "branch3x3_1", "branch3x3_2")
        seven = self.chain(x, *(f"branch7x7x3_{i}" for i in range(1, 5)))
        return torch.cat([three, seven, functional.max_pool2d(x, 3, 2)], 1)


class E(Parallel):
    def __init__(self, inputs, pool):
        row, column = {"padding": (0, 1)}, {"padding": (1, 0)}
        super().__init__(
            pool,
            branch1x1=Conv(inputs, 320),
            branch3x3_1=Conv(inputs, 384),
            branch3x3_2a=Conv(384, 384, (1, 3), **row),
            branch3x3_2b=Conv(384, 384, (3, 1), **column),
            branch3x3dbl_1=Conv(inputs, 448),
            branch3x3dbl_2=Conv(448, 384, 3, padding=1),
            branch3x3dbl_3a=Conv(384, 384, (1, 3), **row),
            branch3x3dbl_3b=Conv(384, 384, (3, 1), **column),
            branch_pool=Conv(inputs, 192),
        )

    def forward(self, x):
        three = self.branch3x3_1(x)
        double = self.chain(x, "branch3x3dbl_1", "branch3x3dbl_2")
        parts = [
            self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.pooled(x),
        ]  # fmt: skip
        return torch.cat(parts, 1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = A(192, 32)
        self.Mixed_5c = A(256, 64)
        self.Mixed_5d = A(288, 64)
        self.Mixed_6a = B(288)
        self.Mixed_6b = C(768, 128)
        self.Mixed_6c = C(768, 160)
        self.Mixed_6d = C(768, 160)
        self.Mixed_6e = C(768, 192)
        self.Mixed_7a = D(768)
        self.Mixed_7b = E(1280, "mean")
        self.Mixed_7c = E(2048, "max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x):
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


def shapes_of(model) -> dict[str, tuple[int, ...]]:
    """Of the feature network's tensors, as the published file names them."""
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }


def run(seed, images) -> np.ndarray:
    """Features [N, 2048] of images [N, H, W, 3] with the random weights of `seed`."""
    with torch.device("meta"):
        model = Inception()
    state = random_state(shapes_of(model), seed)
    model = model.to_empty(device="cpu").eval()
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    model.load_state_dict(tensors, strict=False)
    with torch.no_grad():
        return model(torch.tensor(images).permute(0, 3, 1, 2)).numpy()


if __name__ == "__main__":
    features = run(0, random_images(2, 107, 75, 1))
    np.savez_compressed(HERE / "inception.npz", features=features[:, ::64])
    print(features.mean(), features.std(), np.abs(features).max())
