"""unCLIP's recipes at full scale: the paper's table 3, and the sizes of its networks."""

import functools

import jax
import pytest
from helpers.paths import CONFIGS

from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.models.clip import init_params as init_clip
from clipdiff_jax.models.unclip import init_params
from clipdiff_jax.training.config import RunConfig

UNCLIP = CONFIGS / "unclip"


def load(name):
    return load_config(UNCLIP / name, RunConfig, [])


def billions(shapes) -> float:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e9


def shapes(init):
    return jax.eval_shape(init, jax.random.key(0))


def test_the_decoder_is_the_papers():
    """3.5B: a UNet of 2.24B and a text transformer of 1.21B, whose token table is not counted."""
    params = shapes(functools.partial(init_params, load("paper/decoder.py").stage.model))
    assert billions(params["unet"]) == pytest.approx(2.24, abs=0.005)
    text = params["conditioning"]["text"]["transformer"]
    assert billions(text) == pytest.approx(1.21, abs=0.005)


def test_the_prior_is_the_papers():
    """The paper rounds 24 blocks to 1B; Karlo's 20 blocks are 1.02B (tests/convert)."""
    params = shapes(functools.partial(init_params, load("paper/prior.py").stage.model))
    assert billions(params["prior"]["transformer"]) == pytest.approx(1.21, abs=0.005)
    karlo = shapes(functools.partial(init_params, load("karlo/prior.py").stage.model))
    assert billions(karlo) == pytest.approx(1.022, abs=0.001)


def test_clip_is_vit_h():
    params = shapes(functools.partial(init_clip, load("paper/clip.py").stage.clip))
    assert billions(params["vision"]) == pytest.approx(0.632, abs=0.002)
    assert billions(params["text"]["transformer"]) == pytest.approx(0.302, abs=0.002)


def test_karlos_recipes_describe_karlos_networks():
    decoder = shapes(functools.partial(init_params, load("karlo/decoder.py").stage.model))
    assert billions(decoder["unet"]) == pytest.approx(0.8854, abs=0.0001)
    assert billions(decoder["conditioning"]) == pytest.approx(0.00788, abs=0.0001)


@pytest.mark.parametrize(
    ("name", "rate", "batch", "steps", "b2", "eps", "decay", "ema"),
    [
        ("prior", 1.1e-4, 4096, 600_000, 0.96, 1e-6, 6e-2, 0.9999),
        ("decoder", 1.2e-4, 2048, 800_000, 0.999, 1e-8, 0.0, 0.9999),
        ("ar_prior", 1.6e-4, 4096, 1_000_000, 0.91, 1e-10, 4e-2, 0.999),
    ],
)
def test_the_papers_table_3(name, rate, batch, steps, b2, eps, decay, ema):
    train = load(f"paper/{name}.py").train
    optim = train.optim
    assert (optim.learning_rate, train.batch_size, train.steps, train.ema) == (
        rate, batch, steps, ema,
    )  # fmt: skip
    assert (optim.b1, optim.b2, optim.eps, optim.weight_decay) == (0.9, b2, eps, decay)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.py")), ids=lambda p: p.stem)
def test_every_recipe_can_be_read(path):
    from clipdiff_jax.clip.embed import EmbedConfig

    kind = EmbedConfig if path.stem == "embed" else RunConfig
    assert load_config(f"{path}:beard" if path.stem == "edit_presets" else path, kind)
