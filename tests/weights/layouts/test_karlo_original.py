"""Karlo's own names: every tensor of its release, and the very parameters of diffusers' layout."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers.paths import REFERENCES
from helpers.tiny_karlo import stored

import clipdiff_jax as cd
from clipdiff_jax.models.clip import LEGACY_EOS_TOKEN_ID, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    Prior,
    TextEncoder,
    Upsampler,
    init_params,
)
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import (
    clip_openai,
    decoder_diffusers,
    karlo_original,
    prior_diffusers,
    unet_diffusers,
)
from clipdiff_jax.weights.layouts import unclip_diffusers as unclip_folder
from clipdiff_jax.weights.layouts import unclip_karlo as unclip_original
from clipdiff_jax.weights.params import flatten
from clipdiff_jax.weights.tables import expected, export_params, import_params

RELEASE = json.loads((REFERENCES / "karlo.json").read_text())
WIDTH, LENGTH, VOCABULARY = 64, 9, 514
UNET = {
    "blocks": 1, "head_width": 64, "norm_eps": 1e-5, "time_order": "cos_sin", "time_shift": 0.0,
    "residual_resampling": True, "downsample_padding": "both",
}  # fmt: skip
TOWER = {"width": WIDTH, "depth": 1, "heads": 1, "mlp_width": 96}
STAGES = {
    "text": TextEncoder(
        TextConfig(VOCABULARY, LENGTH, **TOWER, eos_token_id=LEGACY_EOS_TOKEN_ID), WIDTH
    ),
    "image": ImageEncoder(VisionTransformerConfig(16, 8, **TOWER), WIDTH),
    "prior": Prior(
        DiffusionPriorConfig(WIDTH, text_length=LENGTH, width=128, depth=2, heads=2)
    ),
    "decoder": Decoder(
        UNetConfig(
            out_channels=6, channels=(32, 128), attention_levels=(1,), scale_shift=True,
            pooled_width=128, pooled_projection=False, context_width=48, **UNET,
        ),
        DecoderConditioningConfig(WIDTH, pooled_width=128, context_width=48, extra_tokens=2),
        image_size=16,
    ),
    "upsampler": Upsampler(
        UNetConfig(
            in_channels=6, channels=(32, 32), attention_levels=(), middle_attention=False, **UNET
        ),
        image_size=64,
        low_size=16,
    ),
}  # fmt: skip
FILES = {
    "prior": "prior-ckpt-step%3D01000000-of-01000000.ckpt",
    "decoder": "decoder-ckpt-step=01000000-of-01000000.ckpt",
    "upsampler": "improved-sr-ckpt-step=1.2M.ckpt",
}
# (Karlo's name, diffusers' component and name), as the converter that was published states them.
SAME = [
    ("model.time_embed.2.weight", "prior/time_embedding.linear_2.weight"),
    ("model.clip_img_proj.bias", "prior/proj_in.bias"),
    ("model.text_emb_proj.weight", "prior/embedding_proj.weight"),
    ("model.text_enc_proj.weight", "prior/encoder_hidden_states_proj.weight"),
    ("model.positional_embedding", "prior/positional_embedding"),
    ("model.prd_emb", "prior/prd_embedding"),
    ("model.transformer.resblocks.1.attn.c_proj.weight",
     "prior/transformer_blocks.1.attn1.to_out.0.weight"),
    ("model.transformer.resblocks.1.ln_2.bias", "prior/transformer_blocks.1.norm3.bias"),
    ("model.transformer.resblocks.0.mlp.c_fc.weight",
     "prior/transformer_blocks.0.ff.net.0.proj.weight"),
    ("model.transformer.resblocks.0.mlp.c_proj.bias", "prior/transformer_blocks.0.ff.net.2.bias"),
    ("model.final_ln.weight", "prior/norm_out.weight"),
    ("model.out_proj.weight", "prior/proj_to_clip_embeddings.weight"),
    ("model.cf_param", "text_proj/learned_classifier_free_guidance_embeddings"),
    ("model.clip_emb.weight", "text_proj/clip_image_embeddings_project_to_time_embeddings.weight"),
    ("model.text_feat_proj.weight", "text_proj/embedding_proj.weight"),
    ("model.clip_tok_proj.weight", "text_proj/clip_extra_context_tokens_proj.weight"),
    ("model.text_seq_proj.0.weight", "text_proj/encoder_hidden_states_proj.weight"),
    ("model.text_seq_proj.1.bias", "text_proj/text_encoder_hidden_states_norm.bias"),
    ("model.input_blocks.0.0.weight", "decoder/conv_in.weight"),
    ("model.input_blocks.2.0.in_layers.2.weight",
     "decoder/down_blocks.0.downsamplers.0.conv1.weight"),
    ("model.input_blocks.3.0.skip_connection.weight",
     "decoder/down_blocks.1.resnets.0.conv_shortcut.weight"),
    ("model.middle_block.2.emb_layers.1.weight",
     "decoder/mid_block.resnets.1.time_emb_proj.weight"),
    ("model.output_blocks.1.2.out_layers.3.weight",
     "decoder/up_blocks.0.upsamplers.0.conv2.weight"),
    ("model.output_blocks.2.0.out_layers.0.bias", "decoder/up_blocks.1.resnets.0.norm2.bias"),
    ("model.out.2.weight", "decoder/conv_out.weight"),
    ("model_first_steps.middle_block.1.in_layers.0.weight",
     "super_res_first/mid_block.resnets.1.norm1.weight"),
    ("model_last_step.output_blocks.1.1.in_layers.2.weight",
     "super_res_last/up_blocks.0.upsamplers.0.conv1.weight"),
]  # fmt: skip
FUSED = [
    ("model.transformer.resblocks.1.attn.c_qkv", "prior/transformer_blocks.1.attn1", "qkv"),
    ("model.input_blocks.3.1.qkv", "decoder/down_blocks.1.attentions.0", "qkv"),
    ("model.output_blocks.0.1.encoder_kv", "decoder/up_blocks.0.attentions.0", "kv"),
]
PARTS = {"qkv": ("to_q", "to_k", "to_v"), "kv": ("add_k_proj", "add_v_proj")}


def shapes_of(stage):
    return jax.eval_shape(lambda: init_params(stage, jax.random.key(0)))


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.normal(size=leaf.shape).astype(np.float32)
    return {name: jax.tree.map(draw, shapes_of(stage)) for name, stage in STAGES.items()}


def original(params) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of each file."""
    files = {
        FILES[name]: export_params(unclip_original.table(STAGES[name]), params[name])
        for name in FILES
    }
    prior = files[FILES["prior"]]
    towers = {**params["text"], **params["image"], "logit_scale": np.float32(4.6)}
    return files | {
        "ViT-L-14.pt": export_params(clip_openai.VISION_TRANSFORMER, towers),
        "ViT-L-14_stats.th": {name: prior.pop(name) for name in karlo_original.STATISTICS},
    }


