"""Numbers of requests and configs: what is taken, what is refused, and what NumPy's become."""

import dataclasses
import inspect
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import clipdiff_jax as cd
from clipdiff_jax.core.checks import checked_options, one_of, whole_number
from clipdiff_jax.core.config import ConfigError, from_dict
from clipdiff_jax.core.keys import as_key
from clipdiff_jax.diffusion.grids import step_grid
from clipdiff_jax.edit.finetune import Finetuning
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.optim import OptimConfig

CONFIGS = (TrainConfig, OptimConfig)  # which are made as they are, with types that are checked
NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (cd.Editing, {"steps": 2.0}, "steps=2.0, expected a whole number of at least 2"),
        (cd.Editing, {"steps": "4"}, "steps='4', expected a whole number"),
        (cd.Editing, {"steps": True}, "steps=True, expected a whole number"),
        (cd.Editing, {"t0": 400.5}, "t0=400.5, expected a whole number of at least 1"),
        (cd.Editing, {"t0": NAN}, "t0=nan, expected a whole number"),
        (cd.Editing, {"strength": "1"}, "strength='1', expected a finite number, or one for each"),
        (cd.Editing, {"strength": None}, "strength=None, expected a finite number"),
        (cd.Editing, {"strength": NAN}, "strength=nan, expected a finite number"),
        (cd.Editing, {"strength": [0.0, INFINITE]}, "strength=inf, expected a finite number"),
        (cd.Editing, {"strength": np.array([0, NAN])}, "strength=nan"),
        (cd.Editing, {"strength": np.array([1j])}, r"strength=array.*expected a finite number"),
        (cd.Editing, {"strength": jnp.array([True])}, r"strength=Array.*expected a finite"),
        (cd.Editing, {"ratios": [NAN, 1.0]}, "ratios=nan, expected a finite number"),
        (cd.Editing, {"ratios": ["1"]}, "ratios=\\['1'\\], expected numbers"),
        (cd.Editing, {"purify": -1}, "purify=-1, expected a number of at least 0"),
        (cd.Editing, {"random_inversion": "no"}, "random_inversion='no', expected True or False"),
        (cd.Sampling, {"steps": []}, "steps must be a number"),
        (cd.Sampling, {"steps": True}, "steps must be a number"),
        (cd.Sampling, {"steps": -1}, "steps=-1, expected a number of at least 1"),
        (cd.Sampling, {"eta": 5.0}, "eta=5, expected a number from 0 to 1"),
        (cd.Sampling, {"eta": "0"}, "eta='0', expected a number from 0 to 1"),
        (cd.Sampling, {"guidance": INFINITE}, "guidance=inf"),
        (cd.Drawing, {"candidates": 1.5}, "candidates=1.5, expected a whole number"),
        (cd.Drawing, {"temperature": -1.0}, "temperature=-1"),
        (Finetuning, {"seed": 10**400}, r"seed=10{50,60}\.\.\., expected a number from 0 to 4294"),
        (Finetuning, {"passes": 0}, "passes=0, expected a number of at least 1"),
        (Finetuning, {"learning_rate": NAN}, "learning_rate=nan"),
        (TrainConfig, {"steps": -1}, "train.steps=-1, expected a number of at least 1"),
        (TrainConfig, {"batch_size": 0}, "train.batch_size=0"),
        (TrainConfig, {"log_every": 0}, "train.log_every=0"),
        (TrainConfig, {"seed": 2**32}, "train.seed=4294967296, expected a number from 0 to"),
        (OptimConfig, {"learning_rate": NAN}, "optim.learning_rate=nan"),
        (OptimConfig, {"clip_norm": 0.0}, "optim.clip_norm=0, expected a number above 0"),
    ],
)
def test_what_is_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make(), **options) if make in CONFIGS else make().replace(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1": NAN}, "l1=nan, expected a finite number"),
        ({"l1": -1.0}, "l1=-1, expected a number of at least 0"),
        ({"t0": 400.5}, "t0=400.5, expected a whole number"),
        ({"t0": None, "invert_steps": 1}, "invert_steps=1, expected a number of at least 2"),
        ({"crop": 0.0}, "crop=0, expected a number above 0, to 1"),
        ({"augmentations": -1}, "augmentations=-1"),
        ({"noise": "3"}, "noise='3', expected a finite number"),
    ],
)
def test_what_an_objective_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        EditObjective(source_text="a", target_text="b", **checked_options(EditObjective, options))


