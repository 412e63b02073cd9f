"""Karlo's networks give the numbers of diffusers', and every tensor of its release has a place."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.decoder_conditioning import DecoderConditioning, DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPrior, DiffusionPriorConfig
from clipdiff_jax.models.unclip import Decoder, Prior, Upsampler
from clipdiff_jax.models.unet import UNet, UNetConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import (
    clip_transformers,
    decoder_diffusers,
    prior_diffusers,
    unet_diffusers,
)
from clipdiff_jax.weights.layouts.schedule_diffusers import read_scheduler
from clipdiff_jax.weights.layouts.unclip_diffusers import network_shapes, tables
from clipdiff_jax.weights.tables import expected, export_params, import_params

TOLERANCE = 1e-4
RELEASE = json.loads((REFERENCES / "karlo.json").read_text())
KARLO_UNET = {"time_order": "cos_sin", "time_shift": 0.0, "norm_eps": 1e-5, "blocks": 3}


def relative_error(ours, theirs) -> float:
    return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


def document(component: str) -> dict:
    return RELEASE[component]["config"]


def released_stages() -> list:
    decoder = decoder_diffusers.read_config(document("decoder"))
    conditioning = decoder_diffusers.read_conditioning(document("text_proj"))
    return [
        Prior(prior_diffusers.read_config(document("prior"))),
        Decoder(decoder, conditioning),
        Upsampler(unet_diffusers.read_config(document("super_res_first"))),
    ]


@pytest.mark.slow
def test_every_tensor_of_the_release_fits_at_full_size():
    counts = {}
    for stage in released_stages():
        shapes = network_shapes(stage)
        for name, (component, table) in tables(stage).items():
            theirs = {n: tuple(s) for n, s in RELEASE[component]["tensors"].items()}
            assert expected(table, shapes[name]) == theirs
            sizes = [int(np.prod(shape)) for shape in theirs.values()]
            counts[component] = (len(sizes), round(sum(sizes) / 1e6, 1))
    assert counts == {
        "prior": (338, 1022.0), "text_proj": (11, 7.9), "decoder": (716, 885.4),
        "super_res_first": (408, 691.6), "super_res_last": (408, 691.6),
    }  # fmt: skip


def test_configs_of_the_release():
    assert prior_diffusers.read_config(document("prior")) == DiffusionPriorConfig()
    conditioning = decoder_diffusers.read_conditioning(document("text_proj"))
    assert conditioning == DecoderConditioningConfig()
    decoder = decoder_diffusers.read_config(document("decoder"))
    assert decoder == UNetConfig(
        out_channels=6, channels=(320, 640, 960, 1280), attention_levels=(1, 2, 3), head_width=64,
        scale_shift=True, residual_resampling=True, downsample_padding="both", pooled_width=1280,
        pooled_projection=False, context_width=1536, **KARLO_UNET,
    )  # fmt: skip
    assert decoder_diffusers.read_config(decoder_diffusers.write_config(decoder, 64)) == decoder
    text = TextConfig(width=768, heads=12, mlp_width=3072, eos_token_id=2)
    assert clip_transformers.read_text(document("text_encoder")) == text
    first, last = (document(f"super_res_{which}") for which in ("first", "last"))
    assert unet_diffusers.read_config(first) == unet_diffusers.read_config(last)
    assert read_scheduler(document("prior_scheduler"), "x0", "small") == (KarloSchedule(), 5.0)
    assert read_scheduler(document("decoder_scheduler"), "eps", "learned") == (KarloSchedule(), 1.0)


def assert_round_trip(table, params, state):
    back = export_params(table, params)
    assert set(back) == set(state)
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_layers": 1, "num_attention_heads": 4},
        {"embedding_dim": 24, "attention_head_dim": 12},
        {"num_embeddings": 5, "num_layers": 3},
        {"num_attention_heads": 1, "attention_head_dim": 10, "embedding_dim": 6},
    ],
)
def test_prior_equals_diffusers(changes):
    torch = pytest.importorskip("torch")
    from make_karlo import document_of, random_prior, state_of

    model = random_prior(1, **changes)
    config = prior_diffusers.read_config(document_of(model))
    assert prior_diffusers.read_config(prior_diffusers.write_config(config)) == config
    rng = np.random.default_rng(0)
    length, width = config.text_length, config.embedding_width
    z, embedding = rng.normal(size=(2, 3, width)).astype(np.float32)
    hidden = rng.normal(size=(3, length, width)).astype(np.float32)
    mask = np.arange(length) < np.array([[2], [length], [length - 1]])
    t = np.array([0, 500, 999])
    with torch.no_grad():
        theirs = model(*map(torch.tensor, (z, t, embedding, hidden, mask)))
        theirs = theirs.predicted_image_embedding
        restored = model.post_process_latents(theirs)
    state = state_of(model)
    params = import_params(prior_diffusers.TABLE, state, network_shapes(Prior(config))["prior"])
    network = DiffusionPrior(config)
    cond = {"embedding": embedding, "hidden": hidden, "mask": mask}
    ours = jax.jit(network.apply)({"params": params}, z, t, jax.tree.map(jnp.asarray, cond))
    assert relative_error(ours, theirs.numpy()) < TOLERANCE
    back = network.apply({"params": params}, ours, method="restore")
    assert relative_error(back, restored.numpy()) < TOLERANCE
    assert_round_trip(prior_diffusers.TABLE, params, state)


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layers_per_block": 2, "attention_head_dim": 4},
        {
            "down_block_types": 2 * ("SimpleCrossAttnDownBlock2D",),
            "up_block_types": 2 * ("SimpleCrossAttnUpBlock2D",), "sample_size": 8,
        },
        {
            "block_out_channels": (8, 8, 16),
            "down_block_types": (*2 * ("ResnetDownsampleBlock2D",), "SimpleCrossAttnDownBlock2D"),
            "up_block_types": ("SimpleCrossAttnUpBlock2D", *2 * ("ResnetUpsampleBlock2D",)),
        },
        {"flip_sin_to_cos": False, "freq_shift": 1, "cross_attention_dim": 20},
        {"time_embedding_dim": 24, "out_channels": 3, "layers_per_block": (1, 2)},
    ],
)  # fmt: skip
def test_decoder_equals_diffusers(changes):
    torch = pytest.importorskip("torch")
    from make_karlo import document_of, random_decoder, state_of

    model = random_decoder(1, **changes)
    config = decoder_diffusers.read_config(document_of(model))
    size = model.config.sample_size
    assert decoder_diffusers.read_config(decoder_diffusers.write_config(config, size)) == config
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, size, size, 3)).astype(np.float32)
    cond = {
        "pooled": rng.normal(size=(2, config.embedding_width)).astype(np.float32),
        "context": rng.normal(size=(2, 5, config.context_width)).astype(np.float32),
        "context_mask": np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], bool),
    }
    t = np.array([3, 731])
    with torch.no_grad():
        theirs = model(
            torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(t), torch.tensor(cond["context"]),
            class_labels=torch.tensor(cond["pooled"]),
            attention_mask=torch.tensor(cond["context_mask"]),
        ).sample  # fmt: skip
    state, table = state_of(model), decoder_diffusers.table(config)
    network = UNet(config)
    x, t, cond = jax.tree.map(jnp.asarray, (x, t, cond))
    init = partial(network.init, jax.random.key(0), x, t, cond)
    params = import_params(table, state, jax.eval_shape(init)["params"])
    ours = jax.jit(network.apply)({"params": params}, x, t, cond)
    assert relative_error(ours, theirs.permute(0, 2, 3, 1).numpy()) < TOLERANCE
    assert_round_trip(table, params, state)


@pytest.mark.parity
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clip_extra_context_tokens": 3},
        {"clip_embeddings_dim": 20, "clip_extra_context_tokens": 1},
        {"time_embed_dim": 7, "cross_attention_dim": 5},
        {"clip_embeddings_dim": 6, "cross_attention_dim": 30, "clip_extra_context_tokens": 8},
    ],
)
def test_conditioning_equals_diffusers(changes):
    torch = pytest.importorskip("torch")
    from make_karlo import document_of, random_text_proj, state_of

    model = random_text_proj(1, **changes)
    config = decoder_diffusers.read_conditioning(document_of(model))
    again = decoder_diffusers.write_conditioning(config)
    assert decoder_diffusers.read_conditioning(again) == config
    rng = np.random.default_rng(0)
    width = config.embedding_width
    image, text, empty = rng.normal(size=(3, 2, width)).astype(np.float32)
    hidden, nothing = rng.normal(size=(2, 2, 4, width)).astype(np.float32)
    with torch.no_grad():
        context, pooled = model(
            image_embeddings=torch.tensor(image),
            prompt_embeds=torch.tensor(np.concatenate([empty, text])),
            text_encoder_hidden_states=torch.tensor(np.concatenate([nothing, hidden])),
            do_classifier_free_guidance=True,
        )
    state, table = state_of(model), decoder_diffusers.CONDITIONING_TABLE
    network, mask, ids = DecoderConditioning(config), jnp.ones((2, 4), bool), jnp.zeros((2, 4), int)
    image, text, empty, hidden, nothing = map(jnp.asarray, (image, text, empty, hidden, nothing))
    init = partial(network.init, jax.random.key(0), image, text, hidden, mask, ids)
    params = import_params(table, state, jax.eval_shape(init)["params"])
    variables = {"params": params}
    ours = network.apply(variables, image, text, hidden, mask, ids)
    null = network.apply(variables, image, empty, nothing, mask, ids, jnp.zeros(2, bool))
    for name, theirs in (("context", context.numpy()), ("pooled", pooled.numpy())):
        both = np.concatenate([null[name], ours[name]])
        assert relative_error(both, theirs) < TOLERANCE
    assert ours["context_mask"].shape == ours["context"].shape[:2]
    assert_round_trip(table, params, state)


@pytest.mark.parametrize(
    ("read", "component", "changes", "message"),
    [
        (prior_diffusers.read_config, "decoder", {}, "describes 'UNet2DConditionModel', expected"),
        (prior_diffusers.read_config, "prior", {"norm_in_type": "layer"}, "norm_in_type 'layer'"),
        (prior_diffusers.read_config, "prior", {"clip_embed_dim": 5}, "clip_embed_dim 5, .+ 768"),
        (decoder_diffusers.read_config, "prior", {}, "describes 'PriorTransformer', expected"),
        (
            decoder_diffusers.read_config, "decoder",
            {"down_block_types": ["SimpleCrossAttnDownBlock2d"]}, "mean 'SimpleCrossAttnDown",
        ),
        (
            decoder_diffusers.read_config, "decoder", {"up_block_types": ["ResnetUpsampleBlock2D"]},
            "do not mirror",
        ),
        (decoder_diffusers.read_config, "decoder", {"class_embed_type": None}, "supported is 'id"),
        (decoder_diffusers.read_config, "decoder", {"attention_head_dim": [8, 8]}, "one number"),
        (decoder_diffusers.read_conditioning, "decoder", {}, "expected 'UnCLIPTextProjModel'"),
        (partial(read_scheduler, prediction="eps", variance="learned"), "prior_scheduler", {},
         "prediction_type 'sample', supported is 'epsilon'"),
    ],
)  # fmt: skip
def test_mistaken_configs_are_named(read, component, changes, message):
    with pytest.raises(WeightsError, match=message):
        read(document(component) | changes)


def test_what_the_decoder_of_diffusers_cannot_be_is_named():
    decoder = decoder_diffusers.read_config(document("decoder"))
    with pytest.raises(WeightsError, match="cannot express this network's patch"):
        decoder_diffusers.write_config(UNetConfig(**{**vars(decoder), "patch": 2}), 64)
    with pytest.raises(ValueError, match=re.escape("that of the time embedding, 1280")):
        UNetConfig(**{**vars(decoder), "pooled_width": 768})