def diffusers(params) -> dict[str, np.ndarray]:
    """The same parameters as `component/name` of diffusers' layout."""
    tensors = {}
    for stage in FILES:
        for network, (component, table) in unclip_folder.tables(STAGES[stage]).items():
            state = export_params(table, params[stage][network])
            tensors |= {f"{component}/{name}": array for name, array in state.items()}
    return tensors


def test_every_tensor_of_the_release_has_an_original_name():
    decoder = decoder_diffusers.read_config(document("decoder"))
    upsampler = replace(unet_diffusers.read_config(document("super_res_first")), head_width=64)
    conditioning = decoder_diffusers.read_conditioning(document("text_proj"))
    released = {
        "prior": Prior(prior_diffusers.read_config(document("prior"))),
        "decoder": Decoder(decoder, conditioning),
        "upsampler": Upsampler(upsampler),
    }
    tensors = {
        name: expected(unclip_original.table(stage), shapes_of(stage))
        for name, stage in released.items()
    }
    # Queries, keys and values are one tensor here, so there are fewer; the numbers are the same.
    components = {"prior": ["prior"], "decoder": ["decoder", "text_proj"],
                  "upsampler": ["super_res_first", "super_res_last"]}  # fmt: skip
    for name, parts in components.items():
        count = sum(np.prod(s, dtype=int) for s in tensors[name].values())
        theirs = (s for part in parts for s in RELEASE[part]["tensors"].values())
        assert count == sum(np.prod(s, dtype=int) for s in theirs)
    assert tensors["prior"]["model.transformer.resblocks.19.attn.c_qkv.weight"] == (6144, 2048)
    assert tensors["decoder"]["model.middle_block.1.encoder_kv.weight"] == (2560, 1536, 1)
    assert tensors["decoder"]["model.input_blocks.15.1.qkv.bias"] == (3840,)
    assert tensors["upsampler"]["model_last_step.input_blocks.0.0.weight"] == (320, 6, 3, 3)
    assert karlo_original.infer_prior(tensors["prior"]) == released["prior"].network
    assert karlo_original.infer_decoder(tensors["decoder"]) == (decoder, conditioning)
    assert karlo_original.infer_upsampler(tensors["upsampler"]) == upsampler


