"""The public calls in a process of which jax has 64-bit numbers on, or several devices.

    JAX_ENABLE_X64=1 python -m helpers.wide_run calls
        prints the dtypes of what each call returns
    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m helpers.wide_run devices
        learns edits and trains with the default batches

Both have to be chosen before jax starts, hence a process of its own.
"""

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import clipdiff_jax as cd
from clipdiff_jax.diffusion.interpolation import slerp
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.guided.api import clip_guided
from clipdiff_jax.latent.steering.layout import Region
from clipdiff_jax.metrics import pixels
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from helpers import tiny_latent
from helpers.tiny_models import pictures, stirred, tiny_base, tiny_clip, write_unclip
from helpers.tiny_reassembly import SQUARES, tiny_reassembly
from helpers.tiny_stages import STAGES

TEXTS = ("a face", "a smiling face")
SHORT = {"t0": 300, "invert_steps": 3, "train_steps": 2, "passes": 1, "progress": False}
TRAINED = ("base", "decoder", "diffusion_prior", "ar_prior")


def finetuned(images, **options):
    return cd.finetune_edit(images, tiny_base(), tiny_clip(), *TEXTS, **SHORT, **options).params


def calls():
    """A function for each."""
    base, clip, images = tiny_base(), tiny_clip(), pictures(2).astype(np.float32)
    objective = EditObjective(
        source_text="a", target_text="b", t0=300, invert_steps=3, train_steps=2
    )
    edit = Edit(base.config, stirred(base.params, 0, 0.02), objective, "")
    unclip = cd.load_unclip(write_unclip(Path(tempfile.mkdtemp())))
    few = {"steps": 2, "upsample_steps": 2}
    train = TrainConfig(steps=1, batch_size=2, ema=0.9)
    latent, latents = tiny_latent.model(), {"steps": 2, "output": "latents"}
    regions = [Region("a red cube", (0, 0, 0.5, 1)), Region("a dog", (0.5, 0, 1, 1))]
    pieces = np.zeros((4, SQUARES.piece, SQUARES.piece, 3), np.uint8)
    prompts = {"source": "a red cube", "target": "a blue cube"}
    return {
        "ddim": lambda: base.generate(2, key=0, steps=2, eta=0.5),
        "ancestral": lambda: base.generate(1, key=0, steps=2, sampler="ancestral", threshold=99.0),
        "dpm_solver": lambda: base.generate(1, key=0, steps=3, sampler="dpm_solver"),
        "edit": lambda: cd.edit(images, base, [edit, edit], ratios=[1, 2], steps=3, purify=1),
        "edict": lambda: cd.edit(images, base, edit, steps=3, method="edict"),
        "reconstruct": lambda: cd.reconstruct(images, base, steps=3, random_inversion=True),
        "clip": lambda: (clip.embed_images(images), clip.embed_texts("a")),
        "finetune": lambda: finetuned(images, augmentations=2, length=1.0),
        "h_space": lambda: finetuned(images, mode="h_space"),
        "generate": lambda: unclip.generate("a", key=0, prior_steps=2, **few),
        "ar_prior": lambda: unclip.generate("a", key=0, prior="ar_prior", candidates=2, **few),
        "variations": lambda: unclip.variations(images, key=0, count=2, inverted=True, **few),
        "interpolate": lambda: unclip.interpolate(images[0], images[1], 3, **few),
        "text_diff": lambda: unclip.text_diff(images[0], "a", "b", **few),
        "pca": lambda: unclip.pca_reconstructions(images[0], [1, 4], **few),
        "binding": lambda: latent.generate("a red cube", key=0, binding="syngen", **latents),
        "collage": lambda: latent.collage("a dog", regions, key=0, background_drop=0.5, **latents),
        "p2p": lambda: latent.edit(images, **prompts, blend=("cube", "cube"), **latents),
        "ledits": lambda: latent.edit(images, target="a dog", method="ledits", key=0, **latents),
        "guide": lambda: clip_guided(base, clip, ["a face", images[0]], key=0, steps=2, cutouts=2),
        "solve": lambda: tiny_reassembly().solve(pieces, steps=2, key=0).poses,
        "metrics": lambda: (pixels.psnr(images, -images), pixels.ssim(images, images)),
        "slerp": lambda: slerp(jax.numpy.asarray(images), -jax.numpy.asarray(images), 0.3),
        **{
            f"train {name}": lambda name=name: fit(STAGES[name](), train).params for name in TRAINED
        },
    }


def on_calls() -> None:
    for name, call in calls().items():
        try:
            found = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(call())})
        except Exception as error:
            found = [f"{type(error).__name__}: {str(error)[:200]}"]
        print(name, *found, sep="; ", flush=True)


def on_devices() -> None:
    print("devices", jax.device_count())
    for count in (3, 8):
        leaves = jax.tree.leaves(finetuned(pictures(count)))
        print(count, all(bool(np.isfinite(leaf).all()) for leaf in leaves))
    state = fit(STAGES["base"](), TrainConfig(steps=2, batch_size=1, accumulate=1))
    print("trained", int(state.step))


if __name__ == "__main__":
    on_calls() if sys.argv[1] == "calls" else on_devices()
