"""`benchmarks/device.py` rehearsed at tiny sizes, so that it does not fail on a card."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest
from helpers.paths import ROOT

FILE = ROOT / "benchmarks" / "device.py"
sys.path.insert(0, str(FILE.parent))  # where its other half is
spec = importlib.util.spec_from_file_location("device_benchmark", FILE)
device = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = device  # where its dataclass is looked for
spec.loader.exec_module(device)

SECTIONS = device.sections()


@pytest.mark.parametrize("name", ["matmul", "attention"])
def test_kernels(name):
    found = SECTIONS[name](device.TINY)
    assert found
    assert name != "matmul" or found["rate"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("network", device.NETWORKS)
def test_our_networks(network):
    found = SECTIONS[f"{network}, ours"](device.TINY)
    assert found["forward"] > 0
    assert found["forward FLOPs"] > 1000
    assert ("step" in found) == (network == "celebahq")


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("network", device.NETWORKS)
def test_their_networks(network):
    pytest.importorskip("diffusers")
    assert SECTIONS[f"{network}, diffusers"](device.TINY)["forward"] > 0


@pytest.mark.slow
def test_an_edit(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path))
    found = SECTIONS["edit"](device.TINY)
    assert found["applying, a picture"] > 0


def test_sizes_are_the_published_ones():
    config, side = device.config_of("celebahq", device.Sizes())
    assert (config.channels, side) == ((128, 128, 256, 256, 512, 512), 256)
    config, side = device.config_of("celebahq", device.TINY)
    assert max(config.channels) == side == 32


def test_a_section_that_fails_or_takes_too_long_costs_no_other(tmp_path, monkeypatch):
    args = SimpleNamespace(seconds=1000, out=tmp_path, only=["matmul", "edit"], tiny=True)
    replies = iter([{"matmul": {"rate": 2e12}, "device": "a card"}, {"edit": {"error": "broken"}}])
    monkeypatch.setattr(device, "_result", lambda *given: next(replies))
    results = device.run_all(args)
    assert json.loads((tmp_path / "DEVICE.json").read_text()) == results
    text = device.table(results)
    assert "On a card. A large product in bfloat16 reaches 2 TFLOP/s." in text
    assert "- edit: broken" in text
    results = device.run_all(SimpleNamespace(**vars(args) | {"seconds": 0}))
    assert results["matmul"] == {"error": "no time was left"}


def test_the_table():
    found = {"batch": 8, "forward": 0.01, "forward FLOPs": 1e9, "step": 0.05, "step FLOPs": 3e9}
    results = {
        "matmul": {"rate": 1e12},
        "celebahq, ours": found,
        "celebahq, diffusers": {"batch": 8, "forward": 0.02},
    }
    assert "| celebahq, 8 | forward | 10.0 ms | 20.0 ms |  | 10% |" in device.table(results)
    assert "| celebahq, 8 | step | 50.0 ms |  |  | 6% |" in device.table(results)
