"""Models pushed to a Hub that answers on this machine, and loaded back by their names."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers.hub_server import TOKEN, Repository, hub_server
from helpers.tiny_models import tiny_base, tiny_clip
from PIL import Image

import clipdiff_jax as cd
from clipdiff_jax.cli.main import main
from clipdiff_jax.edit.model import Edit, ready_folder
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.publishing import push_folder


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """A Hub, an empty cache, and a token that may write."""
    with hub_server() as one:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", one.address)
        template = one.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        cache = str(tmp_path_factory.mktemp("cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", cache)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")
        yield one


def tiny_edit(source: str = "") -> Edit:
    base = tiny_base()
    objective = EditObjective(source_text="a face", target_text="a smiling face", t0=300)
    objective = dataclasses.replace(objective, invert_steps=3, train_steps=2)
    return Edit(base.config, base.params, objective, "abc", source)


def same(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)
    assert a.config == b.config


def test_what_is_pushed_is_loaded_by_its_name(hub):
    """A model, a CLIP and an edit, private unless it is said."""
    models = {"base": tiny_base(), "clip": tiny_clip(), "smile": tiny_edit("demo")}
    for name, model in models.items():
        address = model.push_to_hub(f"lab/{name}")
        assert address == f"{hub.address}/lab/{name}"
        assert hub.repositories[f"lab/{name}"].private
    same(cd.load_diffusion("lab/base"), models["base"])
    same(cd.load_clip("lab/clip"), models["clip"])
    found = cd.load_edit("lab/smile")
    same(found, models["smile"])
    assert (found.objective, found.base_source) == (models["smile"].objective, "demo")
    files = set(hub.repositories["lab/smile"].files)
    assert files == {"README.md", "config.json", "model.safetensors"}
    assert hub.repositories["lab/base"].messages == [
        "Upload of a model of the kind 'diffusion' with clipdiff_jax"
    ]


def test_the_card_says_what_is_known(hub, tmp_path):
    (tmp_path / "scores.md").write_text("| S_dir |\n| --- |\n| 0.21 |\n")
    picture = Image.new("RGB", (2000, 1000), "red")
    picture.getexif()[0x010E] = "where I live"
    picture.save(tmp_path / "example.jpg", exif=picture.getexif())
    tiny_edit("lab/base").push_to_hub(
        "lab/smile", private=False, licence="cc-by-4.0", data="32 avatars", scores=tmp_path,
        picture=tmp_path / "example.jpg",
    )  # fmt: skip
    repository = hub.repositories["lab/smile"]
    assert not repository.private
    said = repository.files["README.md"].decode()
    for words in (
        "license: cc-by-4.0", 'base_model: "lab/base"', "pipeline_tag: image-to-image",
        "# smile", "what is `a face` becomes `a smiling face`", 'cd.load_edit("lab/smile")',
        'cd.load_diffusion("lab/base")', "--edit lab/smile", "32 avatars", "| 0.21 |",
        "| pictures | 16 px a side |", "(example.png)", "fingerprint `abc`",
    ):  # fmt: skip
        assert words in said
    count = sum(leaf.size for leaf in jax.tree.leaves(tiny_base().params))
    assert f"| parameters | {count:,} |" in said
    assert b"where I live" not in repository.files["example.png"]
    (tmp_path / "seen.png").write_bytes(repository.files["example.png"])
    assert Image.open(tmp_path / "seen.png").size == (1024, 512)


def test_paths_of_this_machine_stay_here(hub, tmp_path, caplog):
    """The base is named where others can find it, or not at all."""
    tiny_base().save(tmp_path / "base")
    here = str(tmp_path / "base")
    tiny_edit(here).push_to_hub("lab/one")
    assert "a path of this machine: it is left out" in caplog.text
    tiny_edit(here).push_to_hub("lab/two", base="lab/base")
    for name in ("one", "two"):
        everything = b"".join(hub.repositories[f"lab/{name}"].files.values())
        assert str(tmp_path).encode() not in everything
    assert cd.load_edit("lab/one").base_source == ""
    assert cd.load_edit("lab/two").base_source == "lab/base"


def test_only_the_models_files_go(hub, tmp_path):
    folder = tmp_path / "run" / "model"
    tiny_edit().save(folder)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (folder / ".secret").write_text("mine")
    push_folder(tmp_path / "run", "lab/smile")
    assert ".secret" not in hub.repositories["lab/smile"].files
    (folder / "passwords.txt").write_text("mine")
    (folder / "more").mkdir()
    (folder / "more" / "photo.png").write_text("mine")
    before = len(hub.requests)
    with pytest.raises(WeightsError, match=r"other files .*\(more/photo.png, passwords.txt\)"):
        push_folder(folder, "lab/smile")
    with pytest.raises(WeightsError, match=r"has no file 'password.txt'.*'passwords.txt'"):
        push_folder(folder, "lab/smile", include=["password.txt"])
    assert len(hub.requests) == before  # nothing was said to anybody
    push_folder(folder, "lab/smile", include=["passwords.txt", "more/photo.png"])
    assert hub.repositories["lab/smile"].files["passwords.txt"] == b"mine"


def test_what_is_there_is_not_lost(hub, tmp_path):
    """Another model, another's card, and a public repository that was to be private."""
    tiny_base().push_to_hub("lab/base")
    with pytest.raises(WeightsError, match="holds a model of the kind 'diffusion', this is of the"):
        tiny_edit().push_to_hub("lab/base")
    repository = hub.repositories["lab/base"]
    repository.files["README.md"] = b"# My own words"
    tiny_base(seed=1).push_to_hub("lab/base")
    assert repository.files["README.md"] == b"# My own words"
    same(cd.load_diffusion("lab/base"), tiny_base(seed=1))
    hub.repositories["lab/open"] = Repository(private=False)
    with pytest.raises(WeightsError, match="'lab/open' is public"):
        tiny_base().push_to_hub("lab/open")
    assert hub.repositories["lab/open"].files == {}
    tiny_base().save(tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("# Written beside it")
    push_folder(tmp_path / "base", "lab/other")
    assert hub.repositories["lab/other"].files["README.md"] == b"# Written beside it"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("smile", {}, "'smile' is no name of a repository, expected organisation/name"),
        ("lab/a/b", {}, "is no name of a repository"),
        ("lab/smile", {"private": False}, "a public model needs a licence"),
        ("lab/smile", {"licence": "cc-by-4"}, "Did you mean 'cc-by-4.0'?"),
        ("lab/smile", {"scores": "nowhere"}, "no scores.md in 'nowhere'"),
        ("lab/smile", {"picture": "nowhere.png"}, "cannot read the image 'nowhere.png'"),
    ],
)
def test_mistakes_are_said_before_anything_is_sent(hub, name, options, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        tiny_edit().push_to_hub(name, **options)
    assert hub.requests == []


def test_without_a_token_or_a_network(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(WeightsError, match="may not be written: set HF_TOKEN"):
        tiny_edit().push_to_hub("lab/smile")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="out of reach"):
        tiny_edit().push_to_hub("lab/smile")


def test_the_command_pushes_a_ready_edit_and_says_first_what_would_go(hub, capsys):
    words = ["push", "demo/smile", "lab/smile", "--license", "apache-2.0", "--json"]
    assert main([*words, "--dry-run"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["files"]) == {"README.md", "config.json", "model.safetensors"}
    weights = ready_folder("demo/smile") / "model.safetensors"
    assert said["files"]["model.safetensors"] == weights.stat().st_size
    assert "what is `serious` becomes `smiling`" in said["card"]
    assert hub.requests == []
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["address"] == f"{hub.address}/lab/smile"
    assert said["private"]
    same(cd.load_edit("lab/smile"), cd.load_edit("demo/smile"))
    stored = (ready_folder("demo/smile") / "config.json").read_bytes()
    assert hub.repositories["lab/smile"].files["config.json"] == stored


@pytest.mark.slow
def test_an_unclip_goes_with_its_parts(hub, tmp_path):
    from helpers.tiny_models import write_unclip

    write_unclip(tmp_path / "unclip")
    assert main(["push", str(tmp_path / "unclip"), "lab/unclip"]) == 0
    assert "decoder/model.safetensors" in hub.repositories["lab/unclip"].files
    assert "cd.load_unclip" in hub.repositories["lab/unclip"].files["README.md"].decode()
    found, wanted = cd.load_unclip("lab/unclip"), cd.load_unclip(tmp_path / "unclip")
    assert found.loaded == wanted.loaded
    same(found.part("decoder"), wanted.part("decoder"))
