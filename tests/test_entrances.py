"""One check of pictures at every entrance: what is wrong is refused before anything is compiled."""

import re

import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_base, tiny_clip, tiny_face, write_unclip

import clipdiff_jax as cd
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.metrics.avatars.attributes import load_attributes
from clipdiff_jax.metrics.direction import directional_similarity
from clipdiff_jax.metrics.grain import local_deviation
from clipdiff_jax.metrics.identity import identity_similarity
from clipdiff_jax.metrics.pixels import mae, psnr, ssim
from clipdiff_jax.models.alexnet import AlexNetConfig
from clipdiff_jax.perceptual.directional import text_direction
from clipdiff_jax.perceptual.lpips import Lpips

GOOD = pictures(2)
BAD = {
    "unit range": ((GOOD + 1) / 2, ValueError, r"most likely in \[0, 1\]"),
    "bytes as floats": ((GOOD + 1) * 127.5, ValueError, r"/ 127\.5 - 1"),
    "channels first": (GOOD.transpose(0, 3, 1, 2), ValueError, "channels come last"),
    "NaN": (np.where(GOOD > 0.5, np.nan, GOOD).astype(np.float32), ValueError, "not finite"),
    "complex": (GOOD.astype(np.complex64), TypeError, "images are complex64"),
    "four channels": (GOOD[..., [0, 1, 2, 0]], ValueError, "without transparency"),
    "grey": (GOOD[..., :1], ValueError, "three channels also for grey"),
    "none": (GOOD[:0], ValueError, "there are none"),
    "int": (np.int32(np.ones((2, 16, 16, 3))), TypeError, "images are int32"),
}
MADE = ("attributes",)  # which judges pictures that were made here
SHOWN = ("grey", "none")  # of which a grid makes something, or says something else


@pytest.fixture(scope="module")
def entrances(tmp_path_factory):
    base, clip = tiny_base(), tiny_clip()
    objective = EditObjective(
        source_text="a", target_text="b", t0=300, invert_steps=3, train_steps=2
    )
    edit = Edit(base.config, base.params, objective, "")
    unclip = cd.load_unclip(write_unclip(tmp_path_factory.mktemp("unclip")))
    direction = text_direction(clip.embed_texts, "a", "b", ("{}",))
    lpips, face, out = Lpips(AlexNetConfig(), {}, {}), tiny_face(), tmp_path_factory.mktemp("out")
    return {
        "edit": lambda x: cd.edit(x, base, edit, steps=3),
        "reconstruct": lambda x: cd.reconstruct(x, base, steps=3),
        "finetune_edit": lambda x: cd.finetune_edit(x, base, clip, "a", "b"),
        "Clip.embed_images": clip.embed_images,
        "UnClip.embed_images": unclip.embed_images,
        "variations": lambda x: unclip.variations(x, key=0),
        "interpolate": lambda x: unclip.interpolate(x, x),
        "text_diff": lambda x: unclip.text_diff(x, "a", "b"),
        "pca_reconstructions": lambda x: unclip.pca_reconstructions(x),
        "small": unclip.small,
        "invert": lambda x: unclip.invert(x, np.zeros((2, 8), np.float32)),
        "upsample": lambda x: unclip.upsample(x, key=0),
        "upsample_all": lambda x: unclip.upsample_all(x, key=0),
        "attributes": load_attributes().predict,
        "lpips": lambda x: lpips.distance(x, x),
        "mae": lambda x: mae(x, x),
        "psnr": lambda x: psnr(x, x),
        "ssim": lambda x: ssim(x, x),
        "grain": local_deviation,
        "identity": lambda x: identity_similarity(face.embed, x, x),
        "direction": lambda x: directional_similarity(clip, direction, x, x),
        "save_images": lambda x: cd.save_images(x, out),
        "show": lambda x: cd.show(x),
    }


def refusal(call, images, error) -> str:
    """What the error says; that there was none."""
    try:
        call(images)
    except error as refused:
        return str(refused)
    return "took it"


@pytest.mark.parametrize("kind", BAD)
def test_every_entrance_refuses(entrances, kind):
    images, error, message = BAD[kind]
    for name, call in entrances.items():
        if (kind == "unit range" and name in MADE) or (name == "show" and kind in SHOWN):
            continue
        said = refusal(call, images, error)
        assert re.search(message, said), f"{name}: {said}"


def test_bytes_are_taken_where_pictures_are(entrances):
    """As what they are: the same as floats."""
    levels = np.uint8(np.round((GOOD + 1) * 127.5))
    floats = levels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    for name in ("Clip.embed_images", "small", "mae", "grain"):
        call = entrances[name]
        np.testing.assert_allclose(call(levels), call(floats), atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_lists_of_different_sizes(entrances):
    one, two = GOOD[0], pictures(1, 24, seed=3)[0]
    for name in ("Clip.embed_images", "UnClip.embed_images", "small", "reconstruct"):
        call = entrances[name]
        both = np.asarray(call([one, two]))
        alone = np.concatenate([np.asarray(call(one)), np.asarray(call(two))])
        np.testing.assert_allclose(both, alone, atol=1e-4, err_msg=name)
    with pytest.raises(ValueError, match=r"different sizes \(16x16, 24x24\)"):
        entrances["grain"]([one, two])
