"""LPIPS in plain torch, written from the paper, and the references made with tiny networks.

    python tests/references/make_lpips.py        (needs torch)

`lpips_alex.npz` and `lpips_vgg.npz` have `network/<name>` (the names of torchvision's classifiers),
`heads/<name>` (those of the lpips package), two batches of pictures (NHWC), and their `distances`.
"""

from pathlib import Path

import numpy as np
import torch
from openai_clip import stir
from torch import nn

HERE = Path(__file__).parent
TINY = {"alex": (4, 6, 8, 5, 7), "vgg": (4, 5, 6, 7, 8)}
VGG_DEPTHS = (2, 2, 3, 3, 3)


class Classifier(nn.Module):
    """`features` as torchvision has them; `classifier` stands for what LPIPS does not use."""

    def __init__(self, layers):
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(3, 2))


def alexnet(widths) -> Classifier:
    first, second, third, fourth, fifth = widths
    layers = [
        nn.Conv2d(3, first, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(second, third, 3, padding=1), nn.ReLU(),
        nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU(),
        nn.Conv2d(fourth, fifth, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    ]  # fmt: skip
    return Classifier(layers)


def vgg(widths, depths=VGG_DEPTHS) -> Classifier:
    layers, inputs = [], 3
    for width, depth in zip(widths, depths, strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return Classifier(layers)


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(width, 1, 1, bias=False))


class Heads(nn.Module):
    def __init__(self, widths):
        super().__init__()
        for layer, width in enumerate(widths):
            self.add_module(f"lin{layer}", Head(width))


def tapped(net, module) -> list[int]:
    """The places of the activations LPIPS looks at: all of AlexNet's, VGG's last before a pool."""
    layers = list(module.features)
    places = [i for i, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
    if net == "alex":
        return places
    return [i for i in places if isinstance(layers[i + 1], nn.MaxPool2d)]


def distances(net, network, heads, first, second):
    """Zhang et al. 2018, eq. 1, with the scaling of version 0.1."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, y = (first - shift) / scale, (second - shift) / scale
    places, total = tapped(net, network), 0
    for place, layer in enumerate(network.features[: places[-1] + 1]):
        x, y = layer(x), layer(y)
        if place in places:
            a, b = (f / (torch.linalg.vector_norm(f, dim=1, keepdim=True) + 1e-10) for f in (x, y))
            head = getattr(heads, f"lin{places.index(place)}").model
            total = total + head((a - b) ** 2).mean(dim=(1, 2, 3))
    return total


def random_lpips(net, widths, seed, **options):
    network = stir((alexnet if net == "alex" else vgg)(widths, **options), seed)
    heads = stir(Heads(widths), seed + 1)
    with torch.no_grad():
        for weight in heads.parameters():
            weight.abs_()
    return network, heads


def run(net, network, heads, height, width, seed) -> dict[str, np.ndarray]:
    """Two batches of three 8-bit pictures and their distances; of the last the two are equal."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (3, height, width, 3))
    other = np.clip(levels + rng.integers(-40, 41, levels.shape), 0, 255)
    other[2] = levels[2]
    first, second = (np.float32(each / 127.5 - 1) for each in (levels, other))
    pictures = (torch.tensor(images).permute(0, 3, 1, 2) for images in (first, second))
    with torch.no_grad():
        found = distances(net, network, heads, *pictures).numpy()
    return {"first": first, "second": second, "distances": found}


def state_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


if __name__ == "__main__":
    for net, widths in TINY.items():
        network, heads = random_lpips(net, widths, 0)
        arrays = {f"network/{name}": array for name, array in state_of(network).items()}
        arrays |= {f"heads/{name}": array for name, array in state_of(heads).items()}
        size = 31 if net == "alex" else 16
        arrays |= run(net, network, heads, size, size, 1)
        np.savez_compressed(HERE / f"lpips_{net}.npz", **arrays)