def document(component: str) -> dict:
    return RELEASE[component]["config"]


def test_names_and_orders_are_those_of_the_published_conversion(params):
    theirs = diffusers(params)
    ours = {name: array for file in original(params).values() for name, array in file.items()}
    prior, decoder, upsampler = (original(params)[file] for file in FILES.values())
    for name, other in SAME:
        file = prior if other.startswith("prior") else decoder | upsampler
        np.testing.assert_array_equal(file[name], theirs[other], err_msg=name)
    for name, other, kind in FUSED:
        file = prior if other.startswith("prior") else decoder
        for what in ("weight", "bias"):
            parts = [theirs[f"{other}.{part}.{what}"] for part in PARTS[kind]]
            heads = len(parts[0]) // 64
            # Rows go [head 0: q, k, v; head 1: q, k, v; ...], 64 of each.
            rows = [part[64 * h : 64 * (h + 1)] for h in range(heads) for part in parts]
            fused = file[f"{name}.{what}"]
            np.testing.assert_array_equal(fused.reshape(fused.shape[:2]), np.concatenate(rows))
            assert heads == 2
    np.testing.assert_array_equal(ours["clip_mean"], theirs["prior/clip_mean"][0])


@pytest.fixture
def folder(params, tmp_path):
    torch = pytest.importorskip("torch")
    for file, tensors in original(params).items():
        state = {name: torch.tensor(np.asarray(array)) for name, array in tensors.items()}
        if file.endswith(".ckpt"):
            state = {"epoch": 0, "state_dict": state}
        elif file.endswith(".th"):
            state = tuple(state.values())
        torch.save(state, tmp_path / file)
    (tmp_path / "tokenizer").mkdir()
    for name, array in stored().items():
        if name.startswith("file/tokenizer/"):
            (tmp_path / name.removeprefix("file/")).write_bytes(array.tobytes())
    return tmp_path


def test_a_folder_of_karlos_files_is_the_same_model(params, folder):
    model = cd.load_unclip(folder)
    assert {name: model.part(name).config for name in model.loaded} == STAGES
    for stage, tree in params.items():
        loaded, wanted = flatten(model.part(stage).params), flatten(tree)
        assert loaded.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(loaded[name], array, err_msg=f"{stage}: {name}")
    # diffusers' names give these parameters too, so both layouts make the same pictures.
    theirs = diffusers(params)
    for stage in FILES:
        for network, (component, table) in unclip_folder.tables(STAGES[stage]).items():
            tensors = {
                name.removeprefix(f"{component}/"): array
                for name, array in theirs.items()
                if name.startswith(f"{component}/")
            }
            again = import_params(table, tensors, params[stage][network])
            jax.tree.map(np.testing.assert_array_equal, again, params[stage][network])
    assert cd.load_unclip(folder, parts=["prior"]).loaded == ("prior",)


def test_what_is_wrong_with_a_folder_is_named(params, folder):
    torch = pytest.importorskip("torch")
    torch.save((torch.zeros(3),), folder / "ViT-L-14_stats.th")
    with pytest.raises(WeightsError, match=r"_stats\.th' holds 1 tensors, expected a mean"):
        cd.load_unclip(folder, parts=["prior"])
    state = torch.load(folder / FILES["decoder"])
    state["state_dict"]["model.surplus"] = torch.zeros(1)
    torch.save(state, folder / FILES["decoder"])
    with pytest.raises(WeightsError, match=r"unknown \(1\):\s+model.surplus"):
        cd.load_unclip(folder, parts=["decoder"])
    (folder / FILES["prior"]).rename(folder / "another.ckpt")
    with pytest.raises(WeightsError, match=r"one file 'prior-ckpt-\*.ckpt' in .* found none"):
        cd.load_unclip(folder)
