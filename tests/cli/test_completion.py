"""What shells complete: asked of the shells themselves, where they are installed."""

import shutil
import subprocess

import pytest

from clipdiff_jax.cli.completion.shells import SHELLS
from clipdiff_jax.cli.completion.table import make_table, stored_table, text_of
from clipdiff_jax.core.recipes import recipe_names

# What stands before the cursor -> some of what is offered, and some of what is not.
CASES = {
    ("",): ({"generate", "train", "completion"}, {"--help", "detect"}),
    ("ge",): ({"generate"}, {"train", "guide"}),
    ("watermark", ""): ({"new", "detect", "calibrate"}, {"generate"}),
    ("watermark", "detect", "--th"): ({"--threshold"}, {"--steps"}),
    ("generate", "--s"): ({"--steps", "--sampler", "--seed", "--skip-existing"}, {"--count"}),
    ("generate", "--sampler", ""): ({"ddim", "heun", "dpm_solver"}, {"--steps"}),
    ("generate", "--sampler", "d"): ({"ddim", "dpm_solver"}, {"heun"}),
    ("generate", "--embedding", "prior", ""): ({"text", "none"}, {"ddim"}),
    ("generate", "--overwrite", "--fo"): ({"--format"}, {"--count"}),
    ("edit", "a.png", "--edit", "demo"): ({"demo/smile"}, {"--steps"}),
    ("train", "--config", "avatars/edit"): ({"avatars/edit_smile"}, {"avatars/base"}),
    ("completion", ""): ({"bash", "zsh", "fish"}, {"generate"}),
}
DRIVERS = {
    "bash": """
source {script}
COMP_WORDS=(clipdiff "$@"); COMP_CWORD=$#
_clipdiff
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    # Outside of its line editor zsh has none of the functions that offer words: these print them.
    "zsh": """
compdef() {{ }}
_files() {{ print FILES }}
compadd() {{ [[ $1 == -a ]] && print -rl -- ${{(P)2}} || print -rl -- ${{@:2}} }}
_describe() {{ [[ $1 == -o ]] && shift; print -rl -- ${{${{(P)2}}%%:*}} }}
source {script}
words=(clipdiff "$@"); CURRENT=$#words
_clipdiff
""",
    "fish": """
source {script}
complete -C "clipdiff "(string join ' ' -- $argv)
""",
}


def offered(shell, path, words) -> set[str]:
    """The words that a shell offers in place of the last of some."""
    driver = DRIVERS[shell].format(script=path)
    plain = {"bash": "--norc", "zsh": "-f", "fish": "--no-config"}[shell]
    named = [] if shell == "fish" else ["driver"]  # what $0 is
    run = subprocess.run(
        [shell, plain, "-c", driver, *named, *words], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    return {line.partition("\t")[0] for line in run.stdout.splitlines()}


def test_the_table_is_what_the_parsers_are():
    assert text_of(stored_table()) == text_of(make_table()), (
        "options have changed: python -m clipdiff_jax.cli.completion.table"
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_offer_what_fits(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(SHELLS[shell](stored_table()))
    subprocess.run([shell, "-n", path], check=True)
    for words, (wanted, others) in CASES.items():
        # bash and fish leave out themselves what does not begin with the last word
        found = {one for one in offered(shell, path, words) if one.startswith(words[-1])}
        assert wanted <= found, words
        assert not others & found, words


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_name_recipes_and_quote_what_they_say(shell):
    script = SHELLS[shell](stored_table())
    assert all(name in script for name in recipe_names())
    assert "demo/smile" in script
    odd = SHELLS[shell]({"": {"commands": {"a": "it's $HOME"}}})
    assert {"bash": "'a'", "zsh": r"'a:it'\''s $HOME'", "fish": r"'it\'s $HOME'"}[shell] in odd


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_an_option_with_an_equals_sign_and_one_that_takes_a_number(tmp_path):
    """bash splits words at '='; behind a number's option nothing is offered."""
    (tmp_path / "script").write_text(SHELLS["bash"](stored_table()))
    words = ("generate", "--sampler", "=", "he")
    assert offered("bash", tmp_path / "script", words) == {"heun"}
    assert offered("bash", tmp_path / "script", ("generate", "--sampler", "=")) >= {"ddim", "heun"}
    assert offered("bash", tmp_path / "script", ("generate", "--steps", "")) == {""}
    assert "--sampler" in offered("bash", tmp_path / "script", ("generate", "--steps", "3", "--s"))
