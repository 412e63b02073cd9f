"""The front door: quick answers, one line and status 2 for every mistake, whatever the command."""

import subprocess
import sys

import pytest

import clipdiff_jax
from clipdiff_jax.cli.main import CLIPDIFF, Group, evaluate, main, sample, train

WITHOUT_JAX = """
import sys
from clipdiff_jax.cli.main import main
status = main({words!r})
slow = [name for name in ("jax", "numpy", "PIL", "tqdm") if name in sys.modules]
print("imported:", *slow)
raise SystemExit(status)
"""
EVERY = [
    "train", "generate", "edit", "guide", "vary", "interpolate", "textdiff", "reconstruct",
    "reassemble", "remake", "watermark", "sheet", "verify", "evaluate", "app", "convert", "push",
    "list", "clean", "embed", "completion", "data",
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 0, "interpolate"),
        (["--version"], 0, clipdiff_jax.__version__),
        (["genrate", "--count", "3"], 2, "Did you mean 'generate'?"),
        (["evaluate", "--help"], 0, "counterfactual"),
        (["completion", "bash"], 0, "complete -o default -F _clipdiff clipdiff"),
        (["completion", "bahs"], 2, "Did you mean 'bash'?"),
        (["evaluate", "pair"], 2, "Did you mean 'pairs'?"),
        ([], 2, "needs a command"),
    ],
)
def test_what_needs_no_model_imports_none_of_it(words, status, said):
    code = WITHOUT_JAX.format(words=words)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == status
    assert said in run.stdout + run.stderr
    assert run.stdout.splitlines()[-1].split() == ["imported:"]


def test_the_module_is_the_command():
    words = [sys.executable, "-m", "clipdiff_jax", "edti"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        "error: clipdiff has no command 'edti'. Did you mean 'edit'? (see clipdiff --help)"
    ]


def test_every_command_is_there_and_says_what_it_takes(capsys):
    assert list(CLIPDIFF.commands) == EVERY
    for name, command in CLIPDIFF.commands.items():
        inside = command.commands if isinstance(command, Group) else ()
        names = [f"{name} {one}" for one in inside] or [name]
        for words in names:
            with pytest.raises(SystemExit) as stop:
                main([*words.split(), "--help"])
            assert stop.value.code == 0
            assert capsys.readouterr().out.startswith(f"usage: clipdiff {words} ")
    assert isinstance(CLIPDIFF.commands["evaluate"], Group)


