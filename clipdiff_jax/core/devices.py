"""Where arrays live: one named mesh, two axes, and a rule for each kind of array.

`data` replicates parameters and splits the batch; `fsdp` splits the batch *and* the parameters,
optimiser state and moving averages. XLA derives every collective from these placements (the
successor of pmap/pjit), so the same jitted step runs on one device and on a pod.
"""

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from clipdiff_jax.core.config import ConfigError

_HOSTS = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
DATA, FSDP = "data", "fsdp"
_ANNOUNCED = threading.Event()
_NODES = {"NVIDIA GPU": ("dev/nvidia[0-9]*", "dev/dxg"), "AMD GPU": ("dev/kfd",)}
_EXTRAS = {"NVIDIA GPU": "pip install 'clipdiff-jax[cuda12]'", "AMD GPU": "a jax for ROCm"}
_HIDDEN = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_NONE = ("", "-1", "none", "void")  # what those say where a user wants no GPU
logger = logging.getLogger(__name__)
AnyMesh = Mesh | AbstractMesh  # an abstract one says how many devices there are, and not which


@dataclass(frozen=True)
class MeshConfig:
    """Describes the device mesh.

    Attributes:
      data: devices along the data axis; -1 for all that `fsdp` leaves.
      fsdp: devices over which each parameter is split.
      min_split: parameters with fewer elements stay replicated: not worth a collective.
      distributed: one process of several, see `join_hosts`.
    """

    data: int = -1
    fsdp: int = 1
    min_split: int = 2**14
    distributed: bool = False


def join_hosts(config: MeshConfig) -> None:
    """Joins this process with those on the other hosts, if `distributed` says that there are such.

    jax knows by itself who the others are under SLURM, Open MPI and on TPU pods. Elsewhere each
    process is told by JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID. To be called before anything else of jax is. Raises `ConfigError` where only
    some of the three are set or one is no number, and `RuntimeError` where the others do not come.
    """
    if not config.distributed:
        return
    told = {name: os.environ.get(name) for name in _HOSTS}
    missing = [name for name, value in told.items() if not value]
    if missing[-2:] == list(_HOSTS[1:]):
        jax.distributed.initialize()
        return
    if missing:
        raise ConfigError(f"{' and '.join(missing)} must be set too: {', '.join(_HOSTS)}")
    address, count, index = (value or "" for value in told.values())
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise ConfigError(
            f"JAX_PROCESS_ID={index} of JAX_NUM_PROCESSES={count}: expected a number below another"
        )
    jax.distributed.initialize(address, int(count), int(index))


def say_devices() -> None:
    """Says what is computed on, and warns of a GPU of this machine that is not used for it.

    Only the first of several processes says it.
    """
    with _jax_silent_of_accelerators():
        devices = jax.devices()
    if jax.process_index() != 0:
        return
    logger.info("computing on %s", named_devices(devices))
    chosen = jax.config.jax_platforms or ""  # type: ignore[attr-defined]
    unused = unused_gpu(devices[0].platform, chosen)
    if unused is not None:
        logger.warning(
            "an %s is here, but jax computes on the CPU: it needs %s", unused, _EXTRAS[unused]
        )


def announce_devices() -> None:
    """`say_devices`, once in a process."""
    if not _ANNOUNCED.is_set():
        _ANNOUNCED.set()
        say_devices()


def named_devices(devices: Sequence[jax.Device]) -> str:
    """How many of which kind: "the CPU (8 cores)", "4 x NVIDIA H100 80GB HBM3"."""
    if len(devices) == 1 and devices[0].platform == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return f"the CPU ({cores} core{'' if cores == 1 else 's'})"
    counts = Counter(device.device_kind for device in devices)
    return " and ".join(f"{count} x {kind}" for kind, count in counts.items())


def unused_gpu(platform: str, chosen: str, root: Path = Path("/")) -> str | None:
    """The kind of GPU that this machine has where jax computes on the CPU, or None.

    None too where the user wants it so: JAX_PLATFORMS names the CPU, or the GPUs are hidden.
    platform: that is computed on. chosen: JAX_PLATFORMS. root: of the file system.
    """
    hidden = any(os.environ.get(name, "0").lower() in _NONE for name in _HIDDEN)
    if platform != "cpu" or "cpu" in chosen.split(",") or hidden:
        return None
    for kind, patterns in _NODES.items():
        if any(any(root.glob(pattern)) for pattern in patterns):
            return kind
    return None


@contextmanager
def _jax_silent_of_accelerators() -> Iterator[None]:
    """Within, jax does not say that there may be one; why one could not be started it does."""
    bridge = logging.getLogger("jax._src.xla_bridge")
    unwanted = lambda record: "may be present" not in record.getMessage()
    bridge.addFilter(unwanted)
    try:
        yield
    finally:
        bridge.removeFilter(unwanted)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh. Raises `ConfigError` if the axes do not multiply to the device count."""
    devices = list(devices or jax.devices())
    count = len(devices)
    data = count // config.fsdp if config.data == -1 else config.data
    if data * config.fsdp != count or data < 1:
        raise ConfigError(
            f"a mesh of data={config.data} x fsdp={config.fsdp} does not fit {count} device(s)"
        )
    grid = np.asarray(devices).reshape(data, config.fsdp)
    return Mesh(grid, (DATA, FSDP), axis_types=(AxisType.Auto, AxisType.Auto))


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of devices that share batches and each hold all parameters; all of this process by
    default."""
    return make_mesh(MeshConfig(), devices or jax.local_devices())


def replicated(mesh: AnyMesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: AnyMesh) -> NamedSharding:
    """The leading axis split over all devices."""
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def keep_batch_split(x: Array) -> Array:
    """The same array, told to have its leading axis split over all devices of the mesh in use.

    Where parameters are split too, XLA may otherwise move activations from device to device in
    place of the parameters, which are far smaller. Without a mesh of ours, and where the devices
    do not divide the axis, it is left as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.axis_names != (DATA, FSDP) or x.shape[0] % mesh.size:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec((DATA, FSDP)))


def in_parts(x: Array, parts: int) -> Array:
    """[B, ...] -> [parts, B / parts, ...], each part spread over all devices."""
    return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)


def joined_parts(x: Array) -> Array:
    """The inverse of `in_parts`."""
    return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])


def param_sharding(mesh: AnyMesh, shape: tuple[int, ...], min_split: int) -> NamedSharding:
    """Splits the longest axis that `fsdp` divides; small or indivisible arrays are replicated."""
    parts = mesh.shape[FSDP]
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not axes or int(np.prod(shape)) < min_split:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: shape[axis])
    spec = [FSDP if axis == longest else None for axis in range(len(shape))]
    return NamedSharding(mesh, PartitionSpec(*spec))


def tree_sharding(mesh: AnyMesh, tree: Any, min_split: int) -> Any:
    """`param_sharding` of every leaf of a pytree of arrays or shapes."""
    return jax.tree.map(lambda leaf: param_sharding(mesh, leaf.shape, min_split), tree)


def split_batch(mesh: Mesh, batch: Any) -> Any:
    """Places a pytree of arrays [B, ...] on the devices of the mesh, which share its rows equally.

    With several processes each gives its own part of the global batch.
    """
    place = partial(jax.make_array_from_process_local_data, batch_sharding(mesh))
    return jax.tree.map(place, batch)
