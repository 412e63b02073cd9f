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
    from clipdiff_jax.clip.model import load_clip as load_clip
    from clipdiff_jax.edit.api import edit as edit
    from clipdiff_jax.edit.api import finetune_edit as finetune_edit
    from clipdiff_jax.edit.api import load_edit as load_edit
    from clipdiff_jax.pictures.grid import show as show
    from clipdiff_jax.pixel.load import load_diffusion as load_diffusion
    from clipdiff_jax.unclip.load import load_unclip as load_unclip

_HOMES = {
    "load_clip": "clipdiff_jax.clip.model",
    "load_diffusion": "clipdiff_jax.pixel.load",
    "load_edit": "clipdiff_jax.edit.api",
    "load_unclip": "clipdiff_jax.unclip.load",
    "edit": "clipdiff_jax.edit.api",
    "finetune_edit": "clipdiff_jax.edit.api",
    "show": "clipdiff_jax.pictures.grid",
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
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipdiff_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
