"""Latent models on the command line: records that say it all, the same pictures again, no wrong
options."""

import json
import re

import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_latent import SIZE
from helpers.tiny_models import pictures
from PIL import Image

from clipdiff_jax.cli.main import main
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.latent.load import is_latent, save_latent
from clipdiff_jax.pictures.records import read_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("latent")
    save_latent(root / "tiny", tiny_latent.model())
    save_latent(root / "instructed", tiny_latent.model(task="instruct"))
    for i, image in enumerate(pictures(2, SIZE)):
        (root / "faces").mkdir(exist_ok=True)
        Image.fromarray(to_uint8(image)).save(root / "faces" / f"face{i}.png")
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(root / "mask.png")
    return root


def run(*words) -> int:
    return main([str(word) for word in words])


def image(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def same(first, second) -> None:
    names = [record["file"] for record in read_records(first)]
    assert names == [record["file"] for record in read_records(second)]
    for name in names:
        np.testing.assert_array_equal(image(first / name), image(second / name))


def test_pictures_of_prompts_and_the_same_again(folder, tmp_path):
    assert is_latent(folder / "tiny")
    assert not is_latent("clipdiff_jax/assets/base")
    assert not is_latent(folder / "nothing")
    words = ("generate", "--model", folder / "tiny", "--prompt", "a red cube", "--count", 2)
    more = ("--steps", 2, "--guidance", 3, "--negative", "two dogs", "--seed", 5, "--rescale", 0.5)
    assert run(*words, *more, "--out", tmp_path / "out") == 0
    first, second = read_records(tmp_path / "out")
    expected = {"system": "latent", "prompt": "a red cube", "negative": "two dogs", "rescale": 0.5}
    assert expected.items() <= first.items()
    assert (first["guidance"], first["steps"], first["seed"], second["index"]) == (3.0, 2, 5, 1)
    again = ("remake", tmp_path / "out", "--model", folder / "tiny", "--out", tmp_path / "again")
    assert run(*again) == 0
    same(tmp_path / "out", tmp_path / "again")


@pytest.mark.slow
def test_pictures_are_changed_and_painted_and_the_same_again(folder, tmp_path):
    words = ("edit", folder / "faces", "--model", folder / "tiny", "--prompt", "a red cube")
    more = ("--method", "inpaint", "--mask", folder / "mask.png", "--steps", 4)
    assert run(*words, *more, "--strength", 0.5, 1, "--out", tmp_path / "out") == 0
    records = read_records(tmp_path / "out")
    assert [record["strength"] for record in records] == [0.5, 0.5, 1, 1]
    assert records[0]["second_source"] == "mask.png"
    sources = ("--sources", folder / "faces", folder / "mask.png")
    again = ("remake", tmp_path / "out", "--model", folder / "tiny", *sources)
    assert run(*again, "--out", tmp_path / "again") == 0
    same(tmp_path / "out", tmp_path / "again")
    assert run(*words, "--method", "img2img", "--steps", 2, "--out", tmp_path / "img2img") == 0
    assert read_records(tmp_path / "img2img")[0]["strength"] == 0.8


@pytest.mark.slow
def test_a_size_is_both_sides(folder, tmp_path, capsys):
    words = ("generate", "--model", folder / "tiny", "--prompt", "a cube", "--size", 2 * SIZE)
    assert run(*words, "--width", SIZE, "--out", tmp_path / "out") == 2
    assert "--size is both sides: leave out --width" in capsys.readouterr().err
    assert run(*words, "--steps", 2, "--out", tmp_path / "out") == 0
    (record,) = read_records(tmp_path / "out")
    assert (record["height"], record["width"]) == (2 * SIZE, 2 * SIZE)
    assert image(tmp_path / "out" / record["file"]).shape == (2 * SIZE, 2 * SIZE, 3)


@pytest.mark.slow
def test_a_file_of_prompts_with_seeds_and_negatives_of_their_own(folder, tmp_path):
    """A line gives what its prompt gives alone, in whatever batch; as WebP, and so again."""
    (tmp_path / "prompts.txt").write_text("a cube\na dog | seed=3 | count=2 | negative=two dogs\n")
    words = ("generate", "--model", folder / "tiny", "--steps", 2, "--guidance", 3)
    words = (*words, "--format", "webp")
    assert run(*words, "--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "out") == 0
    made = [(one["prompt"], one["negative"], one["seed"]) for one in read_records(tmp_path / "out")]
    assert made == [("a cube", None, 0), ("a dog", "two dogs", 3), ("a dog", "two dogs", 3)]
    alone = (*words, "--prompt", "a dog", "--negative", "two dogs", "--seed", 3, "--count", 2)
    assert run(*alone, "--out", tmp_path / "alone") == 0
    for name in ("3-00000.webp", "3-00001.webp"):
        first, second = (image(tmp_path / one / name) for one in ("out", "alone"))
        np.testing.assert_array_equal(first, second)
    again = ("remake", tmp_path / "out", "--model", folder / "tiny", "--out", tmp_path / "again")
    assert run(*again) == 0
    same(tmp_path / "out", tmp_path / "again")
    first = tmp_path / "again" / "3-00000.webp"
    assert read_records(first) == read_records(tmp_path / "out")[1:2]
    assert run("remake", first, *again[2:4], "--out", tmp_path / "one") == 0
    np.testing.assert_array_equal(image(tmp_path / "one" / first.name), image(first))


def test_layouts_are_drawn_and_the_same_again(folder, tmp_path):
    layout = {
        "prompt": "two dogs",
        "regions": [
            {"prompt": "a red cube", "box": [0, 0, 0.5, 1]},
            {"prompt": "a blue cube", "mask": "mask.png", "weight": 2},
        ],
    }
    (folder / "layout.json").write_text(json.dumps(layout))
    words = ("generate", "--model", folder / "tiny", "--layout", folder / "layout.json")
    more = ("--count", 2, "--steps", 2, "--global-weight", 0.2, "--background-drop", 0.5)
    assert run(*words, *more, "--out", tmp_path / "out") == 0
    first = read_records(tmp_path / "out")[0]
    assert (first["prompt"], first["global_weight"], first["regions"][1]["weight"]) == (
        "two dogs", 0.2, 2,
    )  # fmt: skip
    again = ("remake", tmp_path / "out", "--model", folder / "tiny", "--out", tmp_path / "again")
    assert run(*again) == 0
    same(tmp_path / "out", tmp_path / "again")


@pytest.mark.slow
def test_pictures_are_changed_by_their_prompts_and_the_same_again(folder, tmp_path):
    words = ("edit", folder / "faces", "--model", folder / "tiny", "--prompt", "a blue cube")
    of_prompts = ("--method", "p2p", "--source-prompt", "a red cube", "--steps", 2)
    more = ("--blend", "cube", "cube", "--weight", "blue", 2)
    assert run(*words, *of_prompts, *more, "--out", tmp_path / "p2p") == 0
    assert run(*words, "--method", "ledits", "--steps", 2, "--out", tmp_path / "ledits") == 0
    record = read_records(tmp_path / "p2p")[0]
    expected = {"source_prompt": "a red cube", "blend": ["cube", "cube"], "weights": {"blue": 2.0}}
    assert expected.items() <= record.items()
    for name in ("p2p", "ledits"):
        again = ("remake", tmp_path / name, "--model", folder / "tiny", "--sources")
        assert run(*again, folder / "faces", "--out", tmp_path / f"{name}-again") == 0
        same(tmp_path / name, tmp_path / f"{name}-again")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("[]", "is a list, expected an object"),
        ('{"prompt": "a", "region": []}', "has 'region'.* Did you mean 'regions'"),
        ('{"prompt": "a"}', "lacks 'regions'"),
        ('{"prompt": "a", "regions": [{"prompt": "b"}]}', "region 1 .*has neither of box and mask"),
        ('{"prompt": "a", "regions": [{"prompt": "b", "box": [0, 1]}]}', "has the box .0, 1."),
        ('{"prompt": "a", "regions": [{"prompt": "b", "mask": "no.png"}]}', "which is not there"),
        ('{"prompt": "a", "regions": []}', "there are no regions"),
    ],
)
def test_layouts_that_cannot_be_are_refused(folder, tmp_path, capsys, layout, message):
    (tmp_path / "layout.json").write_text(layout)
    words = ("generate", "--model", folder / "tiny", "--layout", tmp_path / "layout.json")
    assert run(*words, "--out", tmp_path / "out") != 0
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "p2p", "--prompt", "a"), "needs --source-prompt"),
        (
            ("--method", "ledits", "--prompt", "a", "--blend", "a", "b"),
            "--blend is of --method p2p",
        ),
        (("--method", "p2p", "--prompt", "a", "--spare", 0.1), "--spare is of --method ledits"),
        (("--method", "img2img", "--prompt", "a", "--source-prompt", "b"), "--source-prompt is of"),
        (("--method", "ledits", "--prompt", "a", "--strength", 1), "--strength is of --method"),
        (("--method", "img2img"), "--method img2img needs --prompt"),
        (("--method", "inpaint", "--prompt", "a"), "--method inpaint needs --mask"),
        (
            ("--method", "img2img", "--prompt", "a", "--mask", "m.png"),
            "--mask is of --method inpaint",
        ),
        (("--method", "img2img", "--prompt", "a", "--t0", 5), "--t0 is not of --method img2img"),
        (("--method", "instruct", "--prompt", "a", "--strength", 1), "--strength is of --method"),
        (
            ("--method", "img2img", "--prompt", "a", "--image-guidance", 1),
            "--image-guidance is of --method instruct",
        ),
        (("--prompt", "a"), "--prompt is of latent models"),
        ((), "give --edit"),
        (("--method", "img2img", "--prompt", "a", "--strength", 0.0), "strength=0"),
        (("--method", "img2img", "--prompt", "a", "--strength", 0.01), "leaves no step"),
        (("--method", "instruct", "--prompt", "a"), "the model's task is 'text'"),
    ],
)
def test_edits_that_cannot_be_are_refused(folder, tmp_path, capsys, words, message):
    command = ("edit", folder / "faces", "--model", folder / "tiny", "--out", tmp_path / "out")
    assert run(*command, *words) != 0
    assert message in capsys.readouterr().err


def test_an_edit_by_a_latent_model_names_it(folder, tmp_path, capsys):
    words = ("edit", folder / "faces", "--method", "img2img", "--prompt", "a")
    assert run(*words, "--out", tmp_path / "out") == 2
    assert (
        "--method img2img needs a latent diffusion model: give --model" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--prompt", "a", "--candidates", 2), "--candidates is of an unCLIP"),
        (("--prompt", "a", "--threshold", 99), "--threshold is of pictures"),
        (("--prompt", "a", "--height", 15), "multiples of 2"),
        ((), "give --prompt"),
    ],
)
def test_prompts_that_cannot_be_are_refused(folder, tmp_path, capsys, words, message):
    command = ("generate", "--model", folder / "tiny", "--out", tmp_path / "out")
    assert run(*command, *words) != 0
    assert message in capsys.readouterr().err


def test_options_of_latent_models_are_of_no_other(tmp_path, capsys):
    words = ("generate", "--prompt", "a face", "--rescale", 0.5, "--out", tmp_path / "out")
    assert run(*words) != 0
    assert "--rescale is of latent models" in capsys.readouterr().err
