"""The devices of a target, from XLA's own compilers, which need none of them.

A compiler is a package beside jax: libtpu, and jax's CUDA plugin. They read their environment when
they are loaded, so it has to be set before jax starts: `environment` says how, and `is_ready`
whether it is.
"""

import importlib.metadata
import importlib.util
import math
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.training.targets.chips import CHIPS
from clipdiff_jax.training.targets.names import Target

_SIMULATED = "--xla_force_host_platform_device_count="

# XLA's GpuTargetConfig of a chip; what the chips have in common comes first.
_COMMON = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  threads_per_core_limit: 2048 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 registers_per_core_limit: 65536 registers_per_block_limit: 65536
"""
_OWN = {
    "h100": """
  shared_memory_per_core: 233472 core_count: 132 fpus_per_core: 128 l2_cache_size: 52428800
  memory_bandwidth: 3352320000000 clock_rate_ghz: 1.98 device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
}
device_description_str: "NVIDIA H100 80GB HBM3"
""",
    "a100": """
  shared_memory_per_core: 167936 core_count: 108 fpus_per_core: 64 l2_cache_size: 41943040
  memory_bandwidth: 2039000000000 clock_rate_ghz: 1.41 device_memory_size: 85094432768
  shared_memory_per_block_optin: 166912 cuda_compute_capability { major: 8 }
}
device_description_str: "NVIDIA A100-SXM4-80GB"
""",
}
_VERSIONS = """
platform_name: "CUDA" dnn_version_info { major: 9 minor: 7 } runtime_version { major: 12 minor: 8 }
"""


def environment(target: Target) -> dict[str, str]:
    """What has to be set before jax starts to compile for a target; "" stands for not set."""
    of_tpus = {
        "TPU_SKIP_MDS_QUERY": "1",  # no question to the cloud which machine this is
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # there is no TPU that only one could have
    }
    if target.platform == "tpu":
        return {"JAX_PLATFORMS": "cpu", **of_tpus}
    if target.platform == "gpu":
        # Every GPU is hidden: the plugin is wanted, not a device that works for somebody else.
        return {
            "JAX_PLATFORMS": "",
            "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
            **of_tpus,  # libtpu is loaded as well where it is installed
        }
    flags = re.sub(rf"{_SIMULATED}\d+", "", os.environ.get("XLA_FLAGS", "")).strip()
    return {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} {_SIMULATED}{target.count}".strip(),
    }


def check_compiler(target: Target) -> None:
    """Raises `ConfigError`, with the command that installs it, where the compiler is missing."""
    package, module = {
        "cpu": ("", "jaxlib"),
        "tpu": (f"'{_pinned('libtpu')}'", "libtpu"),
        "gpu": (f"'jax[cuda12]=={jax.__version__}'", "jax_cuda12_plugin"),
    }[target.platform]
    others = ("jax_cuda13_plugin",) if target.platform == "gpu" else ()
    if not any(importlib.util.find_spec(name) for name in (module, *others)):
        raise ConfigError(
            f"the compiler for target '{target.name}' is not installed: pip install {package}"
        )


def devices_of(target: Target) -> list[jax.Device]:
    """The devices of a target, to make a mesh of; nothing can be put on them.

    Raises `ConfigError` where there are none of that shape, and as `check_compiler` does.
    """
    check_compiler(target)
    if target.platform == "cpu":
        found = jax.devices("cpu")
        if len(found) < target.count:
            raise ConfigError(
                f"target '{target.name}' needs {_SIMULATED}{target.count} in XLA_FLAGS before jax "
                f"starts; there are {len(found)} devices"
            )
        return found[: target.count]
    try:
        return list(_topology(target).devices)
    except Exception as error:
        said = str(error).strip().splitlines()[0]
        raise ConfigError(f"no devices of target '{target.name}': {said}") from error


def compiler_options(target: Target) -> dict[str, Any]:
    """What the compiler is told.

    Kernels cannot be timed where there is no device to try them. Untried, XLA would give all
    products to Triton, also those in full float32 for which that has no kernel; cuBLAS has all.
    """
    untimed = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
    return untimed if target.platform == "gpu" else {}


def _topology(target: Target) -> topologies.TopologyDescription:
    assert target.chip is not None
    name = target.chip.name
    if target.platform == "gpu":
        group = target.chip.group or target.count
        hosts = max(math.ceil(target.count / group), 1)
        if target.count % hosts:
            raise ValueError(f"{target.count} devices do not fill {hosts} servers of {group}")
        return topologies.get_topology_desc(
            platform="cuda",
            topology=f"1x{hosts}x{target.count // hosts}",
            target_config=_COMMON + _OWN[name] + _VERSIONS,
        )
    shape = "x".join(map(str, target.shape))
    smaller = target.count < 4 or min(target.shape[:2]) < 2
    bounds = [*target.shape, 1, 1][:3] if smaller else [2, 2, 1]
    return topologies.get_topology_desc(
        platform="tpu", topology_name=f"{name}:{shape}", chips_per_host_bounds=bounds
    )


def _pinned(package: str) -> str:
    """The version of a package that this jax asks for: "libtpu==0.0.42.*"."""
    for requirement in importlib.metadata.requires("jax") or ():
        if re.match(rf"{package}\b", requirement):
            return requirement.partition(";")[0].strip()
    return package


assert _OWN.keys() == {name for name, chip in CHIPS.items() if chip.platform == "gpu"}
