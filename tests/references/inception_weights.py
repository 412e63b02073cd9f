"""Random weights and pictures for InceptionV3, equal on every machine and made without torch.

The network has 22 million parameters, so references hold what it answers and not its weights.
"""

import numpy as np


def random_state(shapes, seed) -> dict[str, np.ndarray]:
    """Values of a sensible size for tensors by torchvision's names. shapes: name -> shape."""
    # The one generator whose numbers are promised never to change.
    rng = np.random.RandomState(seed)
    state = {}
    for name in sorted(shapes):
        noise = rng.standard_normal(shapes[name]).astype(np.float32)
        if name.endswith("conv.weight"):
            state[name] = noise * np.float32(np.sqrt(2 / np.prod(shapes[name][1:])))
        elif name.endswith("running_var"):
            state[name] = 0.5 + np.abs(noise)
        elif name.endswith("bn.weight"):
            state[name] = 1 + 0.1 * noise
        else:
            state[name] = 0.1 * noise
    return {name: array.astype(np.float32) for name, array in state.items()}


def random_images(count, height, width, seed) -> np.ndarray:
    """[N, H, W, 3] in [-1, 1]."""
    rng = np.random.RandomState(seed)
    return rng.uniform(-1, 1, (count, height, width, 3)).astype(np.float32)
