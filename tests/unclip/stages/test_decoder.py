"""Stage `decoder`: what it drops, where it starts, and that it learns to look at embeddings."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_decoder import CONDITIONING, UNET, Pictures
from helpers.tiny_karlo import write_karlo
from helpers.tiny_models import SIZE, pictures, tiny_base, tiny_clip

from clipdiff_jax.clip.model import save_clip
from clipdiff_jax.data.embeddings import EmbeddingsData, open_embeddings, write_embeddings
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.unclip import Decoder, init_params
from clipdiff_jax.pixel.load import save_diffusion
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.load import load_unclip, read_part
from clipdiff_jax.unclip.stages.decoder import DecoderStage, build, make_stage
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts.unclip_ours import read_part_folder, write_part
from clipdiff_jax.weights.params import fingerprint, flatten

MODEL = Decoder(
    UNET, CONDITIONING, SIZE, DiscreteSchedule("squared_cosine", 100), learned_variance=False
)
CONFIG = DecoderStage(data=FolderData("images"), model=MODEL, preview_count=2, preview_steps=2)


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture(scope="module")
def stage(clip):
    return make_stage(CONFIG, Pictures(), clip)


@pytest.fixture(scope="module")
def batch(stage):
    rng = np.random.default_rng(0)
    rows = [stage.transform(stage.source[i], rng) for i in range(4)]
    return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def params(stage):
    """No weight is zero, so that every output depends on every input."""
    from helpers.tiny_models import stirred

    return stirred(jax.jit(stage.init)(jax.random.key(0)), 0, 0.1)


@pytest.mark.slow
def test_stored_embeddings_are_those_it_computes(clip, stage, params, batch):
    z = np.asarray(clip.embed_images(batch["image"]))
    stored = make_stage(CONFIG, Pictures(z), clip)
    assert "image" in stage.frozen
    assert "image" not in stored.frozen
    key = jax.random.key(3)
    a, _ = jax.jit(stage.loss)(params, stage.frozen, batch, key)
    b, _ = jax.jit(stored.loss)(params, stored.frozen, batch | {"embedding": jnp.asarray(z)}, key)
    assert float(a) == pytest.approx(float(b), rel=1e-5)


@pytest.mark.slow
def test_what_is_dropped_is_not_seen(clip, stage, params, batch):
    key = jax.random.key(1)
    other = batch | {"embedding": jax.random.normal(key, (4, 8))}
    words = batch | {"tokens": jnp.asarray(clip.tokenizer(["smiling"] * 4))}

    def losses(**drop) -> list[float]:
        source = Pictures(np.asarray(other["embedding"]))
        loss = jax.jit(make_stage(replace(CONFIG, **drop), source, clip).loss)
        z = {"embedding": clip.embed_images(batch["image"])}
        return [float(loss(params, stage.frozen, b, key)[0]) for b in (batch | z, other, words | z)]

    same, of_other, of_words = losses(drop_image=1.0, drop_text=0.0)
    assert same == of_other
    assert abs(same - of_words) > 1e-6
    same, of_other, of_words = losses(drop_image=0.0, drop_text=1.0)
    assert same == of_words
    assert abs(same - of_other) > 1e-6


@pytest.mark.slow
def test_it_learns_to_look_at_embeddings(clip, tmp_path):
    save_clip(tmp_path / "clip", clip.config, clip.params, clip.tokenizer)
    # Far apart, as those of a trained CLIP are.
    z = 3 * np.eye(8, dtype=np.float32)[:4]
    stage = make_stage(replace(CONFIG, drop_image=0.2), Pictures(z), clip)
    optim = OptimConfig(learning_rate=1e-2, warmup=10)
    train = TrainConfig(steps=300, batch_size=16, ema=0.95, log_every=300, optim=optim)
    state = fit(stage, train, tmp_path / "decoder")
    rng = np.random.default_rng(0)
    rows = [stage.transform(stage.source[i], rng) for i in range(16)]
    own = {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
    others = own | {"embedding": jnp.roll(own["embedding"], 1, axis=0)}
    loss = jax.jit(stage.loss)
    keys = jax.random.split(jax.random.key(0), 8)
    with_own, with_others = (
        np.mean([loss(state.params, stage.frozen, batch, key)[0] for key in keys])
        for batch in (own, others)
    )
    assert with_own < 0.6  # 1 is what a network that says nothing has
    assert with_others > 1.005 * with_own
    model = load_unclip(tmp_path)
    assert set(model.loaded) == {"text", "image", "decoder"}
    for sampler in ("ancestral", "ddim", "dpm_solver"):
        options = {"key": jax.random.key(0), "steps": 4, "sampler": sampler}
        away = model.decode(z, guidance=0.0, **options)
        without = model.decode(None, [""] * 4, guidance=1.0, **options)
        np.testing.assert_allclose(away, without, atol=3e-4)
        assert np.abs(model.decode(z, guidance=1.0, **options) - without).max() > 1e-3


def test_it_starts_from_an_unconditional_model(clip, tmp_path, caplog):
    caplog.set_level("INFO", "clipdiff_jax")
    base = tiny_base()
    save_diffusion(tmp_path / "base", base.config, base.params)
    stage = make_stage(replace(CONFIG, start_base=str(tmp_path / "base")), Pictures(), clip)
    np.testing.assert_array_equal(
        stage.start["unet"]["conv_in"]["kernel"], base.params["conv_in"]["kernel"]
    )
    assert "new: " in caplog.text
    assert jax.tree.map(jnp.shape, stage.start) == jax.tree.map(
        jnp.shape, jax.eval_shape(stage.init, jax.random.key(0))
    )


@pytest.mark.slow
def test_it_starts_from_a_decoder_without_the_last_stage_at_full_resolution(clip, tmp_path):
    before = replace(MODEL, network=replace(UNET, patch=2))
    params = jax.jit(partial(init_params, before))(jax.random.key(1))
    write_part(tmp_path / "decoder", before, params)
    refined = replace(before, network=replace(before.network, refine_channels=8))
    config = replace(CONFIG, model=refined, start=str(tmp_path / "decoder"))
    start = flatten(make_stage(config, Pictures(), clip).start)
    for name, value in flatten(params).items():
        np.testing.assert_array_equal(start[name], value)
    assert {name: value.shape for name, value in start.items()} == {
        name: value.shape
        for name, value in flatten(
            jax.eval_shape(partial(init_params, refined), jax.random.key(0))
        ).items()
    }
    deeper = replace(refined, network=replace(refined.network, blocks=2))
    with pytest.raises(ValueError, match="has the decoder"):
        make_stage(replace(config, model=deeper), Pictures(), clip)


def test_it_starts_from_karlo_and_goes_on_as_karlo(tmp_path):
    """A tiny Karlo, fine-tuned by a step of no length, is the same and loads as a stage of ours."""
    config, params = read_part(write_karlo(tmp_path / "karlo"), "decoder")
    clip = tiny_clip()
    with pytest.raises(ValueError, match=r"model\.conditioning\.embedding_width is"):
        make_stage(replace(CONFIG, model=config, start=str(tmp_path / "karlo")), Pictures(), clip)
    with pytest.raises(ValueError, match="has the decoder"):
        make_stage(replace(CONFIG, start=str(tmp_path / "karlo")), Pictures(), clip)
    write_part(tmp_path / "decoder", config, params)
    again, stored, of = read_part_folder(tmp_path / "decoder", "decoder")
    assert (again, of) == (config, "")
    jax.tree.map(np.testing.assert_array_equal, stored, params)


@pytest.mark.slow
def test_a_text_encoder_of_its_own_is_trained(clip, batch):
    text = TextConfig(600, 12, width=16, depth=1, heads=2, mlp_width=32, eos_token_id=1)
    model = replace(MODEL, conditioning=replace(CONDITIONING, text_encoder=text))
    stage = make_stage(replace(CONFIG, model=model, drop_text=0.0), Pictures(), clip)
    params = jax.jit(stage.init)(jax.random.key(0))
    assert params["conditioning"]["text"]["token_embedding"]["embedding"].shape == (600, 16)
    from helpers.tiny_models import stirred

    grads = jax.jit(jax.grad(lambda p: stage.loss(p, stage.frozen, batch, jax.random.key(0))[0]))
    of_text = grads(stirred(params, 0, 0.1))["conditioning"]["text"]
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(of_text))


def test_what_does_not_fit_is_named(clip, tmp_path):
    save_clip(tmp_path / "clip", clip.config, clip.params, clip.tokenizer)
    (tmp_path / "images").mkdir()
    from PIL import Image

    Image.fromarray(to_uint8(pictures(1)[0])).save(tmp_path / "images" / "0.png")
    data = FolderData(str(tmp_path / "images"))
    config = replace(CONFIG, data=data, clip=str(tmp_path / "clip"))
    with pytest.raises(ValueError, match="FolderData has no captions"):
        build(config)
    z = [{"embedding": np.zeros(8, np.float32)}]
    write_embeddings(tmp_path / "e", z, data="others", clip=fingerprint(clip.params))
    assert len(open_embeddings(EmbeddingsData(str(tmp_path / "e")))) == 1
    with pytest.raises(ValueError, match=r"of data others and CLIP .+ embed the data again"):
        build(replace(config, embeddings=str(tmp_path / "e")))
    with pytest.raises(ValueError, match=r"network\.context_width is 8, but .+ is 9"):
        replace(MODEL, conditioning=replace(CONDITIONING, context_width=9))
    with pytest.raises(ValueError, match="expected one"):
        replace(CONFIG, start="a", start_base="b")
    with pytest.raises(ValueError, match="drop_image must be a share"):
        replace(CONFIG, drop_image=-0.1)
    with pytest.raises(WeightsError, match=r"no file or folder|no stage"):
        read_part(tmp_path / "nothing", "decoder")


def test_stages_of_two_clips_do_not_mix(clip, tmp_path):
    other = tiny_clip(7)
    save_clip(tmp_path / "clip", other.config, other.params, other.tokenizer)
    stage = make_stage(CONFIG, Pictures(), clip)
    stage.export(tmp_path / "decoder", jax.jit(stage.init)(jax.random.key(0)))
    with pytest.raises(WeightsError, match="was trained with the CLIP"):
        load_unclip(tmp_path)