def assert_one_line(capsys, status: int, message: str) -> None:
    said = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert message in said[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train", "required: --config"),
        ("train --config avatars/edit_smil --dry-run", "Did you mean 'avatars/edit_smile'?"),
        ("train --config avatars/edit_smile", "--workdir is needed"),
        ("train --confg avatars/edit_smile", "no option '--confg'. Did you mean '--config'?"),
        ("train --config avatars/base --dry-run --config.train.step 3", "Did you mean 'steps'?"),
        ("train --config avatars/base --dry-run --config.train.steps", "has no '='"),
        ("generate --stepz 3", "no option '--stepz'. Did you mean '--steps'?"),
        ("generate --count 0", "--count must be at least 1, got 0"),
        ("generate --count some", "argument --count: invalid int value: 'some'"),
        ("generate --eta 2", "--eta 2, expected a number from 0 to 1"),
        ("generate --eta nan", "--eta nan, expected a number from 0 to 1"),
        ("generate --sampler dimm", "'dimm' is not one of ancestral, ddim"),
        ("generate --sampler dimm", "Did you mean 'ddim'?"),
        ("generate --sampler heun --eta 1", "is of the sampler 'ddim', not of 'heun'"),
        ("generate --steps fast", "'fast' is neither a number of steps nor"),
        ("generate --steps 0", "--steps 0, expected a number of at least 1"),
        ("generate --seed -1", "--seed -1, expected a number from 0"),
        ("generate --batch-size 0", "--batch-size must be at least 1"),
        ("generate --guidance 2", "--guidance is for pictures from texts: give --prompt"),
        ("generate --prompt a --temperature -1", "--temperature -1, expected"),
        ("generate --prompt a --embedding text --candidates 2", "add 'prior' to --embedding"),
        ("generate --prompts nowhere.txt", "nowhere.txt"),
        ("edit faces", "give --edit"),
        ("edit faces --edit smile --t0 0", "--t0 0, expected a number of at least 1"),
        ("edit faces --edit smile --strength 1 inf", "strength=inf, expected a finite number"),
        ("edit faces --edit smile --ratios 0", "ratios must have a positive sum"),
        ("edit faces --edit smile --ratios 1 2", "1 --edit need as many --ratios, got 2"),
        ("edit faces --edit smile --method edct", "Did you mean 'edict'?"),
        ("edit faces --edit smile --method ddim --fixed-point 2", "2 with method='ddim'"),
        ("edit faces --edit smlie", "smlie"),
        ("vary faces --count 0", "--count must be at least 1"),
        ("vary faces --eta 0.5", "give --inverted"),
        ("vary faces --inverted --eta 1.5", "--eta 1.5, expected a number from 0 to 1"),
        ("interpolate faces --count 1", "--count must be at least 2"),
        ("interpolate faces", "no picture or folder 'faces'"),
        ("interpolate faces --playback loop", "--playback is of an animation: give --animate"),
        ("textdiff faces --from a --to a", "no direction"),
        ("textdiff faces --from a --to b --thetas 2", "--thetas 2, expected a number from 0 to 1"),
        ("textdiff faces --from a", "required: --to"),
        ("reconstruct faces --steps many", "'many' is neither a number of steps"),
        ("remake nowhere", "there is no 'nowhere'"),
        ("remake nowhere --batch-size 0", "--batch-size must be at least 1"),
        ("convert nowhere there --to diffuser", "Did you mean 'diffusers'?"),
        ("convert nowhere there --to ours", "nowhere"),
        ("embed --config unclip/avatars/embd --out x", "Did you mean 'unclip/avatars/embed'?"),
        ("embed --config avatars/base --out x", "returned RunConfig, not EmbedConfig"),
        ("data --out x --count 0", "--count must be at least 1"),
        ("data --out x --split tests", "Did you mean 'test'?"),
        ("evaluate pairs here --reference there --out x", "here"),
        ("evaluate pairs here --reference there --out x --batch-size 0", "at least 1"),
        ("evaluate images here --reference there --out x --metrics fdi", "Did you mean 'fid'?"),
        ("evaluate texts here --out x --originals y", "S_dir needs"),
        ("evaluate generation --out x --guidance 1 nan", "guidance=nan, expected a finite number"),
        ("evaluate generation --out x --each 0", "--each must be at least 1"),
        ("evaluate reconstruction --out x --t0 0", "t0=0, expected a number of at least 1"),
        ("evaluate counterfactual --out x", "required: --edit, --attribute, --target"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_one_line(capsys, main(line.split()), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "line", "message"),
    [
        (train, "--config avatars/edit_smil --dry-run", "Did you mean 'avatars/edit_smile'?"),
        (sample, "vray faces", "sample.py has no command 'vray'. Did you mean 'vary'?"),
        (sample, "train", "sample.py has no command 'train'"),
        (evaluate, "texts here --out x --originls y", "Did you mean '--originals'?"),
    ],
)
def test_the_files_at_the_top_are_the_same_commands(command, line, message, capsys):
    assert_one_line(capsys, command(line.split()), message)


def test_results_go_into_a_new_folder(tmp_path, monkeypatch):
    """Nothing is written over: the folder is the next that does not exist."""
    import argparse
    from pathlib import Path

    from clipdiff_jax.cli.arguments import results_of
    from clipdiff_jax.pictures.results import Results

    monkeypatch.chdir(tmp_path)
    said = {"no_label": False, "no_record": False, "sign": None, "publish_prompt": False}
    args = argparse.Namespace(out=None, overwrite=False, skip_existing=False, **said)
    assert results_of(args, "generate").folder == Path("out/generate-1")
    (tmp_path / "out" / "generate-1").mkdir(parents=True)
    (tmp_path / "out" / "edit-1").mkdir()
    assert results_of(args, "generate").folder == Path("out/generate-2")
    assert results_of(
        argparse.Namespace(**vars(args) | {"out": Path("mine")}), "generate"
    ) == Results(Path("mine"))
