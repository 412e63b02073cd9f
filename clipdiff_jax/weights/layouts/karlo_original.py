"""The names of Karlo's own checkpoints (kakaobrain/karlo): one table a file, and what it describes.

    prior-ckpt-*.ckpt          `model.`, a transformer whose queries, keys and values are fused
    decoder-ckpt-*.ckpt        `model.`, a UNet of guided-diffusion's names, and beside its blocks
                               the layers that make its conditioning
    improved-sr-ckpt-*.ckpt    `model_first_steps.` and `model_last_step.`, two such UNets
    ViT-L-14_stats.th          mean and deviation of CLIP's image embeddings

Fused rows are ordered head by head. There is no config file; architectures are read off the names
and shapes, which do not tell the width of a head: it is 64 throughout. Tables take the parameters
of a stage as `pipelines.unclip_networks` has them, one branch a network.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import ADDED_TOKENS, DiffusionPriorConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.layouts import unet_guided
from clipdiff_jax.weights.tables import (
    LINEAR,
    ONE_FIRST,
    SAME,
    Axes,
    ConvertError,
    Rule,
    Shape,
    Table,
    affine,
    norm,
)

HEAD_WIDTH = 64
STATISTICS = ("clip_mean", "clip_std")  # what the tensors of the file of statistics are called here
_MODEL, _FIRST, _LAST = "model.", "model_first_steps.", "model_last_step."

_CONDITIONING = (
    Rule("cf_param", "null_embedding"),
    *affine("clip_emb", "image_pooled"),
    *affine("text_feat_proj", "text_pooled"),
    *affine("clip_tok_proj", "image_tokens"),
    *affine("text_seq_proj.0", "hidden_in"),
    *norm("text_seq_proj.1", "hidden_norm"),
)


def prior_table(config: DiffusionPriorConfig) -> Table:
    """The names of the prior that `config` describes; those of `STATISTICS` are without prefix."""
    layer, block = "transformer.resblocks.{i}", "transformer/blocks"
    qkv = [f"{block}/attention/{name}" for name in ("query", "key", "value")]
    fused = [
        Rule(f"{layer}.attn.c_qkv.{what}", tuple(f"{p}/{name}" for p in qkv), layout, config.heads)
        for what, name, layout in (("weight", "kernel", LINEAR), ("bias", "bias", SAME))
    ]
    rules = (
        *affine("time_embed.0", "time/dense_0"),
        *affine("time_embed.2", "time/dense_1"),
        *affine("clip_img_proj", "image_in"),
        *affine("text_emb_proj", "embedding_in"),
        *affine("text_enc_proj", "hidden_in"),
        Rule("positional_embedding", "position_embedding", ONE_FIRST),
        Rule("prd_emb", "query", Axes(ones=(0, 1))),
        *norm(f"{layer}.ln_1", f"{block}/norm1"),
        *fused,
        *affine(f"{layer}.attn.c_proj", f"{block}/attention/out"),
        *norm(f"{layer}.ln_2", f"{block}/norm2"),
        *affine(f"{layer}.mlp.c_fc", f"{block}/mlp_up"),
        *affine(f"{layer}.mlp.c_proj", f"{block}/mlp_down"),
        *norm("final_ln", "norm_out"),
        *affine("out_proj", "out"),
    )
    mean, std = STATISTICS
    statistics = (Rule(mean, "prior/embedding_mean"), Rule(std, "prior/embedding_std"))
    return Table("Karlo's prior", (*_placed(rules, _MODEL, "prior/"), *statistics))


def decoder_table(config: UNetConfig) -> Table:
    """The names of the decoder, its conditioning included."""
    conditioning = _placed(_CONDITIONING, _MODEL, "conditioning/")
    unet = _placed(unet_guided.table(config).rules, _MODEL, "unet/")
    return Table("Karlo's decoder", (*conditioning, *unet))


def upsampler_table(config: UNetConfig) -> Table:
    """The names of the two networks of the upsampler."""
    rules = unet_guided.table(config).rules
    both = (*_placed(rules, _FIRST, "first/"), *_placed(rules, _LAST, "last/"))
    return Table("Karlo's upsampler", both)


def infer_prior(shapes: Mapping[str, Shape]) -> DiffusionPriorConfig:
    """The prior from names and shapes; `ConvertError` where they are not Karlo's."""
    needed = ("positional_embedding", "clip_img_proj.weight", "text_enc_proj.weight")
    shapes = _below(_MODEL, shapes, needed)
    (_, length, width), (_, embedding), (_, hidden) = (shapes[name] for name in needed)
    depth = sum(name.endswith(".ln_1.weight") for name in shapes)
    return DiffusionPriorConfig(
        embedding_width=embedding,
        hidden_width=hidden if hidden != embedding else None,
        text_length=length - ADDED_TOKENS,
        width=width,
        depth=depth,
        heads=width // HEAD_WIDTH,
    )


def infer_decoder(shapes: Mapping[str, Shape]) -> tuple[UNetConfig, DecoderConditioningConfig]:
    """The decoder and its conditioning, likewise."""
    needed = ("clip_emb.weight", "text_seq_proj.0.weight", "clip_tok_proj.weight")
    shapes = _below(_MODEL, shapes, needed)
    pooled, embedding = shapes[needed[0]]
    context, hidden = shapes[needed[1]]
    conditioning = DecoderConditioningConfig(
        embedding_width=embedding,
        hidden_width=hidden if hidden != embedding else None,
        pooled_width=pooled,
        context_width=context,
        extra_tokens=shapes[needed[2]][0] // context,
    )
    unet = dataclasses.replace(
        unet_guided.infer_config(shapes, head_width=HEAD_WIDTH),
        pooled_width=pooled,
        pooled_projection=False,
        context_width=context,
    )
    return unet, conditioning


def infer_upsampler(shapes: Mapping[str, Shape]) -> UNetConfig:
    """The network that both of the upsampler are, likewise."""
    first, last = (_below(p, shapes, (unet_guided.MARK,)) for p in (_FIRST, _LAST))
    if first != last:
        raise ConvertError(f"the networks of {_FIRST} and {_LAST} differ, expected two equal ones")
    return unet_guided.infer_config(first, head_width=HEAD_WIDTH)


def _placed(rules: Iterable[Rule], theirs: str, ours: str) -> list[Rule]:
    """The rules with their names and our paths each under a prefix."""
    return [
        dataclasses.replace(
            rule,
            theirs=tuple(theirs + name for name in rule.their_patterns),
            ours=tuple(ours + path for path in rule.our_patterns),
        )
        for rule in rules
    ]


def _below(prefix: str, shapes: Mapping[str, Shape], needed: Iterable[str]) -> dict[str, Shape]:
    """The shapes whose names have the prefix, without it."""
    found = {n.removeprefix(prefix): s for n, s in shapes.items() if n.startswith(prefix)}
    if lacking := [prefix + name for name in needed if name not in found]:
        raise ConvertError(f"not the names of Karlo's checkpoints: no {', '.join(lacking)}")
    return found
