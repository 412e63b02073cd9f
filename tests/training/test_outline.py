"""Stages whose data and models are not here have the shapes of those that are."""

import jax
import pytest

from clipdiff_jax.core.devices import MeshConfig, make_mesh
from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.training.compiled import batch_shapes
from clipdiff_jax.training.config import RunConfig


def shapes(stage, train):
    """Of all that a step takes, as text."""
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    params = jax.eval_shape(lambda: stage.init(jax.random.key(0)))
    described = lambda leaf: f"{jax.numpy.dtype(leaf.dtype)}{list(leaf.shape)}"
    batch = batch_shapes(stage, train, mesh)
    return jax.tree.map(described, (params, batch)), jax.tree.map(described, stage.frozen)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "avatars/base",
        "avatars/clip",
        "unclip/avatars/upsampler",
        "avatars/puzzle_4",
        "fragments/corner",
    ],
)
def test_an_outline_has_the_shapes_of_the_stage(name):
    config = load_config(name, RunConfig)
    outline, built = config.stage.outline(), config.stage.build(only_shapes=True)
    assert shapes(outline, config.train) == shapes(built, config.train)


@pytest.mark.slow
def test_an_outline_of_an_edit_has_the_shapes_of_the_stage():
    config = load_config("avatars/edit_smile", RunConfig)
    outline, built = config.stage.outline(), config.stage.build(only_shapes=True)
    (of_outline, frozen), (of_built, expected) = (
        shapes(stage, config.train) for stage in (outline, built)
    )
    assert of_outline == of_built
    assert jax.tree.leaves(frozen) == jax.tree.leaves(expected)


@pytest.mark.parametrize(
    ("name", "millions", "tokens"),
    [
        ("celebahq/edit", 113.673, None),
        ("unclip/karlo/decoder", 893.318, 77),
        ("unclip/paper/prior", 1225.561, 77),
        ("latent/finetune", 859.521, None),
        ("latent/lora_2", 3.319808, None),
        ("latent/lora_xl", 23.22432, None),
    ],
)
def test_published_models_need_not_be_here(name, millions, tokens, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = load_config(name, RunConfig)
    stage = config.stage.outline()
    params = jax.eval_shape(lambda: stage.init(jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6 == pytest.approx(millions, 1e-5)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    batch = batch_shapes(stage, config.train, mesh)
    assert tokens is None or batch["tokens"].shape == (config.train.batch_size, tokens)
