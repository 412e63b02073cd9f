"""Tables of rules: exact in both directions, and strict about everything that does not fit."""

import tracemalloc

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from clipdiff_jax.weights.tables import (
    CONV,
    LINEAR,
    ONE_FIRST,
    POINTWISE,
    ConvertError,
    Rule,
    Table,
    expected,
    export_params,
    import_params,
)

TABLE = Table(
    "toy",
    (
        Rule("conv.weight", "conv/kernel", CONV),
        Rule("point.weight", "point/kernel", POINTWISE),
        Rule("scale", "scale", ONE_FIRST),
        Rule("layers.{i}.fc.weight", "blocks/fc/kernel", LINEAR),
        Rule(
            ("layers.{i}.qkv.weight", "layers.{i}.in_proj_weight"),
            ("blocks/q", "blocks/k", "blocks/v"),
            LINEAR,
        ),
        Rule("heads.weight", ("heads/a", "heads/b"), LINEAR, heads=2),
        Rule("down.{level}.{j}.bias", "down_{level}_{j}/bias"),
    ),
    ignored=("layers.{i}.position_ids",),
)


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


SHAPES = {
    "conv": {"kernel": shape(3, 3, 2, 5)},
    "point": {"kernel": shape(2, 5)},
    "scale": shape(),
    "blocks": {
        "fc": {"kernel": shape(2, 4, 3)}, "q": shape(2, 4, 6), "k": shape(2, 4, 6),
        "v": shape(2, 4, 6),
    },
    "heads": {"a": shape(3, 4), "b": shape(3, 4)},
    "down_0_0": {"bias": shape(2)},
    "down_0_1": {"bias": shape(2)},
    "down_1_0": {"bias": shape(4)},
}  # fmt: skip


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=size).astype(np.float32)
        for name, size in expected(TABLE, SHAPES).items()
    }


def test_expected_names_and_shapes():
    assert expected(TABLE, SHAPES) == {
        "conv.weight": (5, 2, 3, 3),
        "point.weight": (5, 2, 1, 1),
        "scale": (1,),
        "layers.0.fc.weight": (3, 4),
        "layers.1.fc.weight": (3, 4),
        "layers.0.qkv.weight": (18, 4),
        "layers.1.qkv.weight": (18, 4),
        "heads.weight": (8, 3),
        "down.0.0.bias": (2,),
        "down.0.1.bias": (2,),
        "down.1.0.bias": (4,),
    }


def test_values_land_where_they_belong(tensors):
    ours = import_params(TABLE, tensors, SHAPES)
    np.testing.assert_array_equal(
        ours["conv"]["kernel"][1, 2], tensors["conv.weight"][:, :, 1, 2].T
    )
    np.testing.assert_array_equal(ours["point"]["kernel"], tensors["point.weight"][:, :, 0, 0].T)
    assert ours["scale"].shape == ()
    fc = ours["blocks"]["fc"]["kernel"]
    np.testing.assert_array_equal(fc[1], tensors["layers.1.fc.weight"].T)
    qkv = tensors["layers.1.qkv.weight"]
    np.testing.assert_array_equal(ours["blocks"]["k"][1], qkv[6:12].T)
    # two heads of two rows for each of the two parts: a0 a0 b0 b0 a1 a1 b1 b1
    np.testing.assert_array_equal(ours["heads"]["a"], tensors["heads.weight"][[0, 1, 4, 5]].T)
    np.testing.assert_array_equal(ours["heads"]["b"], tensors["heads.weight"][[2, 3, 6, 7]].T)
    np.testing.assert_array_equal(ours["down_1_0"]["bias"], tensors["down.1.0.bias"])


def test_export_inverts_import_bit_for_bit(tensors):
    for dtype in (np.float32, ml_dtypes.bfloat16):
        stored = {name: array.astype(dtype) for name, array in tensors.items()}
        back = export_params(TABLE, import_params(TABLE, stored, SHAPES, dtype=None))
        assert list(back) == list(stored)
        for name in stored:
            assert back[name].dtype == dtype
            np.testing.assert_array_equal(back[name], stored[name])


def test_dtype_placement_and_alternative_names(tensors):
    tensors = {n.replace("qkv.weight", "in_proj_weight"): a for n, a in tensors.items()}
    placed = []

    def place(path, array):
        placed.append(path)
        return jnp.asarray(array)

    ours = import_params(TABLE, tensors, SHAPES, dtype=jnp.bfloat16, place=place)
    assert len(placed) == len(set(placed)) == 12
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(ours))
    assert jax.tree.structure(ours) == jax.tree.structure(SHAPES)


def test_misfits_are_listed_with_the_nearest_names(tensors):
    tensors["layers.0.position_ids"] = np.arange(3)  # harmless
    tensors["down.0.1.bais"] = tensors.pop("down.0.1.bias")
    tensors["surplus"] = np.zeros(1)
    tensors["conv.weight"] = tensors["conv.weight"][:4]
    with pytest.raises(ConvertError) as error:
        import_params(TABLE, tensors, SHAPES)
    text = str(error.value)
    assert "missing (1):\n    down.0.1.bias Did you mean 'down.0.1.bais'?" in text
    assert "unknown (2):\n    down.0.1.bais Did you mean 'down.0.1.bias'?\n    surplus" in text
    assert "misshapen (1):\n    conv.weight: (4, 2, 3, 3), expected (5, 2, 3, 3)" in text
    assert "position_ids" not in text


def test_too_many_layers_are_unknown(tensors):
    tensors["layers.2.fc.weight"] = tensors["layers.1.fc.weight"]
    with pytest.raises(ConvertError, match=r"unknown \(1\):\s+layers.2.fc.weight"):
        import_params(TABLE, tensors, SHAPES)


def test_a_table_must_describe_every_parameter_once(tensors):
    with pytest.raises(ConvertError, match=r"without a rule \(1\):\s+new"):
        import_params(TABLE, tensors, SHAPES | {"new": shape(1)})
    twice = Table("twice", (*TABLE.rules, Rule("other", "scale")))
    with pytest.raises(ConvertError, match=r"with two rules \(1\):\s+scale"):
        import_params(twice, tensors, SHAPES)
    lacking = {name: leaf for name, leaf in SHAPES["heads"].items() if name == "a"}
    with pytest.raises(ConvertError, match=r"do not exist \(1\):\s+heads/b"):
        import_params(TABLE, tensors, SHAPES | {"heads": lacking})


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_placing_takes_little_more_memory_than_the_parameters(dtype):
    """Stacked, fused and plain tensors; every placed array is a copy, as on an accelerator."""
    width, layers = 64, 6
    shapes = {
        "conv": {"kernel": shape(3, 3, width, width)},
        "blocks": {
            "fc": {"kernel": shape(layers, 4 * width, width)},
            **{name: shape(layers, width, width) for name in "qkv"},
        },
        "heads": {"a": shape(width, 4 * width), "b": shape(width, 4 * width)},
        **{f"down_0_{i}": {"bias": shape(width**2)} for i in range(8)},
    }
    zeros = {name: np.zeros(size, np.float32) for name, size in expected(TABLE, shapes).items()}
    size = sum(leaf.size for leaf in jax.tree.leaves(shapes)) * np.dtype(dtype).itemsize
    tracemalloc.start()
    placed = import_params(TABLE, zeros, shapes, dtype=dtype, place=lambda _, array: array.copy())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(placed)) == size
    assert size <= peak <= 1.2 * size
