"""What is computed on is said, and a GPU that is not used."""

import logging
import threading

import jax
import pytest

from clipdiff_jax.core import devices
from clipdiff_jax.core.devices import named_devices, say_devices, unused_gpu


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The root of a machine with an NVIDIA GPU."""
    for name in devices._HIDDEN:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    return tmp_path


def test_a_gpu_that_is_not_used(machine, tmp_path_factory, monkeypatch):
    assert unused_gpu("cpu", "", machine) == "NVIDIA GPU"
    assert unused_gpu("gpu", "", machine) is None
    assert unused_gpu("cpu", "cpu", machine) is None  # as the user wants it
    assert unused_gpu("cpu", "cuda,cpu", machine) is None
    assert unused_gpu("cpu", "", tmp_path_factory.mktemp("without")) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert unused_gpu("cpu", "", machine) is None


def test_devices_by_name():
    assert named_devices(jax.devices()[:1]).startswith("the CPU (")
    assert named_devices(jax.devices()[:1] * 8) == "8 x cpu"


def test_the_device_is_said_and_the_gpu_warned_of(caplog, monkeypatch):
    monkeypatch.setattr(devices, "unused_gpu", lambda platform, chosen: "NVIDIA GPU")
    with caplog.at_level(logging.INFO, "clipdiff_jax"):
        say_devices()
    said, warned = caplog.messages
    assert said.startswith("computing on ")
    assert "an NVIDIA GPU is here, but jax computes on the CPU" in warned
    assert "clipdiff-jax[cuda12]" in warned


def test_the_device_is_announced_once(caplog, monkeypatch):
    monkeypatch.setattr(devices, "_ANNOUNCED", threading.Event())
    with caplog.at_level(logging.INFO, "clipdiff_jax"):
        devices.announce_devices()
        devices.announce_devices()
    assert [message[:12] for message in caplog.messages].count("computing on") == 1


def test_jax_does_not_say_it_too(caplog):
    bridge = logging.getLogger("jax._src.xla_bridge")
    with devices._jax_silent_of_accelerators():
        bridge.warning("An NVIDIA GPU may be present on this machine, but ...")
        bridge.warning("CUDA backend failed to initialize: why")
    bridge.warning("An NVIDIA GPU may be present")
    assert [message[:4] for message in caplog.messages] == ["CUDA", "An N"]
