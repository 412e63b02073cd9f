"""Prompts of a file: what is a line's own, whose key each picture has, and what is wrong where."""

import argparse
import json

import jax
import numpy as np
import pytest

from clipdiff_jax.cli.main import main
from clipdiff_jax.cli.prompt_files import Prompt, drawn, read_prompts
from clipdiff_jax.pictures.records import record_keys

LINES = """
a red cube
  a face with glasses |seed=3| count = 2

{"prompt": "a | b", "negative": "c=d", "count": 2}
a dog | negative=a cat
a cat | seed=3
"""


def args(path=None, **options) -> argparse.Namespace:
    given = {"prompt": None, "prompts": path, "count": None, "seed": 5, "format": "jpg"}
    return argparse.Namespace(**given | options)


def test_lines_say_what_is_their_own(tmp_path):
    (tmp_path / "prompts.txt").write_text(LINES)
    found = read_prompts(args(tmp_path / "prompts.txt", prompt=["a | seed=7"]))
    assert found == [
        Prompt("a | seed=7"),  # of the command line a text is a text
        Prompt("a red cube"),
        Prompt("a face with glasses", seed=3, count=2),
        Prompt("a | b", negative="c=d", count=2),
        Prompt("a dog", negative="a cat"),
        Prompt("a cat", seed=3),
    ]


def test_a_seed_of_its_own_gives_what_the_prompt_gives_alone():
    """And those without are numbered as if there were no others."""
    prompts = [Prompt("a"), Prompt("b", seed=3, count=2), Prompt("c", count=1), Prompt("d", seed=3)]
    made = [(one.prompt.text, one.seed, one.number) for one in drawn(prompts, args(count=2))]
    assert made == [
        ("a", 5, 0), ("a", 5, 1), ("b", 3, 0), ("b", 3, 1), ("c", 5, 2), ("d", 3, 0), ("d", 3, 1),
    ]  # fmt: skip
    alone = [(one.seed, one.number) for one in drawn([Prompt("b")], args(seed=3, count=2))]
    assert alone == [(3, 0), (3, 1)]
    files = [one.file for one in drawn(prompts, args(count=2))]
    assert files == [
        "5-00000.jpg", "5-00001.jpg", "3-00000.jpg", "3-00001.jpg", "5-00002.jpg",
        "3-00000-2.jpg", "3-00001-2.jpg",
    ]  # fmt: skip


def test_records_of_several_seeds_have_the_keys_of_each():
    records = [{"seed": seed, "index": i} for seed, i in ((5, 0), (3, 1), (5, 2), (3, 0))]
    keys = jax.random.key_data(record_keys(records))
    for record, key in zip(records, keys, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(record_keys([record]))[0], key)
    both = jax.random.key_data(record_keys(records[::2]))
    np.testing.assert_array_equal(both, keys[::2])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a face | sede=3", "line 2: no key 'sede'. Did you mean 'seed'? Keys: seed, count"),
        ("a face | red", "line 2: 'red' behind a '|' is no key=value"),
        ("a face | seed=x", "line 2: seed is 'x', expected a whole number"),
        ("a face | seed=1.5", "line 2: seed is '1.5', expected a whole number"),
        ("a face | seed=-1", "line 2: seed -1, expected a number from 0 to 4294967295"),
        ("a face | count=0", "line 2: count must be at least 1, got 0"),
        ("a face | seed=1 | seed=2", "line 2: the key 'seed' is there twice"),
        (" | seed=1", "line 2: the prompt is empty"),
        ('{"prompt": "a", "cuont": 2}', "line 2: no key 'cuont'. Did you mean 'count'?"),
        ('{"promt": "a"}', "line 2: no key 'promt'. Did you mean 'prompt'?"),
        ('{"seed": 1}', "line 2: there is no 'prompt'"),
        ('{"prompt": 3}', "line 2: prompt is 3, expected a text"),
        ('{"prompt": "a", "seed": true}', "line 2: seed is True, expected a whole number"),
        ('{"prompt": "a", "prompt": "b"}', "line 2 is not JSON: the key 'prompt' is there twice"),
        ('{"prompt": "a"', "line 2 is not JSON"),
        ('[{"prompt": "a"}]', "line 2 is a list, expected an object with 'prompt', one a line"),
    ],
)
def test_a_line_that_cannot_be_is_named(line, message, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text(f"a face\n{line}\n")
    words = ["--prompts", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out")]
    assert main(["generate", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "prompts.txt'" in said
    assert not (tmp_path / "out").exists()


def test_lines_end_as_every_system_ends_them(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        document = end.join(["\ufeffa | seed=1", json.dumps({"prompt": "b"}), "c\u2028d", ""])
        (tmp_path / "prompts.txt").write_bytes(document.encode())
        assert read_prompts(args(tmp_path / "prompts.txt")) == [
            Prompt("a", seed=1), Prompt("b"), Prompt("c\u2028d"),
        ]  # fmt: skip
