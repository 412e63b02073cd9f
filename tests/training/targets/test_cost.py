"""Rooflines by hand, and what is said of memory."""

from collections import Counter

import pytest

from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.targets.chips import CHIPS
from clipdiff_jax.training.targets.cost import Memory, sent_bytes, times_of, used_of_exhausted
from clipdiff_jax.training.targets.flops import Flops
from clipdiff_jax.training.targets.hlo import Program
from clipdiff_jax.training.targets.names import read_target
from clipdiff_jax.training.targets.report import duration, fits, gigabytes, lines_of
from clipdiff_jax.training.targets.study import Study
from clipdiff_jax.training.targets.training import advice, fit_mesh

GB = 10**9


def made(target="h100:8", **memory) -> Study:
    """A study with these bytes."""
    held = Memory(memory, 0, memory.pop("temporaries", 0))
    return Study(read_target(target), Flops(), held, 0, Program(), None, 1.0, "")


def test_the_roofline_by_hand():
    flops = Flops(Counter(half=int(989.4e12), single=int(494.7e12)))
    program = Program(bytes=int(3.352e12), moved={"all-gather": Counter({(8 * 450 * GB, 8): 2})})
    times = times_of(flops, program, read_target("h100:8"))
    assert times.matrix == pytest.approx(2 / 8)
    assert times.memory == pytest.approx(1)
    assert times.network == pytest.approx(2 * 7)
    assert (times.least, times.most) == pytest.approx((14, 15.25))
    assert times.longest == "network"
    assert times_of(flops, program, read_target("cpu:8")) is None


def test_groups_that_reach_beyond_a_server_use_the_network_between():
    program = Program(moved={"all-reduce": Counter({(50 * GB, 16): 1})})
    times = times_of(Flops(), program, read_target("h100:16"))
    assert times.network == pytest.approx(2 * 15 / 16)
    inside = Program(moved={"all-reduce": Counter({(450 * GB, 8): 1})})
    assert times_of(Flops(), inside, read_target("h100:16")).network == pytest.approx(2 * 7 / 8)


def test_bytes_around_a_ring():
    assert sent_bytes("all-reduce", 800, 8) == 1400
    assert sent_bytes("all-gather", 800, 8) == sent_bytes("reduce-scatter", 800, 8) == 700
    assert sent_bytes("collective-permute", 800, 8) == 800
    assert sent_bytes("all-reduce", 800, 1) == 0


def test_whether_it_fits():
    memory = CHIPS["h100"].memory
    assert fits(made(parameters=50 * GB), memory) == "fits in 84.9 GB with 34.9 GB to spare"
    too_much = made(parameters=90 * GB)
    assert fits(too_much, memory) == "does not fit: 90 GB needed, 84.9 GB there"
    said = "\n".join(lines_of(too_much, "step", ["this", "that"]))
    assert "does not fit: 90 GB needed, 84.9 GB there; try this or that" in said
    assert "MEM_FRACTION=0.95" in "\n".join(lines_of(made(parameters=70 * GB), "step"))
    assert "MEM_FRACTION" not in "\n".join(lines_of(made(parameters=60 * GB), "step"))


def test_the_message_of_the_tpu_compiler():
    message = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm"
    assert used_of_exhausted(message) == int(20.5 * 2**30)
    assert used_of_exhausted("RESOURCE_EXHAUSTED") is None


@pytest.mark.parametrize(
    ("memory", "advised"),
    [
        ({"parameters": 10 * GB, "temporaries": 100 * GB}, ["--config.train.accumulate=2"]),
        ({"parameters": 10 * GB, "temporaries": 250 * GB}, ["--config.train.accumulate=4"]),
        ({"optimiser": 100 * GB, "temporaries": 10 * GB}, ["--config.train.mesh.fsdp=2"]),
        ({"optimiser": 500 * GB, "temporaries": 10 * GB}, ["--config.train.mesh.fsdp=8"]),
        ({"parameters": 60 * GB, "temporaries": 30 * GB},
         ["--config.train.accumulate=2", "--config.train.mesh.fsdp=2"]),
        ({"parameters": 10 * GB}, []),
        ({"frozen models": 100 * GB}, ["--config.train.mesh.fsdp=2"]),
        ({"batch": 100 * GB}, ["more devices, a smaller --config.train.batch_size, or remat"]),
    ],
)  # fmt: skip
def test_what_is_advised_where_it_does_not_fit(memory, advised):
    study = made(**memory)
    assert advice(study, TrainConfig(batch_size=64), study.target) == advised


def test_micro_batches_that_are_advised_divide_over_the_devices():
    study = made(temporaries=500 * GB)
    assert advice(study, TrainConfig(batch_size=24), study.target) == [
        "more devices, a smaller --config.train.batch_size, or remat"
    ]


def test_a_mesh_is_made_to_fit():
    config = TrainConfig()
    wide = fit_mesh(config, read_target("h100:8")).mesh
    assert (wide.data, wide.fsdp) == (-1, 1)


def test_numbers_as_people_write_them():
    assert [gigabytes(n) for n in (7.312e9, 84.9e9, 1234e9, 5e6, 12)] == [
        "7.31 GB", "84.9 GB", "1,234 GB", "5 MB", "12 B",
    ]  # fmt: skip
    assert [duration(n) for n in (2e-6, 0.0413, 3, 90, 7200, 86400, 3e5)] == [
        "2 us", "41.3 ms", "3 s", "1.5 min", "2 h", "24 h", "3.47 days",
    ]  # fmt: skip
