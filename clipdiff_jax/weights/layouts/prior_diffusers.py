"""diffusers' `PriorTransformer`: its `config.json` and its tensor names (Karlo's prior)."""

from collections.abc import Mapping
from typing import Any

from clipdiff_jax.models.diffusion_prior import ADDED_TOKENS, DiffusionPriorConfig
from clipdiff_jax.weights.documents import check_class, check_options
from clipdiff_jax.weights.tables import ONE_FIRST, Axes, Rule, Table, affine, norm

CLASS = "PriorTransformer"
# Options whose other values Karlo does not use; what is supported is the default too.
_FIXED: dict[str, Any] = {
    "additional_embeddings": ADDED_TOKENS,
    "dropout": 0.0,
    "time_embed_act_fn": "silu",
    "norm_in_type": None,
    "embedding_proj_norm_type": None,
    "encoder_hid_proj_type": "linear",
    "added_emb_type": "prd",
}
_LAYER, _BLOCK = "transformer_blocks.{i}", "transformer/blocks"

TABLE = Table(
    f"{CLASS} of diffusers",
    (
        *affine("time_embedding.linear_1", "time/dense_0"),
        *affine("time_embedding.linear_2", "time/dense_1"),
        *affine("proj_in", "image_in"),
        *affine("embedding_proj", "embedding_in"),
        *affine("encoder_hidden_states_proj", "hidden_in"),
        Rule("positional_embedding", "position_embedding", ONE_FIRST),
        Rule("prd_embedding", "query", Axes(ones=(0, 1))),
        *norm(f"{_LAYER}.norm1", f"{_BLOCK}/norm1"),
        *affine(f"{_LAYER}.attn1.to_q", f"{_BLOCK}/attention/query"),
        *affine(f"{_LAYER}.attn1.to_k", f"{_BLOCK}/attention/key"),
        *affine(f"{_LAYER}.attn1.to_v", f"{_BLOCK}/attention/value"),
        *affine(f"{_LAYER}.attn1.to_out.0", f"{_BLOCK}/attention/out"),
        *norm(f"{_LAYER}.norm3", f"{_BLOCK}/norm2"),
        *affine(f"{_LAYER}.ff.net.0.proj", f"{_BLOCK}/mlp_up"),
        *affine(f"{_LAYER}.ff.net.2", f"{_BLOCK}/mlp_down"),
        *norm("norm_out", "norm_out"),
        *affine("proj_to_clip_embeddings", "out"),
        Rule("clip_mean", "embedding_mean", ONE_FIRST),
        Rule("clip_std", "embedding_std", ONE_FIRST),
    ),
)


def read_config(document: Mapping[str, Any]) -> DiffusionPriorConfig:
    """`config.json` -> `DiffusionPriorConfig`.

    Raises `WeightsError` for another class and for options that Karlo's prior does not have.
    """
    check_class(document, CLASS)
    heads = document.get("num_attention_heads", 32)
    width = heads * document.get("attention_head_dim", 64)
    embedding = document.get("embedding_dim", 768)
    # Three widths that may be left out, or null.
    widths = {"time_embed_dim": width, "embedding_proj_dim": embedding, "clip_embed_dim": embedding}
    given = {name: value for name, value in document.items() if value is not None}
    check_options(document, _FIXED)
    check_options(given, widths)
    return DiffusionPriorConfig(
        embedding_width=embedding,
        text_length=document.get("num_embeddings", 77),
        width=width,
        depth=document.get("num_layers", 20),
        heads=heads,
    )


def write_config(config: DiffusionPriorConfig) -> dict[str, Any]:
    """The inverse of `read_config`."""
    return {
        "_class_name": CLASS,
        **_FIXED,
        "num_attention_heads": config.heads,
        "attention_head_dim": config.width // config.heads,
        "num_layers": config.depth,
        "embedding_dim": config.embedding_width,
        "num_embeddings": config.text_length,
    }
