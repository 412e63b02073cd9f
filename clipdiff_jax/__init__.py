"""CLIP-driven diffusion in JAX: edit pictures by text, and make them from text.

    import clipdiff_jax as cd

    faces = cd.demo_faces(16, "train", mouth="serious")
    clip, base = cd.load_clip("demo"), cd.load_diffusion("demo")
    smile = cd.finetune_edit(faces, base, clip, "a serious face", "a smiling face")
    cd.show(cd.edit(cd.load_images("photos/"), base, smile, strength=0.8))

Names are imported when they are first used, so that `import clipdiff_jax` is quick.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# XLA's alarms about compilations that take long, which they may, are no errors; what is one is
# raised as well. XLA reads this once, when jax is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from clipdiff_jax.clip.model import Clip as Clip
    from clipdiff_jax.clip.model import load_clip as load_clip
    from clipdiff_jax.data.avatars.demo import demo_faces as demo_faces
    from clipdiff_jax.diffusion.sampling import Sampling as Sampling
    from clipdiff_jax.edit.api import edit as edit
    from clipdiff_jax.edit.api import reconstruct as reconstruct
    from clipdiff_jax.edit.editing import Editing as Editing
    from clipdiff_jax.edit.finetune import finetune_edit as finetune_edit
    from clipdiff_jax.edit.model import Edit as Edit
    from clipdiff_jax.edit.model import load_edit as load_edit
    from clipdiff_jax.guided.api import clip_guided as clip_guided
    from clipdiff_jax.guided.guiding import Guiding as Guiding
    from clipdiff_jax.latent.load import load_latent as load_latent
    from clipdiff_jax.latent.model import LatentDiffusion as LatentDiffusion
    from clipdiff_jax.latent.steering.layout import Region as Region
    from clipdiff_jax.pictures import watermark as watermark
    from clipdiff_jax.pictures.files import load_images as load_images
    from clipdiff_jax.pictures.files import save_images as save_images
    from clipdiff_jax.pictures.grid import show as show
    from clipdiff_jax.pixel.load import load_diffusion as load_diffusion
    from clipdiff_jax.pixel.model import Diffusion as Diffusion
    from clipdiff_jax.reassembly.model import Reassembly as Reassembly
    from clipdiff_jax.reassembly.model import load_reassembly as load_reassembly
    from clipdiff_jax.unclip.drawing import Drawing as Drawing
    from clipdiff_jax.unclip.load import load_unclip as load_unclip
    from clipdiff_jax.unclip.model import UnClip as UnClip

_MODULES = {"watermark": "clipdiff_jax.pictures.watermark"}
_HOMES = {
    "Clip": "clipdiff_jax.clip.model",
    "Diffusion": "clipdiff_jax.pixel.model",
    "Drawing": "clipdiff_jax.unclip.drawing",
    "Edit": "clipdiff_jax.edit.model",
    "Editing": "clipdiff_jax.edit.editing",
    "LatentDiffusion": "clipdiff_jax.latent.model",
    "Guiding": "clipdiff_jax.guided.guiding",
    "Reassembly": "clipdiff_jax.reassembly.model",
    "Region": "clipdiff_jax.latent.steering.layout",
    "Sampling": "clipdiff_jax.diffusion.sampling",
    "UnClip": "clipdiff_jax.unclip.model",
    "clip_guided": "clipdiff_jax.guided.api",
    "demo_faces": "clipdiff_jax.data.avatars.demo",
    "edit": "clipdiff_jax.edit.api",
    "finetune_edit": "clipdiff_jax.edit.finetune",
    "load_clip": "clipdiff_jax.clip.model",
    "load_diffusion": "clipdiff_jax.pixel.load",
    "load_edit": "clipdiff_jax.edit.model",
    "load_images": "clipdiff_jax.pictures.files",
    "load_latent": "clipdiff_jax.latent.load",
    "load_reassembly": "clipdiff_jax.reassembly.model",
    "load_unclip": "clipdiff_jax.unclip.load",
    "reconstruct": "clipdiff_jax.edit.api",
    "save_images": "clipdiff_jax.pictures.files",
    "show": "clipdiff_jax.pictures.grid",
}

__all__ = [
    "Clip",
    "Diffusion",
    "Drawing",
    "Edit",
    "Editing",
    "Guiding",
    "LatentDiffusion",
    "Reassembly",
    "Region",
    "Sampling",
    "UnClip",
    "clip_guided",
    "demo_faces",
    "edit",
    "finetune_edit",
    "load_clip",
    "load_diffusion",
    "load_edit",
    "load_images",
    "load_latent",
    "load_reassembly",
    "load_unclip",
    "reconstruct",
    "save_images",
    "show",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipdiff_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])
