"""Weight files are read without torch; hostile and damaged ones are refused by name."""

import collections
import json
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from helpers.torch_files import (
    NUMBERS,
    Call,
    Fake,
    tensor,
    write_legacy,
    write_zip,
)
from safetensors.numpy import save_file

from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import read_config
from clipdiff_jax.weights.read import open_tensors


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_tensors_are_views_with_their_strides(tmp_path, write):
    state = {"a": tensor("0", (2, 3), (3, 1)), "b": tensor("0", (3, 2), (1, 3)), "step": 3}
    tensors = open_tensors(write(tmp_path / "x.pt", state, {"0": NUMBERS}))
    assert set(tensors) == {"a", "b"}
    np.testing.assert_array_equal(tensors["a"], NUMBERS.reshape(2, 3))
    np.testing.assert_array_equal(tensors["b"], NUMBERS.reshape(2, 3).T)
    assert not tensors["a"].flags.writeable
    assert not tensors["a"].flags.owndata


def test_half_types(tmp_path):
    halves = NUMBERS.astype(ml_dtypes.bfloat16)
    state = {"a": tensor("0", (6,), (1,), "BFloat16Storage")}
    tensors = open_tensors(write_zip(tmp_path / "x.ckpt", state, {"0": halves}))
    assert tensors["a"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(tensors["a"], halves)


def test_nested_state_dict_is_found_and_the_parallel_prefix_dropped(tmp_path):
    state = {"module.a": tensor("0", (6,), (1,)), "module.b": tensor("0", (), ())}
    path = write_zip(tmp_path / "x.pth", {"state_dict": state, "epoch": 3}, {"0": NUMBERS})
    assert {name: a.shape for name, a in open_tensors(path).items()} == {"a": (6,), "b": ()}


def test_choosing_between_two_state_dicts(tmp_path):
    two = [{"a": tensor("0", (6,), (1,))}, {"a": tensor("0", (2,), (1,))}]
    path = write_zip(tmp_path / "x.pth", two, {"0": NUMBERS})
    with pytest.raises(WeightsError, match="found 0, 1; choose"):
        open_tensors(path)
    assert open_tensors(path, part="1")["a"].shape == (2,)
    with pytest.raises(WeightsError, match="no state dict 'ema'; there is: 0, 1"):
        open_tensors(path, part="ema")


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (Call(Fake("os", "system"), "false"), "os.system"),
        (Call(Fake("builtins", "eval"), "1"), "builtins.eval"),
        ({"a": [Call(Fake("builtins", "getattr"), Fake("torch", "load"), "x")]}, "getattr"),
        (Call(Fake("torch", "load"), "x"), "torch.load"),
        (Call(Call(Fake("collections", "OrderedDict")), "x"), "called that is not"),
        (Call(Fake("torch", "FloatStorage"), "x"), "'torch FloatStorage' is called"),
    ],
)
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_globals_are_refused_by_name(tmp_path, obj, message, write):
    with pytest.raises(WeightsError, match=message):
        open_tensors(write(tmp_path / "x.pt", {"a": obj}, {}))


def test_instructions_torch_never_writes_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"(S'false'\nios\nsystem\n.")
    with pytest.raises(WeightsError, match="instruction"):
        open_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (tensor("0", (2**40, 2**40), (0, 0)), "does not fit its storage"),
        (tensor("0", (7,), (1,)), "does not fit its storage"),
        (tensor("0", (2,), (1,), offset=5), "does not fit its storage"),
        (tensor("0", (-1,), (1,)), "shape is impossible"),
        (tensor("0", (0, 2**61), (1, 1)), "is impossible"),
        (tensor("0", (True,), (1,)), "shape is impossible"),
        (tensor("0", (2,), (2**70,)), "stride is impossible"),
        (tensor("0", (1,) * 40, (1,) * 40), "shape is impossible"),
        (tensor("0", (2,), ()), r"its stride \(\)"),
        (tensor("0", (6,), (1,), count=2**50), "has 24 bytes"),
        (tensor("9", (6,), (1,)), "lacks the storage '9'"),
        (tensor("0", (6,), (1,), "QInt8Storage"), "torch.QInt8Storage"),
    ],
)
def test_absurd_shapes_are_refused(tmp_path, bad, message):
    with pytest.raises(WeightsError, match=message):
        open_tensors(write_zip(tmp_path / "x.pt", {"a": bad}, {"0": NUMBERS}))


def test_the_step_of_a_single_number_is_of_no_matter(tmp_path):
    one = tensor("0", (1, 6), (2**61, 1))
    path = write_zip(tmp_path / "x.pt", {"a": one}, {"0": NUMBERS})
    np.testing.assert_array_equal(open_tensors(path)["a"], NUMBERS[None])


