"""Batches are of one size, in order, and cut to their counts give back what went in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.core.batching import batch_count, filled, filled_batches, for_devices


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("of", [np.asarray, jnp.asarray, list, tuple], ids=["np", "jnp", "l", "t"])
def test_cut_batches_are_the_items(count, of):
    items = of(list(range(10, 10 + count)))
    batches = list(filled_batches(items, 4))
    assert len(batches) == batch_count(count, 4)
    assert all(len(batch) == 4 for batch, _ in batches)
    assert [int(x) for batch, n in batches for x in batch[:n]] == list(range(10, 10 + count))
    batch, n = batches[-1]
    assert [int(x) for x in batch[n:]] == [9 + count] * (4 - n)


def test_rows_keep_their_kind():
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    (first, _), (last, count) = filled_batches(rows, 3)
    assert isinstance(last, np.ndarray)
    assert last.dtype == np.float32
    np.testing.assert_array_equal(first, rows[:3])
    np.testing.assert_array_equal(last, rows[[3, 4, 4]])
    assert count == 2
    on_device, _ = next(filled_batches(jnp.asarray(rows), 8))
    assert isinstance(on_device, jax.Array)


def test_keys_are_rows():
    keys = jax.random.split(jax.random.key(0), 3)
    batch = filled(keys, 4)
    expected = jax.random.key_data(keys)[jnp.array([0, 1, 2, 2])]
    np.testing.assert_array_equal(jax.random.key_data(batch), expected)


def test_no_items_give_no_batches():
    assert list(filled_batches([], 4)) == []


def test_batches_for_any_number_of_devices(caplog):
    assert [for_devices(size, 8) for size in (1, 8, 9, 64)] == [8, 8, 16, 64]
    assert for_devices(16, 8, parts=4) == 32
    assert for_devices(6, 3, parts=2) == 6
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "a batch of 1 is rounded up to 8, for 8 devices to have equal shares"
    assert len(said) == 3


def test_errors():
    with pytest.raises(ValueError, match="batch size is 0"):
        filled_batches([1], 0)
    with pytest.raises(ValueError, match="0 items, expected 1 to 2"):
        filled([], 2)
    with pytest.raises(ValueError, match="3 items, expected 1 to 2"):
        filled(np.zeros((3, 1)), 2)
