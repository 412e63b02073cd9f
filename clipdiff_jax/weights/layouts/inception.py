"""The InceptionV3 weights of FID (`pt_inception-2015-12-05-6726825d.pth`) and their tensor names.

The names are torchvision's. The classifier on top (`fc`, 1008 classes) is not part of our network.
"""

from collections.abc import Iterable

from clipdiff_jax.weights.tables import CONV, Rule, Table, batch_norm

_STEM = {
    "Conv2d_1a_3x3": "conv_1a",
    "Conv2d_2a_3x3": "conv_2a",
    "Conv2d_2b_3x3": "conv_2b",
    "Conv2d_3b_1x1": "conv_3b",
    "Conv2d_4a_3x3": "conv_4a",
}


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{number}" for number in range(1, count + 1))


_DOUBLE = _numbered("branch3x3dbl", 3)
_A = ("branch1x1", *_numbered("branch5x5", 2), *_DOUBLE, "branch_pool")
_B = ("branch3x3", *_DOUBLE)
_C = ("branch1x1", *_numbered("branch7x7", 3), *_numbered("branch7x7dbl", 5), "branch_pool")
_D = (*_numbered("branch3x3", 2), *_numbered("branch7x7x3", 4))
_E = (
    "branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b",
    *_DOUBLE[:2], "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool",
)  # fmt: skip
_BLOCKS = {
    **dict.fromkeys(("5b", "5c", "5d"), _A),
    "6a": _B,
    **dict.fromkeys(("6b", "6c", "6d", "6e"), _C),
    "7a": _D,
    **dict.fromkeys(("7b", "7c"), _E),
}
# The name of each of their layers -> the path of ours.
_LAYERS = _STEM | {
    f"Mixed_{block}.{branch}": f"mixed_{block}/{branch}"
    for block, branches in _BLOCKS.items()
    for branch in branches
}


def _rules() -> Iterable[Rule]:
    for theirs, ours in _LAYERS.items():
        yield Rule(f"{theirs}.conv.weight", f"{ours}/conv/kernel", CONV)
        yield from batch_norm(f"{theirs}.bn", f"{ours}/norm")


TABLE = Table(
    "InceptionV3 of FID",
    tuple(_rules()),
    ignored=(
        "fc.weight",
        "fc.bias",
        *(f"{theirs}.bn.num_batches_tracked" for theirs in _LAYERS),
    ),
)
