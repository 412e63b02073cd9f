import itertools
import subprocess
import sys

import numpy as np
import pytest
from helpers.paths import TESTS

from clipdiff_jax.data.loader import batches


class Numbers:
    """Example `i` is a 1 x 1 image of the level `i`."""

    fingerprint = "numbers"

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"image": np.full((1, 1, 3), index, np.uint8), "captions": ["a"]}


def with_noise(example, rng):
    return {"number": example["image"][0, 0, 0], "noise": rng.random()}


def take(count, source=Numbers(10), **options):  # noqa: B008
    options = {"batch_size": 6, "seed": 1, "transform": with_noise} | options
    return list(itertools.islice(batches(source, **options), count))


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_every_epoch_is_a_new_permutation_without_gaps():
    numbers = np.concatenate([batch["number"] for batch in take(10)]).reshape(6, 10)
    assert (np.sort(numbers, axis=1) == np.arange(10)).all()
    assert len({tuple(row) for row in numbers}) == 6


def test_the_random_numbers_of_an_example_change_from_epoch_to_epoch():
    noise = np.concatenate([batch["noise"] for batch in take(10)])
    assert len(set(noise)) == 60


def test_a_run_can_start_at_any_step():
    whole = take(8)
    for start in (1, 5):
        for a, b in zip(whole[start:], take(8 - start, start_step=start), strict=True):
            same(a, b)


def test_seeds_differ():
    assert (take(1)[0]["number"] != take(1, seed=2)[0]["number"]).any()


def test_processes_share_the_global_batch():
    parts = [take(4, process=(i, 3)) for i in range(3)]
    for whole, *shares in zip(take(4), *parts, strict=True):
        assert [len(share["number"]) for share in shares] == [2, 2, 2]
        same(whole, {k: np.concatenate([share[k] for share in shares]) for k in whole})


def test_worker_processes_change_nothing():
    for a, b in zip(take(5, start_step=2), take(5, start_step=2, num_workers=2), strict=True):
        same(a, b)


def test_a_batch_may_be_larger_than_the_source():
    numbers = take(1, Numbers(4), batch_size=12)[0]["number"]
    assert (np.bincount(numbers) == 3).all()


def test_without_a_transform_images_are_as_they_are():
    batch = take(1, transform=None)[0]
    assert set(batch) == {"image"}
    assert batch["image"].shape == (6, 1, 1, 3)
    assert batch["image"].dtype == np.uint8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 5, "process": (0, 2)}, "share a batch of 5"),
     ({"process": (2, 2)}, "process_index 2"), ({"seed": -1}, "seed"),
     ({"start_step": -1}, "start_step"), ({"source": Numbers(0)}, "no examples"),
     ({"transform": lambda example, rng: example}, "'captions' as list"),
     ({"transform": lambda example, rng: {"a": np.zeros(int(example["image"].max()))}}, "shapes")],
)  # fmt: skip
def test_wrong_calls_raise(options, message):
    with pytest.raises(ValueError, match=message):
        take(1, **options)


@pytest.mark.slow
def test_reading_processes_leave_ctrl_c_to_the_trainer():
    words = [sys.executable, "-m", "helpers.interrupted_reader"]
    done = subprocess.run(
        words, cwd=TESTS, capture_output=True, text=True, start_new_session=True, timeout=300
    )
    assert done.stdout.startswith("12 batches after "), done.stderr[-1000:]
