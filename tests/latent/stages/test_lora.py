"""Changes of low rank of a latent model: where they begin, what is exported, who reads it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_latent
from helpers.tiny_latent import CAPTIONS, SIZE
from helpers.tiny_models import drawn, pictures
from safetensors.numpy import load_file

import clipdiff_jax as cd
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.latent.load import save_latent
from clipdiff_jax.latent.stages.latent import LatentStage, make_stage
from clipdiff_jax.models.lora import merged
from clipdiff_jax.weights.lora_writing import FILE
from clipdiff_jax.weights.params import flatten

CONFIG = LatentStage(data=AvatarsData(size=SIZE), start="a model", lora=2)


class Captioned:
    """A grey picture."""

    fingerprint = "captioned"

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return {"image": np.full((SIZE, SIZE, 3), 127, np.uint8), "captions": CAPTIONS[:1]}


def with_change(model, config=CONFIG):
    stage = make_stage(config, Captioned(), model)
    return stage, jax.tree.map(lambda p: 0.3 * p, drawn(stage.init, 0))


@pytest.mark.slow
def test_it_begins_as_the_model_and_only_the_change_is_trained():
    model = tiny_latent.model()
    stage, _ = with_change(model)
    batch = {
        "image": jnp.asarray(pictures(1, SIZE)),
        "tokens_0": jnp.asarray(model.tokenizers[0](CAPTIONS[:1])),
    }
    key = jax.random.key(0)
    whole = make_stage(replace(CONFIG, lora=None), Captioned(), model)
    wanted = jax.jit(whole.loss)(model.unet, whole.frozen, batch, key)[0]
    start = stage.init(key)
    of_change = jax.value_and_grad(lambda p: stage.loss(p, stage.frozen, batch, key)[0])
    value, slope = jax.jit(of_change)(start)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    layers = {name.rpartition("/")[0] for name in flatten(start)}
    assert len(layers) > 1
    assert all("/blocks/self_" in name or "/blocks/cross_" in name for name in layers)
    assert any(np.abs(g).max() > 0 for name, g in flatten(slope).items() if name.endswith("up"))


@pytest.mark.slow
@pytest.mark.parametrize("kernels", [CONFIG.lora_kernels, "conv_|attn|time|resample"])
def test_what_is_exported_is_read_by_the_names_of_diffusers(tmp_path, kernels):
    model = tiny_latent.model()
    save_latent(tmp_path / "base", model)
    config = replace(CONFIG, lora_kernels=kernels, start=str(tmp_path / "base"))
    stage, change = with_change(model, config)
    stage.export(tmp_path / "run" / "model", change)
    loaded = cd.load_latent(tmp_path / "base", loras=(tmp_path / "run", 0.5))
    wanted = flatten(merged(model.unet, change, 0.5))
    for name, found in flatten(loaded.unet).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-5, atol=1e-6)
    tensors = load_file(tmp_path / "run" / "model" / FILE)
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    assert tensors[name].shape == (2, model.config.unet.context_width)
    assert len(tensors) == len({n for n in flatten(change) if n.endswith("up")}) * 2


def test_what_makes_no_sense_is_refused():
    for options, said in (
        ({"lora": 0}, "lora"),
        ({"start": None, "unet": tiny_latent.config().unet, "autoencoder": "a"}, "give `start`"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(CONFIG, **options)
    with pytest.raises(ValueError, match="no kernel"):
        with_change(tiny_latent.model(), replace(CONFIG, lora_kernels="nothing"))
