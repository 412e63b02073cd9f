"""The stored tiny Karlo (references/make_karlo.py) as a folder in the hub's layout, for tests."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from helpers.paths import REFERENCES

TEXT_TO_IMAGE, VARIATIONS = "UnCLIPPipeline", "UnCLIPImageVariationPipeline"


def stored() -> dict[str, np.ndarray]:
    """All arrays of the reference."""
    with np.load(REFERENCES / "karlo_tiny.npz") as file:
        return dict(file)


def write_karlo(folder: Path, pipeline: str = TEXT_TO_IMAGE) -> Path:
    """Writes the folder; it holds the components of both pipelines and says it is `pipeline`."""
    states: dict[str, dict[str, np.ndarray]] = {}
    for name, array in stored().items():
        kind, _, rest = name.partition("/")
        if kind == "file":
            (folder / rest).parent.mkdir(parents=True, exist_ok=True)
            (folder / rest).write_bytes(array.tobytes())
        elif kind == "tensor":
            component, _, tensor = rest.partition("/")
            states.setdefault(component, {})[tensor] = array
    for component, state in states.items():
        stem = "model" if "encoder" in component else "diffusion_pytorch_model"
        save_file(state, folder / component / f"{stem}.safetensors")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return folder
