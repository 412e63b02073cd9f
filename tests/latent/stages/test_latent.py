"""Stage `latent`: what it learns, latents computed once, what it exports and refuses."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_latent import CAPTIONS, SIZE
from helpers.tiny_models import pictures

import clipdiff_jax as cd
from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.latent.load import save_latent
from clipdiff_jax.latent.stages.latent import LatentStage, make_stage
from clipdiff_jax.latent.stages.latents import stored_latents
from clipdiff_jax.models.unet_config import UNetConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.weights.params import flatten

CONFIG = LatentStage(data=AvatarsData(size=SIZE), start="a model", preview_count=2, preview_steps=2)


class Captioned:
    """A picture for each caption."""

    fingerprint = "captioned"
    images = np.round((pictures(3, SIZE) + 1) * 127.5).astype(np.uint8)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"image": self.images[index], "captions": [CAPTIONS[index]]}


@pytest.fixture(scope="module")
def model():
    return tiny_latent.model()


@pytest.mark.slow
def test_the_loss_falls_and_what_is_exported_is_opened(model, tmp_path):
    stage = make_stage(CONFIG, Captioned(), model)
    train = TrainConfig(
        steps=40, batch_size=8, ema=0.9, log_every=40, optim=OptimConfig(learning_rate=3e-3)
    )
    batch = {
        "image": jnp.asarray(Captioned.images / 127.5 - 1, jnp.float32),
        "tokens_0": jnp.asarray(model.tokenizers[0](CAPTIONS)),
    }
    loss = jax.jit(stage.loss)
    keys = jax.random.split(tiny_latent.KEY, 9)
    mean = lambda params: np.mean([loss(params, stage.frozen, batch, key)[0] for key in keys])
    state = fit(stage, train, tmp_path)
    assert mean(state.params) < 0.7 * mean(model.unet)
    loaded = cd.load_latent(tmp_path)
    assert loaded.config == model.config
    trained = flatten(state.ema)
    for name, found in flatten(loaded.unet).items():
        np.testing.assert_array_equal(found, trained[name])
    np.testing.assert_array_equal(
        loaded.embed_texts(CAPTIONS).context, model.embed_texts(CAPTIONS).context
    )


def test_latents_that_are_computed_once_are_those_of_the_pictures(model, tmp_path):
    stored = stored_latents(tmp_path / "latents", Captioned(), model.codec, SIZE)
    images = jnp.asarray(Captioned.images / 127.5 - 1, jnp.float32)
    np.testing.assert_allclose(
        np.stack([stored[i]["latent"] for i in range(3)]),
        model.encode(images),
        rtol=1e-4,
        atol=1e-5,
    )
    assert stored[1]["captions"] == [CAPTIONS[1]]
    assert "codec" not in make_stage(CONFIG, stored, model).frozen
    again = stored_latents(tmp_path / "latents", Captioned(), model.codec, SIZE)
    np.testing.assert_array_equal(again[2]["latent"], stored[2]["latent"])
    other = replace(model.codec, params=jax.tree.map(lambda p: p + 1, model.codec.params))
    with pytest.raises(ValueError, match="has the latents of data"):
        stored_latents(tmp_path / "latents", Captioned(), other, SIZE)


def test_a_text_that_is_left_out_is_the_empty_one(model):
    batch = {"latent": jax.random.normal(tiny_latent.KEY, (3, 8, 8, 4))}
    ids = model.tokenizers[0]
    values = []
    for share, texts in ((1.0, CAPTIONS), (0.0, ["", "", ""])):
        stage = make_stage(replace(CONFIG, drop_text=share), Captioned(), model)
        tokens = {"tokens_0": jnp.asarray(ids(texts))}
        values.append(
            jax.jit(stage.loss)(model.unet, stage.frozen, batch | tokens, jax.random.key(0))[0]
        )
    np.testing.assert_allclose(values[0], values[1], rtol=1e-6)


def test_a_folder_of_a_latent_model_is_read_as_it_was(model, tmp_path):
    save_latent(tmp_path / "saved", model)
    loaded = cd.load_latent(tmp_path / "saved")
    assert loaded.config == model.config
    assert loaded.tokenizers == model.tokenizers
    for part in ("unet", "autoencoder", "texts"):
        jax.tree.map(np.testing.assert_array_equal, getattr(loaded, part), getattr(model, part))


def test_the_recipe_needs_neither_data_nor_models_to_be_compiled():
    stage = load_config("avatars/latent", RunConfig).stage.outline()
    params = jax.eval_shape(stage.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 8_724_004
    row = stage.transform(stage.source[0], np.random.default_rng(0))
    batch = {name: jnp.asarray(value)[None] for name, value in row.items()}
    assert batch["latent"].shape == (1, 16, 16, 4)
    loss, _ = jax.eval_shape(stage.loss, params, stage.frozen, batch, jax.random.key(0))
    assert loss.shape == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_text": 1.5}, "drop_text must be a share between 0 and 1, got 1.5"),
        ({"unet": UNetConfig()}, "start 'a model' and unet are both given"),
        ({"start": None}, "give `start`, or both `unet` and `autoencoder`"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **options)


def test_data_without_captions_and_models_of_other_tasks_are_refused(model):
    class Wordless(Captioned):
        def __getitem__(self, index):
            return {"image": self.images[index]}

    with pytest.raises(ValueError, match="AvatarsData has no captions"):
        make_stage(CONFIG, Wordless(), model)
    with pytest.raises(ValueError, match="task is 'inpaint'"):
        make_stage(CONFIG, Captioned(), tiny_latent.model(task="inpaint"))
