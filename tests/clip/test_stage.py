"""The contrastive stage: its loss against the formula, and that it learns."""

import pickle
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.clip import stage as stage_module
from clipdiff_jax.clip.model import load_clip, save_clip
from clipdiff_jax.clip.stage import ClipStage, augment, build, contrastive_loss, words_loss
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.loader import batches
from clipdiff_jax.data.tokenize import TokenizerError
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, init_params
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig

WORDS = ("red", "green", "blue", "white")
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)


@dataclass
class Squares:
    """Pictures of one colour and noise, with captions that name the colour."""

    fingerprint: str = "squares"
    captions: bool = True

    def __len__(self):
        return 64

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        word = index % len(WORDS)
        noise = rng.integers(0, 60, (16, 16, 3))
        image = np.clip(COLORS[word] * 0.7 + noise, 0, 255).astype(np.uint8)
        texts = [f"a {WORDS[word]} square", f"{WORDS[word]} picture"]
        captions = {"captions": texts} if self.captions else {}
        return {"image": image, "attributes": {"color": WORDS[word]}, **captions}


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setattr(stage_module, "open_source", lambda data: Squares())
    vision = ModifiedResNetConfig(
        16, width=4, depths=(1, 1), heads=2, stem="space_to_depth", norm="group", norm_groups=2
    )
    text = TextConfig(560, 8, width=16, depth=1, heads=2, mlp_width=32, eos_token_id=1)
    network = CLIPConfig(vision, text, projection_dim=8)
    return ClipStage(data=AvatarsData(), clip=network, tokenizer_examples=8)


@pytest.mark.slow
def test_in_parts_loss_and_gradients_are_those_of_the_whole_batch(config):
    def gradients(parts):
        stage = build(replace(config, parts=parts))
        batch = next(batches(stage.source, batch_size=8, seed=0, transform=stage.transform))
        batch = jax.tree.map(jnp.asarray, batch)
        params = stage.init(jax.random.key(0))
        loss = lambda params: stage.loss(params, None, batch, jax.random.key(1))
        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    ((whole, aux), slopes), ((split, aux_of_parts), slopes_of_parts) = gradients(1), gradients(4)
    assert float(split) == pytest.approx(float(whole), rel=1e-5)
    assert float(aux_of_parts.metrics["image_to_text"]) == float(aux.metrics["image_to_text"])
    for found, expected in zip(*map(jax.tree.leaves, (slopes_of_parts, slopes)), strict=True):
        size = float(jnp.abs(expected).max())
        np.testing.assert_allclose(found, expected, atol=1e-4 * size + 1e-6)


def test_parts_that_do_not_divide_the_batch(config):
    stage = build(replace(config, parts=3))
    batch = next(batches(stage.source, batch_size=8, seed=0, transform=stage.transform))
    batch = jax.tree.map(jnp.asarray, batch)
    with pytest.raises(ValueError, match="8 examples does not divide into parts=3"):
        stage.loss(None, None, batch, jax.random.key(1))


def test_loss_is_the_mean_of_both_cross_entropies():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, 5, 7)).astype(np.float32)
    loss, aux = contrastive_loss(jnp.asarray(image), jnp.asarray(text), jnp.float32(3.0))
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    logits = 3 * image @ text.T
    log_softmax = lambda x, axis: x - np.log(np.exp(x).sum(axis, keepdims=True))
    both = [-np.diag(log_softmax(logits, axis)).mean() for axis in (0, 1)]
    assert float(loss) == pytest.approx(np.mean(both), rel=1e-5)
    right = np.mean(logits.argmax(1) == np.arange(5))
    assert float(aux.metrics["image_to_text"]) == pytest.approx(right)
    assert float(aux.metrics["temperature"]) == 3