def test_bombs_are_refused(tmp_path):
    packed = write_zip(
        tmp_path / "packed.pt",
        {"a": tensor("0", (6,), (1,))},
        {"0": np.zeros(2**20, np.float32)},
        zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(WeightsError, match="compressed"):
        open_tensors(packed)
    laughs: list = [1]
    for _ in range(40):
        laughs = [laughs] * 10
    state = {"a": tensor("0", (6,), (1,)), "b": laughs}
    with pytest.raises(WeightsError, match="nested without end"):
        open_tensors(write_zip(tmp_path / "laughs.pt", state, {"0": NUMBERS}))
    deep = b"\x80\x02}" + b")" + b"\x85" * 20_000 + b"K\x01s."
    with zipfile.ZipFile(tmp_path / "deep.pt", "w") as archive:
        archive.writestr("archive/data.pkl", deep)
    with pytest.raises(WeightsError, match="key is a tuple"):
        open_tensors(tmp_path / "deep.pt")


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(tmp_path, write, share):
    state = {"a": tensor("0", (100,), (1,), count=100)}
    path = write(tmp_path / "x.pt", state, {"0": np.zeros(100, np.float32)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=r"x\.pt"):
        open_tensors(path)


def test_not_a_weight_file(tmp_path):
    (tmp_path / "model.safetensors.gz").write_bytes(b"x")
    (tmp_path / "x.pt").write_bytes(b"")
    (tmp_path / "y.pt").write_bytes(b"<html>not found</html>")
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as archive:
        archive.writestr("readme", "x")
    for name, message in [
        ("model.safetensors.gz", "none of the endings"),
        ("model.safetensor", "no file .* Did you mean 'model.safetensors.gz'"),
        ("x.pt", "empty"),
        ("y.pt", "y.pt"),
        ("z.pt", "no data.pkl"),
    ]:
        with pytest.raises(WeightsError, match=message):
            open_tensors(tmp_path / name)
    with pytest.raises(WeightsError, match=r"no weights in .* found model.safetensors.gz"):
        open_tensors(tmp_path)


def test_sharded_safetensors(tmp_path):
    save_file({"a": NUMBERS}, tmp_path / "model-1.safetensors")
    save_file({"b": NUMBERS[:2]}, tmp_path / "model-2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    files = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    tensors = open_tensors(tmp_path)
    np.testing.assert_array_equal(tensors["a"], NUMBERS)
    np.testing.assert_array_equal(tensors["b"], NUMBERS[:2])
    index.write_text(json.dumps({"weight_map": files | {"c": "model-2.safetensors"}}))
    with pytest.raises(WeightsError, match="promises 'c' in 'model-2"):
        open_tensors(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../model-1.safetensors"}}))
    with pytest.raises(WeightsError, match="which is not beside it"):
        open_tensors(tmp_path)


@pytest.mark.parity
@pytest.mark.parametrize("legacy", [False, True])
def test_equal_to_torch(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    base = torch.randn(4, 5)
    state = collections.OrderedDict(
        whole=base, transposed=base.T, row=base[2], half=base.half(), brain=base.bfloat16(),
        number=torch.tensor(3), flag=torch.tensor([True, False]), empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(base),
    )  # fmt: skip
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    tensors = open_tensors(tmp_path / "x.pt")
    assert list(tensors) == list(state)
    for name, expected in state.items():
        expected = expected.detach()
        if name == "brain":
            expected, tensors[name] = expected.float(), tensors[name].astype(np.float32)
        np.testing.assert_array_equal(tensors[name], expected.numpy(), err_msg=name)


@pytest.mark.parity
def test_torchscript_attributes_are_the_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.jit.script(model).save(tmp_path / "x.pt")
    tensors = open_tensors(tmp_path / "x.pt")
    state = model.state_dict()
    assert set(tensors) == set(state)
    for name, expected in state.items():
        np.testing.assert_array_equal(tensors[name], expected.numpy())


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000, b"9" * 5000, b"[1]", b'{"a": 3}', b'{"a": {"dtype": "F32"}}',
        b'{"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", 4]}}',
        b'{"a": {"dtype": "F32", "shape": [0, 99999999999999999999], "data_offsets": [0, 0]}}',
    ],
)  # fmt: skip
def test_headers_of_safetensors_that_are_none(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    with pytest.raises(WeightsError, match=r"x\.safetensors"):
        open_tensors(path)


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "9" * 5000, '{"weight_map": [1]}', '{"weight_map": {"a": ["b"]}}', "[]", "\0"],
)
def test_indices_and_configs_that_are_none(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"index\.json"):
        open_tensors(tmp_path)
    if "weight_map" not in content:
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(WeightsError, match=r"config\.json"):
            read_config(tmp_path)
