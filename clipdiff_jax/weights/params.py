"""Parameter trees: nested mappings of arrays, and the same flat, by path.

An array's path, `"vision/stem/kernel"`, is its name in files, in tables and in messages.
"""

import hashlib
import mmap
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jaxtyping import Array

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.weights.errors import WeightsError


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{"a/b/c": leaf}` for a nested mapping, in sorted order of the paths."""
    flat: dict[str, Any] = {}
    for name in sorted(tree):
        if "/" in name:
            raise ValueError(f"the name '{name}' in a parameter tree contains '/'")
        value = tree[name]
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverts `flatten`. Raises `ValueError` where one path is both a leaf and a branch."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *branches, name = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
            if not isinstance(node, dict):
                raise ValueError(f"'{path}' runs through '{branch}', which is an array")
        if name in node:
            raise ValueError(f"'{path}' is both an array and a branch")
        node[name] = leaf
    return tree


def take_fitting(
    old: Mapping[str, Any], fresh: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], list[str]]:
    """`fresh` parameters with those of `old` in their place where path and shape agree.

    Returns them and the paths that stay fresh. Raises `WeightsError`, naming `source`, where
    nothing fits.
    """
    before, after = flatten(old), flatten(fresh)
    fits = {k for k in before if k in after and np.shape(before[k]) == np.shape(after[k])}
    if not fits:
        raise WeightsError(f"no parameter of '{source}' fits the network")
    merged = {name: before[name] if name in fits else after[name] for name in after}
    return unflatten(merged), sorted(after.keys() - fits)


def fingerprint(params: Params) -> str:
    """A hash of names, shapes and values of a parameter pytree, independent of the machine."""
    digest = hashlib.sha256()
    for name, leaf in flatten(params).items():
        array = np.ascontiguousarray(np.asarray(leaf, np.float32))
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def cast(array: Any, dtype: DType | None) -> np.ndarray:
    """Returns `array` on the host; floating-point arrays become `dtype` (None keeps theirs)."""
    array = np.asarray(array)
    floating = array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16
    return array.astype(dtype, copy=False) if dtype is not None and floating else array


def release(array: np.ndarray) -> None:
    """Lets go of the memory that holds what was read of a mapped file; it is read again if need be.

    Its pages would count as the process's until the system wants them back.
    """
    owner: Any = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    if owner is not None and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def on_device(path: str, array: np.ndarray) -> Array:
    """Puts a parameter onto the device as it is read, see `tables.import_params`."""
    del path
    return jnp.asarray(array)


def blank_of(params: Params, dtype: DType | None = None) -> Params:
    """Zeros in the shapes of arrays (or of shapes) that take no memory: one number each.

    dtype: of those that are floats; None keeps theirs.
    """

    def blank(leaf: Array | np.ndarray | jax.ShapeDtypeStruct) -> np.ndarray:
        floats = dtype is not None and jnp.issubdtype(leaf.dtype, jnp.floating)
        return np.broadcast_to(np.zeros((), dtype if floats else leaf.dtype), leaf.shape)

    return jax.tree.map(blank, params)