def test_words_loss_is_the_cross_entropy_of_the_words_of_the_captions():
    rng = np.random.default_rng(0)
    image, kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 6), (6, 9), (9,)))
    head = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    tokens = jnp.array([[0, 4, 7, 4, 1], [0, 3, 1, 1, 1]])
    loss = words_loss(head, jnp.asarray(image), tokens, special=(0, 1))
    unit = image / np.linalg.norm(image, axis=1, keepdims=True)
    logits = np.sqrt(6) * unit @ kernel + bias
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -((log_p[0, 4] + log_p[0, 7]) / 2 + log_p[1, 3]) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_head_of_words_trains_and_is_not_exported(config, tmp_path):
    stage = build(replace(config, words=0.5))
    params = jax.jit(stage.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    groups = [stage.transform(stage.source[i], rng) for i in range(8)]
    batch = {name: jnp.stack([group[name] for group in groups]) for name in groups[0]}
    with_gradient = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
    (value, aux), gradient = with_gradient(params, None, batch, jax.random.key(1))
    plain, _ = jax.jit(build(config).loss)(
        {name: params[name] for name in params if name != "words"}, None, batch, jax.random.key(1)
    )
    assert float(value) == pytest.approx(float(plain + 0.5 * aux.metrics["words"]), rel=1e-5)
    assert float(jnp.abs(gradient["words"]["kernel"]).max()) > 0
    stage.export(tmp_path / "model", params)
    assert "words" not in load_clip(tmp_path / "model").params


def test_perfect_pairs_have_almost_no_loss():
    same = jnp.eye(4)
    loss, aux = contrastive_loss(same, 5 * same, jnp.float32(20.0))
    assert float(loss) < 1e-6
    assert float(aux.metrics["text_to_image"]) == 1


def test_augmentation_keeps_colours_and_is_random_per_image():
    images = jnp.broadcast_to(jnp.array([0.5, -0.5, 0.1]), (3, 16, 16, 3))
    out = augment(jax.random.key(0), images, 0.7, 0.0)
    np.testing.assert_allclose(out, images, atol=1e-5)
    noisy = augment(jax.random.key(0), images, 1.0, 0.5) - images
    levels = np.asarray(noisy).std(axis=(1, 2, 3))
    assert len(set(levels.round(3))) == 3
    assert (levels < 0.55).all()
    np.testing.assert_array_equal(augment(jax.random.key(0), images, 1.0, 0.0), images)


def test_transform_draws_one_caption_and_pickles(config):
    stage = build(config)
    transform = pickle.loads(pickle.dumps(stage.transform))
    group = stage.source[1]
    rows = {transform(group, np.random.default_rng(s))["tokens"].tobytes() for s in range(8)}
    assert len(rows) == 2
    out = transform(group, np.random.default_rng(0))
    assert out["image"].shape == (1, 16, 16, 3)
    assert out["tokens"].shape == (1, 8)


def test_groups_share_their_attributes_and_differ_in_members(config):
    stage = build(replace(config, group_by=("color",), group_size=3))
    assert len(stage.source) == 64
    seen = [stage.source[i] for i in range(64)]
    for index, group in enumerate(seen):
        colors = {member["attributes"]["color"] for member in group["members"]}
        assert colors == {WORDS[index % 4]}
    members = [tuple(m["image"].tobytes() for m in group["members"]) for group in seen]
    assert all(len(set(group)) == 3 for group in members)
    # every example comes first in one group, so all are seen equally often
    assert len({group[0] for group in members}) == 64
    assert build(config).source[5]["members"][0]["image"].shape == (16, 16, 3)
    with pytest.raises(ValueError, match=r"attribute 'colour' .+ Did you mean 'color'"):
        build(replace(config, group_by=("colour",), group_size=3))
    with pytest.raises(ValueError, match=r"group_size=1 does not go with group_by=\('color',\)"):
        replace(config, group_by=("color",))


@pytest.mark.slow
def test_starting_from_another_model_takes_what_fits(config, tmp_path, caplog):
    network = CLIPConfig(config.clip.vision, config.clip.text, projection_dim=8)
    old = jax.jit(partial(init_params, network))(jax.random.key(5))
    save_clip(tmp_path / "old", network, old, stage_module._tokenizer(config, Squares()))
    dense = replace(network.vision, pool="dense")
    caplog.set_level("INFO", "clipdiff_jax")
    stage = build(replace(config, clip=replace(network, vision=dense), start=str(tmp_path / "old")))
    assert "so new: vision/projection/bias, vision/projection/kernel" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, stage.start["text"], old["text"])
    wanted = jax.eval_shape(stage.init, jax.random.key(0))
    assert jax.tree.map(np.shape, stage.start) == jax.tree.map(np.shape, wanted)


@pytest.mark.slow
def test_it_learns_and_exports_what_load_clip_reads(config, tmp_path):
    stage = build(config)
    optim = OptimConfig(learning_rate=1e-2)
    state = fit(stage, TrainConfig(steps=40, batch_size=8, log_every=40, optim=optim), tmp_path)
    clip = load_clip(tmp_path)
    images = np.stack([Squares()[i]["image"] for i in range(16)]).astype(np.float32) / 127.5 - 1
    texts = clip.embed_texts([f"a {word} square" for word in WORDS])
    similarity = clip.embed_images(images) @ texts.T / jnp.linalg.norm(texts, axis=1)
    right = np.asarray(similarity.argmax(1)) == np.arange(16) % 4
    assert right.mean() > 0.8
    jax.tree.map(np.testing.assert_array_equal, clip.params, state.params)


def test_what_does_not_fit_is_named(config, monkeypatch, tmp_path):
    text = config.clip.text
    other = lambda **changes: replace(
        config, clip=replace(config.clip, text=replace(text, **changes))
    )
    with pytest.raises(ValueError, match=r"eos_token_id is 49407, but .* with 1"):
        build(other(eos_token_id=49407))
    with pytest.raises(TokenizerError, match=r"no 'tokenizer.json'"):
        build(replace(config, tokenizer=str(tmp_path)))
    for name, content in stage_module._tokenizer(config, Squares()).files().items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ ids, .* is 520"):
        build(replace(other(vocab_size=520), tokenizer=str(tmp_path)))
    monkeypatch.setattr(stage_module, "open_source", lambda data: Squares(captions=False))
    with pytest.raises(ValueError, match="AvatarsData has no captions"):
        build(config)