def test_numbers_of_numpy_and_jax_are_numbers():
    made = cd.Editing().replace(
        steps=np.int64(4), t0=jnp.int32(300), strength=np.float32(0.5), purify=np.uint8(2),
        ratios=np.array([1.0, 2.0]), random_inversion=np.bool_(True),
    )  # fmt: skip
    assert made == cd.Editing(
        steps=4, t0=300, strength=made.strength, purify=2, ratios=[1.0, 2.0], random_inversion=True
    )
    assert type(made.steps) is type(made.t0) is int
    assert cd.Editing.from_dict(made.to_dict() | {"strength": 0.5}).t0 == 300
    np.testing.assert_array_equal(*(step_grid(1000, steps) for steps in (3, np.int64(3))))
    counts = np.array([2, 3])
    np.testing.assert_array_equal(inspect.unwrap(step_grid)(99, counts), step_grid(99, (2, 3)))


def test_a_list_of_numbers_is_one_for_each_picture():
    made = cd.Editing().replace(strength=[0, 0.5])
    np.testing.assert_array_equal(made.strength, [0, 0.5])


@pytest.mark.parametrize("steps", [2.5, [3, 2.0], [], True, None, "many", np.array(2.0)])
def test_what_is_no_number_of_steps(steps):
    with pytest.raises(ValueError, match="steps must be a number, numbers for"):
        inspect.unwrap(step_grid)(1000, steps)


def test_what_is_traced_is_not_looked_at():
    found = jax.jit(lambda eta: cd.Sampling(eta=eta).eta * 2)(jnp.float32(0.5))
    assert float(found) == 1.0


def test_a_count():
    assert whole_number("count", np.int64(3), low=1) == 3
    for wrong in (0, -1, 2.0, "3", None, True, NAN):
        with pytest.raises(ValueError, match="count="):
            whole_number("count", wrong, low=1)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63, 10**30], ids=["negative", "33", "64", "giant"])
def test_seeds_that_jax_would_cut(seed):
    with pytest.raises(ValueError, match=r"seed=.*expected a number from 0 to 4294967295"):
        as_key(seed)


@pytest.mark.parametrize("seed", ["a", 1.5, None, True])
def test_what_is_no_seed(seed):
    with pytest.raises(TypeError, match="expected a key or a whole number"):
        inspect.unwrap(as_key)(seed)


def test_configs_hold_finite_numbers():
    @dataclass(frozen=True)
    class Config:
        rate: float = 1.0
        count: int = 1

    for value in (NAN, INFINITE, "1", True):
        with pytest.raises(ConfigError, match=r"rate is .*, expected a finite number"):
            from_dict(Config, {"rate": value})
    with pytest.raises(ConfigError, match="count is inf, expected a whole number"):
        from_dict(Config, {"count": INFINITE})
    assert from_dict(Config, {"count": 10**400}).count == 10**400


def test_a_choice_is_named_with_all_of_them_and_the_nearest():
    assert one_of("pattern", "ring", ("rand", "ring")) == "ring"
    with pytest.raises(
        ValueError, match=r"pattern is 'rnig', expected one of rand, ring\. Did you mean 'ring'\?"
    ):
        one_of("pattern", "rnig", ("rand", "ring"))
    with pytest.raises(ValueError, match=r"pattern is None, expected one of rand, ring\."):
        one_of("pattern", None, ("rand", "ring"))
