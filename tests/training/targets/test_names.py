"""What targets are called, and one line for each that cannot be."""

import pytest

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.training.targets.names import read_target, read_targets


@pytest.mark.parametrize(
    ("text", "platform", "shape"),
    [
        ("h100:8", "gpu", (8,)),
        ("a100", "gpu", (1,)),
        ("v5e:2x4", "tpu", (2, 4)),
        ("v5e:8", "tpu", (2, 4)),
        ("v5p:8", "tpu", (2, 2, 2)),
        ("v5p:16", "tpu", (2, 2, 4)),
        ("v6e:4x4", "tpu", (4, 4)),
        ("cpu:3", "cpu", (3,)),
    ],
)
def test_names(text, platform, shape):
    target = read_target(text)
    assert (target.platform, target.shape) == (platform, shape)


def test_a_list_names_each_once():
    assert [one.name for one in read_targets("h100:8, v5e:2x4,h100:8")] == ["h100:8", "v5e:2x4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h1000:8", "no target 'h1000:8'.*Did you mean 'h100'"),
        ("", "no target ''"),
        ("gpu:8", "expected one of h100, a100, v5e, v5p, v6e, cpu"),
        ("h100:0", "'0' of target 'h100:0' is no number of devices"),
        ("h100:-1", "'-1' of target"),
        ("h100:x", "'x' of target"),
        ("h100:2x4", "has 2 axes, expected 1"),
        ("v5p:2x4", "has 2 axes, expected 3: v5p:4x4x4"),
        ("cpu:9999", "has 9999 devices, expected at most 4096"),
    ],
)
def test_targets_that_cannot_be(text, message):
    with pytest.raises(ConfigError, match=message):
        read_targets(text)
