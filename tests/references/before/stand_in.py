"""Models of the demo's architectures with weights from seeds.

The demo's own models are trained again now and then, and these never are: a network is computed as
before whatever its weights. `stand_in.json` has the configs and shapes of version ab31f15.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
UNCLIP_PARTS = ("clip", "prior", "ar_prior", "direct_prior", "decoder", "upsampler")


def write_stand_ins(folder: Path) -> None:
    """`base` and `unclip`, with its parts in it, as the model folders of that version."""
    for seed, (name, part) in enumerate(json.loads((HERE / "stand_in.json").read_text()).items()):
        path = folder / "unclip" / name if name in UNCLIP_PARTS else folder / name
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(part["config"]))
        rng = np.random.default_rng(seed)
        arrays = {key: _drawn(key, shape, rng) for key, shape in part["shapes"].items()}
        save_file(arrays, path / "model.safetensors")
    for file in TOKENIZER:
        shutil.copy(HERE / file, folder / "unclip" / "clip" / file)


def _drawn(name: str, shape: list[int], rng: np.random.Generator) -> np.ndarray:
    """What a tensor of that name and shape plausibly holds."""
    noise = rng.standard_normal(shape, np.float32)
    spread = 20.0 * np.geomspace(1, 1e-2, 256, dtype=np.float32)  # of an embedding's directions
    match name.rpartition("/")[2]:
        case "scale":
            return 1 + 0.1 * noise
        case "bias" | "embedding_mean" | "mean":
            return 0.02 * noise
        case "embedding_std":
            return np.ones(shape, np.float32)
        case "logit_scale":
            return np.full(shape, 2.7, np.float32)
        case "times":
            return np.linspace(999, 0, *shape).round().astype(np.int32)
        case "values":
            return np.geomspace(1, 300, *shape, dtype=np.float32)
        case "directions":  # a reflection: orthogonal, and without a decomposition's rounding
            across = noise[0] / np.linalg.norm(noise[0])
            return np.eye(*shape, dtype=np.float32) - 2 * np.outer(across, across)
        case "variances":
            return spread**2
        case "high":
            return 3 * spread[: shape[0]]
        case "low":
            return -3 * spread[: shape[0]]
        case "dot_edges":
            return np.linspace(-0.9, 0.9, *shape, dtype=np.float32)
        case _:
            return noise / np.float32(math.sqrt(math.prod(shape[:-1])))
