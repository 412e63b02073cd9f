"""Every stage's train step and every call that makes pictures, lowered for accelerators.

Lowering needs no device. It raises what jax would raise on one: cuDNN's attention in half
precision is asked whether it takes the shapes, the masks and their gradients.
"""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_base, tiny_clip, write_unclip
from helpers.tiny_stages import STAGES

import clipdiff_jax as cd
from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.compilation import compiling_for
from clipdiff_jax.core.devices import MeshConfig, make_mesh
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.stage import EditObjective
from clipdiff_jax.training.compiled import frozen_shapes, trace_step
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.start import plan_state

TRAIN = TrainConfig(steps=3, batch_size=16, ema=0.9)
CUDA, TPU = ("gpu", "cuda"), ("tpu", "tpu")  # the platform by the names of ours and of jax
FLASH = "__cudnn$fmha"
PROMPTS = ["a face", "a smiling face"]


def lowered(trace, platform, name) -> str:
    with compiling_for(platform):
        return trace().lower(lowering_platforms=(name,)).as_text()


def train_step(name: str, dtype: str):
    stage = STAGES[name](dtype)

    def trace():
        mesh = make_mesh(MeshConfig(), jax.devices()[:1])
        with jax.set_mesh(mesh):
            plan, frozen = plan_state(stage, TRAIN, mesh), frozen_shapes(stage, TRAIN, mesh)
            return trace_step(stage, TRAIN, mesh, plan, frozen)

    return trace


@pytest.mark.parametrize("name", STAGES)
def test_train_steps_in_half_precision_lower_for_nvidia(as_on_hopper, name):
    text = lowered(train_step(name, "bfloat16"), *CUDA)
    assert "bf16" in text
    assert text.count(FLASH) >= 2  # forward and gradient


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    ("dtype", "target"), [("float32", CUDA), ("float32", TPU), ("bfloat16", TPU)]
)
def test_train_steps_lower_for(as_on_hopper, name, dtype, target):
    text = lowered(train_step(name, dtype), *target)
    assert ("bf16" in text) == (dtype == "bfloat16")
    assert FLASH not in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_unclip(tmp_path_factory.mktemp("unclip"))


@pytest.fixture(scope="module")
def models(folder):
    """By dtype: what the calls below are given."""

    def load(dtype):
        unclip = cd.load_unclip(folder, dtype=dtype)
        base, clip = tiny_base(), tiny_clip()
        base = cd.Diffusion(base.config, base.params, dtype)
        objective = EditObjective(source_text="a face", target_text="a hat", t0=300)
        return SimpleNamespace(
            base=base,
            unclip=unclip,
            clip=Clip(clip.config, clip.params, clip.tokenizer, dtype),
            edit=Edit(base.config, base.params, objective, ""),
            images=pictures(3),
        )

    return {name: load(jax.numpy.dtype(name)) for name in ("float32", "bfloat16")}


CALLS = {
    "generate": lambda m, key: m.base.generate(3, key=key, steps=3),
    "edit": lambda m, key: cd.edit(m.images[:3], m.base, m.edit, key=key, steps=3),
    "reconstruct": lambda m, key: cd.reconstruct(m.images[:3], m.base, key=key, steps=3, t0=300),
    "embed_images": lambda m, key: m.clip.embed_images(m.images[:3]),
    "embed_texts": lambda m, key: m.clip.embed_texts(PROMPTS),
    "draw": lambda m, key: m.unclip.generate(PROMPTS, key=key, steps=2, prior_steps=2),
    "ar_prior": lambda m, key: m.unclip.embed_prompts(PROMPTS, key=key, prior="ar_prior"),
    "direct_prior": lambda m, key: m.unclip.embed_prompts(PROMPTS, key=key, prior="direct_prior"),
    "invert": lambda m, key: m.unclip.invert(
        m.images[:2], np.zeros((2, 8), np.float32), PROMPTS, steps=2
    ),
    "upsample": lambda m, key: m.unclip.upsample(m.images[:2], key=key, steps=2),
}
WITH_FLASH = CALLS.keys() - {"generate", "edit", "reconstruct"}  # the tiny base attends nowhere


def call(name: str, models):
    """The call as a program of all models' parameters and a key."""

    arrays = {"base": models.base, "unclip": models.unclip, "clip": models.clip}

    def run(arrays, tuned, key):
        edit = dataclasses.replace(models.edit, params=tuned)
        given = SimpleNamespace(**arrays, edit=edit, images=models.images)
        return CALLS[name](given, key)

    return lambda: jax.jit(run).trace(arrays, models.edit.params, jax.random.key(0))


@pytest.mark.parametrize("name", CALLS)
def test_calls_in_half_precision_lower_for_nvidia(as_on_hopper, models, name):
    text = lowered(call(name, models["bfloat16"]), *CUDA)
    assert "bf16" in text
    assert (FLASH in text) == (name in WITH_FLASH)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("dtype", "target"), [("float32", CUDA), ("float32", TPU), ("bfloat16", TPU)]
)
def test_calls_lower_for(as_on_hopper, models, name, dtype, target):
    assert FLASH not in lowered(call(name, models[dtype]), *target)
