"""Every stage goes on from its checkpoint, bit for bit, as if it had not been stopped.

That a kill at any moment leaves the last completed checkpoint whole is the trainer's own, and shown
in test_loop.
"""

import jax
import numpy as np
import pytest
from helpers.tiny_stages import STAGES

from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit

SLOW = STAGES.keys() - {"base"}
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in STAGES]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_goes_on_equals_an_unbroken_one(name, tmp_path):
    def train(steps, folder):
        config = TrainConfig(
            steps=steps, batch_size=4, ema=0.9, log_every=1, checkpoint=CheckpointConfig(every=2)
        )
        state = fit(STAGES[name](), config, tmp_path / folder)
        assert int(state.step) == steps
        return state._replace(key=jax.random.key_data(state.key))

    unbroken = train(5, "unbroken")
    train(3, "broken")
    again = train(5, "broken")
    jax.tree.map(np.testing.assert_array_equal, again, unbroken)
