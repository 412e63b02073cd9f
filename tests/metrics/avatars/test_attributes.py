import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.data.avatars.faces import draw_face, labels, render, split_of
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.metrics.avatars import attributes
from clipdiff_jax.metrics.avatars.attributes import AttributeClassifier, AttributesConfig
from clipdiff_jax.weights.folder import save_folder

TINY = AttributesConfig(
    image_size=16,
    widths=(16,),
    vocabulary=(("skin", ("pale", "dark")), ("beard", ("no", "yes"))),
)


def test_labels_that_are_not_shown_cost_nothing():
    logits = {"skin": jnp.array([[2.0, 0.0], [0.0, 0.0]]), "beard": jnp.array([[0.0, 5.0]] * 2)}
    labels = jnp.array([[0, -1], [-1, -1]])
    loss = attributes.masked_cross_entropy(TINY, logits, labels)
    assert float(loss) == pytest.approx(np.log1p(np.exp(-2)), rel=1e-6)


def test_label_indices_follow_the_vocabulary():
    np.testing.assert_array_equal(attributes.label_indices(TINY, {"skin": "dark"}), [1, -1])
    config = AttributesConfig()
    face = draw_face(0, 0, ("lorelei",), 1.0)
    indices = attributes.label_indices(config, labels(face))
    for index, (name, words) in zip(indices, config.vocabulary, strict=True):
        assert (words[index] if index >= 0 else None) == labels(face).get(name)


def test_augmentation_keeps_the_picture_recognisable():
    images = jnp.broadcast_to(jnp.linspace(-1, 1, 16)[None, None, :, None], (4, 16, 16, 3))
    changed = jax.jit(attributes.augment)(images, jax.random.key(0))
    assert changed.shape == images.shape
    assert 0.01 < float(jnp.abs(changed - images).mean()) < 0.4


@pytest.mark.slow
def test_training_learns_what_is_plain_to_see(tmp_path, monkeypatch):
    pytest.importorskip("dicebear")
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path))
    from clipdiff_jax.data.avatars.styles import ATTRIBUTES

    vocabulary = (("background", tuple(ATTRIBUTES["background"])),)
    config = AttributesConfig(image_size=16, widths=(16,), vocabulary=vocabulary)
    source = open_avatars(AvatarsData(16, count=64, styles=("avataaars",)), workers=1)
    params = attributes.train(source, config, steps=100, batch_size=32, seed=0)
    classifier = AttributeClassifier(config, params, {})
    images = np.stack([source[i]["image"] for i in range(64)]).astype(np.float32) / 127.5 - 1
    said = [words["background"] for words in classifier.predict(images)]
    assert np.mean([w == face.background for w, face in zip(said, source.faces, strict=True)]) > 0.8

    folder = attributes.save(
        AttributeClassifier(config, params, {"avataaars": {"background": 0.9}}), tmp_path / "out"
    )
    loaded = attributes.load_attributes(folder)
    assert loaded.config == config
    assert loaded.accuracy == {"avataaars": {"background": 0.9}}
    np.testing.assert_allclose(
        loaded.logits(images)["background"], classifier.logits(images)["background"], atol=0.1
    )


def test_images_of_other_sizes_are_resized(tmp_path):
    network = attributes.AttributeNetwork(TINY)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    classifier = AttributeClassifier(TINY, params, {})
    images = np.full((2, 40, 40, 3), 0.5, np.float32)
    np.testing.assert_allclose(
        classifier.logits(images)["skin"], classifier.logits(images[:, :16, :16])["skin"], atol=1e-5
    )


def test_a_model_of_another_kind_is_refused(tmp_path):
    save_folder(tmp_path / "m", {"kind": "clip"}, {"a": np.zeros(1)})
    with pytest.raises(ValueError, match="kind 'clip'"):
        attributes.load_attributes(tmp_path / "m")


def test_the_built_in_classifier_reads_held_out_faces():
    pytest.importorskip("dicebear")
    classifier = attributes.load_attributes()
    draws = (draw_face(77, i, ("avataaars",), 1.0) for i in range(1000))
    faces = list(itertools.islice((f for f in draws if split_of(f) == "test"), 20))
    said = classifier.predict(to_float(np.stack([render(face, 64) for face in faces])))
    pairs = zip(said, map(labels, faces), strict=True)
    hits = [words[name] == word for words, shown in pairs for name, word in shown.items()]
    assert np.mean(hits) > 0.98
    assert classifier.accuracy["avataaars"]["mouth"] > 0.98
