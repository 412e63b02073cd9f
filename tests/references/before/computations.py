"""Everything whose numbers are pinned: what the public calls make of stored models and pictures.

Each function of `COMPUTATIONS` takes nothing and returns arrays by name. They use `clipdiff_jax`'s
public names only, so they run unchanged however the library is arranged inside. Their inputs are
stand-ins of the demo models, and the tiny models, edits and faces that lie beside this file.

Edits of a whole model are as large as the model, so none is stored: they are the stored tiny edits
with other parameters, the model's own plus noise from a seed.
"""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from references.before.stand_in import write_stand_ins

import clipdiff_jax as cd

BEFORE = Path(__file__).parent
MODELS = BEFORE / "models"
TEXTS = ["a smiling person with long red hair", "a serious face, glasses"]
SHORT_TEXTS = ["a face", "a smile"]  # all that the tiny models take
BLACK, RED = "a face with black hair", "a face with red hair"
STORED = 1000  # numbers that are kept of an output, at most

Arrays = Mapping[str, Any]
COMPUTATIONS: dict[str, Callable[[], Arrays]] = {}


def thinned(array: Any) -> np.ndarray:
    """At most `STORED` numbers of an output, spread over all its rows, columns and channels."""
    flat = np.asarray(array, np.float32).reshape(-1)
    stride = -(-flat.size // STORED)
    while math.gcd(stride, 6) != 1 and stride > 1:
        stride += 1
    return flat[::stride]


def faces(count: int = 2) -> np.ndarray:
    """The stored faces of 64 px, in [-1, 1]."""
    read = [np.asarray(Image.open(BEFORE / "faces" / f"face{i}.png")) for i in range(count)]
    return np.stack(read).astype(np.float32) / np.float32(127.5) - 1


def small_faces(size: int = 16) -> np.ndarray:
    """The same of 16 px, each pixel a mean, for the tiny models."""
    pictures = faces()
    side = pictures.shape[1] // size
    return pictures.reshape(len(pictures), size, side, size, side, 3).mean((2, 4))


def noise(seed: int, *shape: int) -> np.ndarray:
    """Normal noise of numpy's."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def key(seed: int = 0) -> jax.Array:
    """A typed key."""
    return jax.random.key(seed)


@cache
def _stand_ins() -> tempfile.TemporaryDirectory[str]:
    """Deleted with the process."""
    folder = tempfile.TemporaryDirectory()
    write_stand_ins(Path(folder.name))
    return folder


def stand_in(name: str) -> Path:
    """One of their model folders."""
    return Path(_stand_ins().name) / name


@cache
def clip() -> Any:
    return cd.load_clip(stand_in("unclip/clip"))


@cache
def base() -> Any:
    return cd.load_diffusion(stand_in("base"))


@cache
def unclip() -> Any:
    return cd.load_unclip(stand_in("unclip"))


@cache
def tuned(seed: int) -> Any:
    """An edit of the base, which is all of it plus noise."""
    leaves, tree = jax.tree.flatten(base().params)
    rng = np.random.default_rng(seed)
    moved = [np.asarray(a) + 5e-3 * rng.normal(size=a.shape).astype(np.float32) for a in leaves]
    params = jax.tree.map(jnp.asarray, jax.tree.unflatten(tree, moved))
    edit = cd.load_edit(MODELS / "edit_tuned")
    return dataclasses.replace(edit, config=base().config, params=params, base_fingerprint="")


@cache
def shifting() -> Any:
    """An edit of the base in h-space; the stored tiny one has its names, not its sizes."""
    edit = cd.load_edit(MODELS / "edit_h_space")
    small_width = cd.load_diffusion(MODELS / "diffusion").config.unet.channels[-1]
    width = base().config.unet.channels[-1]
    embedding = base().params["embedding"]["time"]["dense_1"]["bias"].shape[0]
    rng = np.random.default_rng(3)

    def drawn(path: Any, leaf: Any) -> jax.Array:
        shape = tuple(width if size == small_width else size for size in leaf.shape)
        if path[0].key == "time" and len(shape) == 2:
            shape = (embedding, width)
        return jnp.asarray(0.1 * rng.normal(size=shape) + (path[-1].key == "scale"), jnp.float32)

    params = jax.tree_util.tree_map_with_path(drawn, edit.params)
    return dataclasses.replace(edit, config=base().config, params=params, base_fingerprint="")


def computation(function: Callable[[], Arrays]) -> Callable[[], Arrays]:
    """Puts a function into `COMPUTATIONS`."""
    COMPUTATIONS[function.__name__] = function
    return function


@computation
def clip_embeddings() -> Arrays:
    wide = np.concatenate([faces(), faces()[:, :, ::-1]], axis=2)[:, 4:60]
    embedding, hidden = clip().encode_texts(TEXTS)
    return {
        "images": clip().embed_images(faces()),
        "wide images": clip().embed_images(wide),
        "texts": clip().embed_texts(TEXTS),
        "encoded texts": embedding,
        "hidden": hidden,
        "temperature": clip().temperature,
    }


@computation
def diffusion_predictions() -> Arrays:
    x_t = noise(0, 2, 64, 64, 3)
    return {
        "two times": base().predict(x_t, np.array([10, 700])),
        "one time": base().predict(faces(), 300),
    }


@computation
def diffusion_samples() -> Arrays:
    keys = jax.random.split(key(1), 2)
    return {
        "eta 0": base().generate(key=key(0), count=2, steps=4),
        "eta 1": base().generate(key=key(0), count=2, steps=4, eta=1.0),
        "keys": base().generate(key=keys, steps=4, eta=0.5),
    }


@computation
def edits_after_ddim() -> Arrays:
    both = {"steps": 4, "t0": 400}
    return {
        "reconstructed": cd.edit(faces(), base(), tuned(1), 0.0, **both),
        "edited": cd.edit(faces(), base(), tuned(1), 1.0, **both),
        "a strength each": cd.edit(faces(), base(), tuned(1), np.float32([0.5, 1.5]), **both),
        "own t0": cd.edit(faces(), base(), tuned(1), 1.0, steps=4),
        "purified": cd.edit(faces(), base(), tuned(1), 1.0, purify=2, key=7, **both),
    }


@computation
def edits_after_fixed_point() -> Arrays:
    options = {"steps": 4, "t0": 400, "fixed_point": 2}
    return {
        "reconstructed": cd.edit(faces(), base(), tuned(1), 0.0, **options),
        "edited": cd.edit(faces(), base(), tuned(1), 0.8, method="fixed_point", **options),
    }


@computation
def edits_after_edict() -> Arrays:
    options = {"steps": 4, "t0": 400, "method": "edict"}
    return {
        "reconstructed": cd.edit(faces(), base(), tuned(1), 0.0, **options),
        "edited": cd.edit(faces(), base(), tuned(1), 0.8, **options),
    }


@computation
def edits_at_random() -> Arrays:
    options = {"steps": 4, "t0": 400, "random_inversion": True}
    keys = jax.random.split(key(4), 2)
    return {
        "seed": cd.edit(faces(), base(), tuned(1), 1.0, key=5, **options),
        "keys": cd.edit(faces(), base(), tuned(1), 1.0, key=keys, **options),
        "edict": cd.edit(faces(), base(), tuned(1), 1.0, method="edict", key=5, **options),
    }


@computation
def edits_mixed() -> Arrays:
    two, options = [tuned(1), tuned(2)], {"steps": 4, "t0": 400}
    return {
        "equal": cd.edit(faces(), base(), two, 0.8, **options),
        "ratios": cd.edit(faces(), base(), two, 0.8, ratios=[2, 1], **options),
        "another size": cd.edit(faces()[:, :48, :40], base(), two, 0.8, **options),
    }


@computation
def edits_in_h_space() -> Arrays:
    three, options = [tuned(1), shifting(), tuned(2)], {"steps": 4, "t0": 400, "key": 6}
    return {
        "alone": cd.edit(faces(), base(), shifting(), 0.7, **options),
        "mixed": cd.edit(faces(), base(), three, 0.8, ratios=[2, 1, 1], **options),
    }


@computation
def unclip_encodings() -> Arrays:
    text = unclip().encode_texts(TEXTS)
    return {
        "images": unclip().embed_images(faces()),
        "texts": text.embedding,
        "hidden": text.hidden,
        "mask": text.mask,
        "ids": text.ids,
        "guidance": unclip().guidance_of("prior"),
    }


@computation
def diffusion_prior() -> Arrays:
    options = {"key": key(0), "steps": 3, "prior": "prior"}
    return {
        "ancestral": unclip().embed_prompts(TEXTS, **options),
        "guidance": unclip().embed_prompts(TEXTS, guidance=3.0, **options),
        "ddim": unclip().embed_prompts(TEXTS, sampler="ddim", eta=0.5, **options),
        "dpm_solver": unclip().embed_prompts(TEXTS, sampler="dpm_solver", **options),
        "candidates": unclip().embed_prompts(TEXTS, candidates=2, **options),
        "default": unclip().embed_prompts(TEXTS, key=key(0), steps=[2, 1]),
    }


@computation
def ar_prior() -> Arrays:
    options = {"key": key(0), "prior": "ar_prior"}
    return {
        "drawn": unclip().embed_prompts(TEXTS, **options),
        "likeliest": unclip().embed_prompts(TEXTS, temperature=0.0, guidance=2.0, **options),
        "candidates": unclip().embed_prompts(TEXTS, candidates=2, temperature=0.5, **options),
    }


@computation
def direct_prior() -> Arrays:
    return {"embedding": unclip().embed_prompts(TEXTS, prior="direct_prior")}


@computation
def decoder_ancestral() -> Arrays:
    z, options = unclip().embed_images(faces()), {"key": key(0), "steps": 3}
    return {
        "embeddings": unclip().decode(z, **options),
        "and prompts": unclip().decode(z, TEXTS, guidance=3.0, **options),
        "prompts": unclip().decode(None, TEXTS, **options),
        "from no image": unclip().decode(z, TEXTS, dropped="image", **options),
        "from no text": unclip().decode(z, TEXTS, dropped="text", **options),
        "guidance each": unclip().decode(z, guidance=np.float32([1.0, 4.0]), **options),
    }


@computation
def decoder_samplers() -> Arrays:
    z, options = unclip().embed_images(faces()), {"key": key(0), "steps": 3}
    return {
        "ddim": unclip().decode(z, sampler="ddim", **options),
        "ddim, eta": unclip().decode(z, sampler="ddim", eta=0.7, **options),
        "dpm_solver": unclip().decode(z, sampler="dpm_solver", **options),
        "sections": unclip().decode(z, sampler="ddim", key=key(0), steps=[2, 1, 1]),
    }


@computation
def decoder_threshold() -> Arrays:
    z, options = unclip().embed_images(faces()), {"key": key(0), "steps": 3, "guidance": 6.0}
    return {
        "ancestral": unclip().decode(z, threshold=95.0, **options),
        "ddim": unclip().decode(z, sampler="ddim", eta=0.5, threshold=90.0, **options),
    }


@computation
def decoder_inversion() -> Arrays:
    z = unclip().embed_images(faces())
    return {
        "x_T": unclip().invert(faces(), z, steps=3),
        "of prompts": unclip().invert(faces(), z, TEXTS, guidance=1.5, steps=3),
        "small": unclip().small(faces()),
    }


@computation
def upsampler() -> Arrays:
    options = {"key": key(0), "steps": 2}
    return {
        "ancestral": unclip().upsample(faces(), **options),
        "ddim": unclip().upsample(faces(), sampler="ddim", **options),
        "all": unclip().upsample_all(faces(), **options),
    }


@computation
def generation() -> Arrays:
    few = {"key": key(2), "steps": 2, "prior_steps": 2, "upsample_steps": 2}
    return {
        "plain": unclip().generate(TEXTS, **few),
        "all options": unclip().generate(
            TEXTS, guidance=3.0, prior_guidance=1.5, sampler="ddim", eta=0.3, threshold=99.0,
            candidates=2, prior="ar_prior", temperature=0.7, **few,
        ),
    }  # fmt: skip


@computation
def variations() -> Arrays:
    options = {"key": key(0), "steps": 2, "upsample_steps": 2, "count": 2}
    return {
        "plain": unclip().variations(faces(1), guidance=2.0, **options),
        "one image": unclip().variations(faces()[1], **options),
        "inverted": unclip().variations(faces(1), inverted=True, **options),
        "inverted, eta 0": unclip().variations(faces(1), inverted=True, eta=0.0, **options),
    }


@computation
def interpolations() -> Arrays:
    first, second = faces()
    options = {"key": key(0), "steps": 2, "upsample_steps": 2}
    return {
        "slerp": unclip().interpolate(first, second, 2, **options),
        "fixed": unclip().interpolate(first, second, [0.3, 0.6], latents="fixed", **options),
    }


@computation
def text_diffs() -> Arrays:
    options = {"key": key(0), "steps": 2, "upsample_steps": 2}
    return {"turned": unclip().text_diff(faces()[0], BLACK, RED, thetas=[0.1, 0.4], **options)}


@computation
def pca_reconstructions() -> Arrays:
    options = {"key": key(0), "steps": 2, "upsample_steps": 2}
    return {
        "dims": unclip().reconstruction_dims(),
        "pictures": unclip().pca_reconstructions(faces()[0], [4, 100], **options),
    }


@computation
def prior_ablation() -> Arrays:
    few = {"steps": 2, "prior_steps": 2, "upsample_steps": 2}
    return unclip().ablate_prior(TEXTS[:1], key=key(0), **few)


@computation
def tiny_clip_and_diffusion() -> Arrays:
    """What the stored folders give; so on below."""
    clip, base = cd.load_clip(MODELS / "clip"), cd.load_diffusion(MODELS / "diffusion")
    return {
        "images": clip.embed_images(small_faces()),
        "texts": clip.embed_texts(SHORT_TEXTS),
        "prediction": base.predict(small_faces(), 300),
        "samples": base.generate(key=key(0), count=2, steps=4, eta=1.0),
    }


@computation
def tiny_edits() -> Arrays:
    base = cd.load_diffusion(MODELS / "diffusion")
    edits = [cd.load_edit(MODELS / name) for name in ("edit_tuned", "edit_h_space")]
    options = {"steps": 4, "key": 1}
    return {
        "tuned": cd.edit(small_faces(), base, edits[0], 0.8, **options),
        "h-space": cd.edit(small_faces(), base, edits[1], 0.8, **options),
        "both": cd.edit(small_faces(), base, edits, 0.8, ratios=[1, 2], **options),
    }


@computation
def tiny_priors() -> Arrays:
    model = cd.load_unclip(MODELS / "unclip")
    return {
        "prior": model.embed_prompts(SHORT_TEXTS, prior="prior", key=key(0), steps=3),
        "ar_prior": model.embed_prompts(SHORT_TEXTS, prior="ar_prior", key=key(0)),
        "direct_prior": model.embed_prompts(SHORT_TEXTS, prior="direct_prior"),
    }


@computation
def tiny_decoder_and_upsampler() -> Arrays:
    model, options = cd.load_unclip(MODELS / "unclip"), {"key": key(0), "steps": 3}
    z = model.embed_images(small_faces())
    return {
        "images": z,
        "decoded": model.decode(z, SHORT_TEXTS, **options),
        "upsampled": model.upsample(small_faces(), **options),
    }


def _learned(mode: str, **objective: Any) -> Arrays:
    """The parameters of an edit that the tiny models learn in four updates."""
    clip, base = cd.load_clip(MODELS / "clip"), cd.load_diffusion(MODELS / "diffusion")
    pictures = np.concatenate([small_faces(), small_faces()[:, :, ::-1]])
    settings = {"t0": 300, "invert_steps": 4, "train_steps": 3, "mode": mode} | objective
    options = {"passes": 2, "batch_size": 2, "learning_rate": 1e-3, "seed": 3, "progress": False}
    edit = cd.finetune_edit(pictures, base, clip, *SHORT_TEXTS, **options, **settings)
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(edit.params)]
    return {"parameters": np.concatenate(leaves)}


@computation
def learned_unrolled() -> Arrays:
    return _learned("unrolled")


@computation
def learned_in_single_steps() -> Arrays:
    return _learned("single_step", noise=0.0, augmentations=0)


@computation
def learned_from_noised() -> Arrays:
    return _learned("noised", l1=1.0, negative_texts=("a head",))


@computation
def learned_in_h_space() -> Arrays:
    """Bits of one machine only: it starts as no change at all, whose direction is rounding."""
    return _learned("h_space", t_edit=100)


@computation
def shown_grid() -> Arrays:
    return {"pixels": np.asarray(cd.show(faces(), columns=1).image, np.float32)}
