"""`benchmarks/methods.py`: its budget, its table, and that a row done is not done again."""

import importlib.util
import json

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.tiny_models import SIZE, tiny_base, tiny_clip

pytest.importorskip("dicebear")
FILE = ROOT / "benchmarks" / "methods.py"
spec = importlib.util.spec_from_file_location("methods_benchmark", FILE)
methods = importlib.util.module_from_spec(spec)
spec.loader.exec_module(methods)


class Words(dict):
    def __missing__(self, key):
        return "same"


class AlwaysSmiles:
    """A classifier that sees a smile in every picture."""

    def predict(self, images):
        return [Words(mouth="smile") for _ in images]


def test_methods_of_one_edit_evaluate_the_network_equally_often():
    smile = methods.preset("smile")
    for method in set(methods.METHODS) - {"published-full"}:
        chosen, steps = methods.arranged(method, smile, 16, 24)
        assert steps * chosen.batch_size * chosen.objective.evaluations == 24 * 4 * 6
        assert chosen.images == 16
    steps = {m: methods.arranged(m, smile, 16, 24)[1] for m in methods.METHODS}
    assert (steps["unrolled"], steps["single_step"], steps["noised"]) == (24, 24, 144)
    assert (steps["h_space"], steps["published"], steps["published-full"]) == (24, 96, 250)
    with pytest.raises(ValueError, match="Did you mean 'unrolled'"):
        methods.arranged("unroled", smile, 16, 24)


def test_methods_differ_in_what_their_names_say():
    smile = methods.preset("smile")
    chosen = {m: methods.arranged(m, smile, 16, 24)[0] for m in methods.METHODS}
    assert chosen["unrolled"].objective == smile.objective
    assert chosen["unrolled-no_noise"].objective.noise == 0
    assert chosen["noised"].objective.noise == smile.objective.noise
    assert chosen["noised"].objective.mode == "noised"
    beard = methods.preset("beard")
    inner = {m: methods.arranged(m, beard, 16, 24)[0].objective.trainable for m in methods.METHODS}
    assert inner["single_step"] == beard.objective.trainable != ""
    assert inner["h_space"] == inner["published"] == ""  # another network; all of it
    assert chosen["unrolled-auto_t0"].objective.t0 is None
    assert chosen["unrolled-auto_t0"].objective.noise == smile.objective.noise
    low_rank = chosen["unrolled-lora"]
    assert low_rank.objective.parameters == "lora"
    assert low_rank.optim.learning_rate == pytest.approx(methods.LOW_RANK_RATE * 2e-4)
    assert chosen["published"].optim.learning_rate == 8e-6
    assert chosen["published"].optim.pass_updates == 16
    assert chosen["published-our_rate"].optim == smile.optim
    assert chosen["published-our_rate"].objective == chosen["published"].objective


def row(edit, method, seed, success, strength=1.0):
    values = {name: 1.0 for name in methods.COLUMNS} | {"success": success, "strength": strength}
    return {"preset": edit, "method": method, "seed": seed, **values}


def test_the_table_has_means_and_spreads_over_seeds():
    rows = [
        row("smile", "noised", 0, 0.5), row("smile", "noised", 1, 0.7),
        row("glasses", "noised", 0, 0.1), row("glasses", "noised", 1, 0.5),
        row("smile", "published", 0, 0.2), row("smile", "published", 0, 0.9, strength=2.0),
    ]  # fmt: skip
    lines = methods.summary(rows).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    assert cells[0][:4] == ["smile", "noised", "1", "2"]
    assert cells[0][4] == "60.0% ± 14.1%"
    assert cells[1][:5] == ["smile", "published", "1", "1", "20.0%"]
    assert cells[2][:5] == ["smile", "published", "2", "1", "90.0%"]
    assert cells[3][:5] == ["glasses", "noised", "1", "2", "30.0% ± 28.3%"]
    # By seed the means over edits are 0.3 and 0.6; "published" lacks an edit.
    assert [line[:5] for line in cells[4:]] == [["all", "noised", "1", "2", "45.0% ± 21.2%"]]


@pytest.mark.slow
def test_rows_are_measured_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    words = "--edits smile --methods noised --seeds 1 --images 2 --steps 1 --faces 2 --grid 2"
    few = "--strengths 1 0 --train-steps 2 --invert-steps 2 --out"
    args = methods.parser().parse_args([*words.split(), *few.split(), str(tmp_path / "out")])
    args.progress = False
    models = methods.Models(tiny_base(), tiny_clip(), AlwaysSmiles())
    found, unchanged = methods.run(args, models)
    assert found["success"] == 1
    assert unchanged["strength"] == 0
    assert found["outside"] != unchanged["outside"]
    assert found["updates"] == 2  # 1 x 4 x 2 evaluations, 4 an update
    assert np.isfinite([found[name] for name in methods.COLUMNS]).all()
    assert (tmp_path / "out" / "smile.png").is_file()
    assert np.load(tmp_path / "out" / "rows" / "smile-noised-0.npy").shape == (2, SIZE, SIZE, 3)

    def never(*_):
        raise AssertionError("the row was measured again")

    monkeypatch.setattr(methods, "measure", never)
    again = methods.run(args, models)
    assert again == json.loads(json.dumps([found, unchanged]))
    args.faces = 3
    with pytest.raises(AssertionError):
        methods.run(args, models)
