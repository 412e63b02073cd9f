"""Which state dict of a file is read, and what is dropped before its names."""

import numpy as np
import pytest
from helpers.torch_files import NUMBERS, tensor, write_zip
from safetensors.numpy import save_file

from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.read import file_has, open_state, open_tensors
from clipdiff_jax.weights.state_dicts import SeveralPartsError, choose

TWO = {"a": 1, "b.weight": 2}


def under(prefix):
    return {f"{prefix}{name}": value for name, value in TWO.items()}


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "ema_model.", "module._orig_mod.", "model._orig_mod."],
)
def test_wrappers_prefixes_are_dropped(prefix):
    assert choose(under(prefix), None) == (TWO, True)
    assert choose(under(prefix) | {"n_averaged": 3}, None) == (TWO, True)


def test_names_of_which_some_have_a_prefix_stay():
    assert choose(TWO, None) == (TWO, False)
    mixed = under("model.") | {"head": 3}
    assert choose(mixed, None) == (mixed, False)
    assert choose(under("model."), None, strip=False) == (under("model."), False)


def test_of_two_prefixes_one_is_chosen():
    both = {f"online_model.{n}": 0 for n in TWO} | under("ema_model.") | {"step": 1, "initted": 2}
    with pytest.raises(SeveralPartsError, match=r"found online_model, ema_model; .*'ema_model'"):
        choose(both, None)
    assert choose(both, "ema_model") == (TWO, True)
    assert choose(both, "online_model")[0] == dict.fromkeys(TWO, 0)
    with pytest.raises(WeightsError, match="no state dict 'ema'; there is: online_model"):
        choose(both, "ema")


def test_in_files(tmp_path):
    """As entries and as prefixes, in torch's files and in safetensors."""
    one, other = ({"module.a": tensor("0", (n,), (1,))} for n in (6, 2))
    for name, tree, part in (
        ("list.pth", [one, {"state": {}}, 3, 9000, other], "4"),
        ("named.pt", {"model": one, "ema": other, "opt": {"state": {}}}, "ema"),
    ):
        path = write_zip(tmp_path / name, tree, {"0": NUMBERS})
        with pytest.raises(SeveralPartsError, match=rf"{name}'.*`part`, such as part='{part}'"):
            open_tensors(path)
        assert open_tensors(path, part)["a"].shape == (2,)
        assert file_has(path, "a")
    prefixed = {"model.a": np.ones(3, np.float32), "ema_model.a": np.zeros(3, np.float32)}
    save_file(prefixed, tmp_path / "two.safetensors")
    with pytest.raises(SeveralPartsError, match=r"two\.safetensors"):
        open_tensors(tmp_path / "two.safetensors")
    assert open_tensors(tmp_path / "two.safetensors", "ema_model")["a"].sum() == 0
    lightning = {"model.a": tensor("0", (6,), (1,)), "ema_model.a": tensor("0", (2,), (1,))}
    path = write_zip(tmp_path / "x.ckpt", {"state_dict": lightning, "epoch": 3}, {"0": NUMBERS})
    assert open_tensors(path, "ema_model")["a"].shape == (2,)


def test_whether_a_training_left_it(tmp_path):
    state = {"a": tensor("0", (6,), (1,))}
    assert not open_state(write_zip(tmp_path / "a.pt", state, {"0": NUMBERS})).wrapped
    nested = write_zip(tmp_path / "b.pt", {"state_dict": state, "epoch": 3}, {"0": NUMBERS})
    assert open_state(nested).wrapped
