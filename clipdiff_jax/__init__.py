"""CLIP-driven diffusion in JAX: edit pictures by text, and make them from text.

    import clipdiff_jax as cd

    clip, base = cd.load_clip("demo"), cd.load_diffusion("demo")
    smile = cd.finetune_edit(faces, base, clip, "a serious face", "a smiling face")
    cd.show(cd.edit(faces, base, smile, strength=0.8))

Names are imported when they are first used, so that `import clipdiff_jax` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipdiff_jax.pipelines.clip import load_clip as load_clip
    from clipdiff_jax.pipelines.diffusion import load_diffusion as load_diffusion
    from clipdiff_jax.pipelines.edit import edit as edit
    from clipdiff_jax.pipelines.edit import finetune_edit as finetune_edit
    from clipdiff_jax.pipelines.edit import load_edit as load_edit
    from clipdiff_jax.pipelines.grid import show as show
    from clipdiff_jax.pipelines.unclip_load import load_unclip as load_unclip

_HOMES = {
    "load_clip": "clipdiff_jax.pipelines.clip",
    "load_diffusion": "clipdiff_jax.pipelines.diffusion",
    "load_edit": "clipdiff_jax.pipelines.edit",
    "load_unclip": "clipdiff_jax.pipelines.unclip_load",
    "edit": "clipdiff_jax.pipelines.edit",
    "finetune_edit": "clipdiff_jax.pipelines.edit",
    "show": "clipdiff_jax.pipelines.grid",
}

__all__ = [
    "edit",
    "finetune_edit",
    "load_clip",
    "load_diffusion",
    "load_edit",
    "load_unclip",
    "show",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipdiff_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
