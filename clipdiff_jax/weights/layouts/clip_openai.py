"""OpenAI's original CLIP names: the vision transformers and the modified ResNets (RN50 .. RN50x64).

The released `.pt` files are TorchScript archives, whose attributes `read.open_tensors` gives under
these names, as it does for a plain state dict. There is no config file: the architecture is read
off the names and shapes.
"""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path

from clipdiff_jax.models.clip import (
    LEGACY_EOS_TOKEN_ID,
    CLIPConfig,
    TextConfig,
    VisionTransformerConfig,
    init_params,
)
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.weights.clip_flags import ClipFlags
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import ClipWeights, Layout, Reading, fill_params
from clipdiff_jax.weights.read import Tensors, file_has, open_state
from clipdiff_jax.weights.tables import (
    CONV,
    LINEAR,
    POINTWISE,
    ConvertError,
    Rule,
    Shape,
    Table,
    affine,
    batch_norm,
    norm,
)

logger = logging.getLogger(__name__)

MARK = "token_embedding.weight"  # a name that no other layout of a file has
_HEAD_WIDTH = 64  # of every published CLIP

_SETTINGS = ("input_resolution", "context_length", "vocab_size")


def _tower(theirs: str, ours: str) -> list[Rule]:
    layer, block = f"{theirs}.resblocks.{{i}}", f"{ours}/transformer/blocks"
    qkv = [f"{block}/attention/{name}" for name in ("query", "key", "value")]
    return [
        Rule(f"{layer}.attn.in_proj_weight", tuple(f"{p}/kernel" for p in qkv), LINEAR),
        Rule(f"{layer}.attn.in_proj_bias", tuple(f"{p}/bias" for p in qkv)),
        *affine(f"{layer}.attn.out_proj", f"{block}/attention/out"),
        *norm(f"{layer}.ln_1", f"{block}/norm1"),
        *affine(f"{layer}.mlp.c_fc", f"{block}/mlp_up"),
        *affine(f"{layer}.mlp.c_proj", f"{block}/mlp_down"),
        *norm(f"{layer}.ln_2", f"{block}/norm2"),
    ]


_TEXT = (
    Rule("logit_scale", "logit_scale"),
    Rule("token_embedding.weight", "text/token_embedding/embedding"),
    Rule("positional_embedding", "text/position_embedding"),
    *_tower("transformer", "text"),
    *norm("ln_final", "text/final_norm"),
    Rule("text_projection", "text/projection/kernel"),  # x @ projection: already [in, out]
)

VISION_TRANSFORMER = Table(
    "OpenAI CLIP (vision transformer)",
    (
        *_TEXT,
        Rule("visual.class_embedding", "vision/class_embedding"),
        Rule("visual.conv1.weight", "vision/patch_embedding/kernel", CONV),
        Rule("visual.positional_embedding", "vision/position_embedding"),
        *norm("visual.ln_pre", "vision/pre_norm"),
        *_tower("visual.transformer", "vision"),
        *norm("visual.ln_post", "vision/post_norm"),
        Rule("visual.proj", "vision/projection/kernel"),  # x @ projection: already [in, out]
    ),
    ignored=_SETTINGS,
)


def _resnet_table(config: ModifiedResNetConfig) -> Table:
    rules = list(_TEXT)
    for i in (1, 2, 3):
        rules.append(Rule(f"visual.conv{i}.weight", f"vision/stem_conv{i}/kernel", CONV))
        rules += batch_norm(f"visual.bn{i}", f"vision/stem_norm{i}")
    for stage in range(len(config.depths)):
        theirs, ours = f"visual.layer{stage + 1}.{{j}}", f"vision/stage{stage}_block{{j}}"
        for i, layout in ((1, POINTWISE), (2, CONV), (3, POINTWISE)):
            rules.append(Rule(f"{theirs}.conv{i}.weight", f"{ours}/conv{i}/kernel", layout))
            rules += batch_norm(f"{theirs}.bn{i}", f"{ours}/norm{i}")
        rules.append(
            Rule(f"{theirs}.downsample.0.weight", f"{ours}/shortcut_conv/kernel", POINTWISE)
        )
        rules += batch_norm(f"{theirs}.downsample.1", f"{ours}/shortcut_norm")
    for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("c", "out")):
        rules += affine(f"visual.attnpool.{theirs}_proj", f"vision/pool/{ours}")
    rules.append(Rule("visual.attnpool.positional_embedding", "vision/pool/position_embedding"))
    counters = (
        "visual.bn{i}.num_batches_tracked",
        "visual.layer{i}.{j}.bn{k}.num_batches_tracked",
        "visual.layer{i}.{j}.downsample.1.num_batches_tracked",
    )
    return Table("OpenAI CLIP (ResNet)", tuple(rules), ignored=(*_SETTINGS, *counters))


def table(config: CLIPConfig) -> Table:
    """The names of the network that `config` describes.

    Raises `ConvertError` for a convolutional tower that is not one of OpenAI's design.
    """
    vision = config.vision
    if isinstance(vision, VisionTransformerConfig):
        return VISION_TRANSFORMER
    own = {"stem": "convolutions", "norm": "batch", "pool": "attention"}
    other = {name: getattr(vision, name) for name in own if getattr(vision, name) != own[name]}
    if other:
        raise ConvertError(f"OpenAI's ResNets have {own}, this one has {other}")
    return _resnet_table(vision)


def infer_config(shapes: Mapping[str, Shape], flags: ClipFlags | None = None) -> CLIPConfig:
    """The architecture from names and shapes, and what they do not tell from `flags`.

    Without flags it is as in all of OpenAI's models: heads are 64 channels wide, the activation is
    QuickGELU. Raises `ConvertError` where the names are not OpenAI's, and for heads that do not
    divide a width.
    """
    flags = flags or ClipFlags()
    needed = (MARK, "positional_embedding", "text_projection")
    lacking = [name for name in needed if name not in shapes]
    if lacking:
        raise ConvertError(f"not OpenAI's CLIP names: no {', '.join(lacking)}")
    (vocab, width), (context, _) = shapes[needed[0]], shapes[needed[1]]
    projection = shapes["text_projection"][1]
    text = TextConfig(
        vocab_size=vocab,
        context_length=context,
        width=width,
        depth=_count(shapes, "transformer.resblocks.{}.ln_1.weight"),
        heads=_heads(width, flags.text_heads),
        activation=flags.activation,
        mlp_width=shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        eos_token_id=LEGACY_EOS_TOKEN_ID,
    )
    if "visual.proj" in shapes:
        width, _, patch, _ = shapes["visual.conv1.weight"]
        grid = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)
        return CLIPConfig(
            VisionTransformerConfig(
                image_size=grid * patch,
                patch_size=patch,
                width=width,
                depth=_count(shapes, "visual.transformer.resblocks.{}.ln_1.weight"),
                heads=_heads(width, flags.vision_heads),
                activation=flags.activation,
                mlp_width=shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0],
            ),
            text,
            projection_dim=projection,
        )
    if "visual.attnpool.positional_embedding" not in shapes:
        raise ConvertError("not OpenAI's CLIP names: neither visual.proj nor visual.attnpool")
    positions, channels = shapes["visual.attnpool.positional_embedding"]
    stages = _count(shapes, "visual.layer{}.0.conv1.weight", start=1)
    depths = tuple(
        _count(shapes, f"visual.layer{stage + 1}.{{}}.conv1.weight") for stage in range(stages)
    )
    width = shapes["visual.layer1.0.conv1.weight"][0]
    return CLIPConfig(
        ModifiedResNetConfig(
            image_size=round((positions - 1) ** 0.5) * 4 * 2 ** (stages - 1),
            width=width,
            depths=depths,
            heads=_heads(channels, flags.vision_heads),
            expansion=shapes["visual.layer1.0.conv3.weight"][0] // width,
        ),
        text,
        projection_dim=projection,
    )


def _heads(width: int, heads: int | None) -> int:
    if heads is None:
        return max(1, width // _HEAD_WIDTH)
    if width % heads:
        raise ConvertError(f"{heads} heads do not divide the width {width}")
    return heads


def _flags(path: Path, wrapped: bool, tensors: Tensors, reading: Reading) -> ClipFlags | None:
    """What the caller says of a file, or what is known of its kind.

    OpenAI's files are known by their settings. What training left (below a `state_dict`, behind a
    `module.`) is none of OpenAI's, and how it was trained is asked for.
    """
    if reading.clip_flags is not None or all(name in tensors for name in _SETTINGS):
        return reading.clip_flags
    if wrapped:
        raise WeightsError(
            f"'{path}' is a checkpoint of a training, and nothing in it tells its activation and "
            "its heads: give `flags`, such as ClipFlags(activation='gelu')"
        )
    logger.warning(
        "nothing in '%s' tells its activation and heads: taking OpenAI's, QuickGELU and heads 64 "
        "wide; give `flags` (ClipFlags) for others",
        path,
    )
    return None


def _count(shapes: Mapping[str, Shape], pattern: str, start: int = 0) -> int:
    number = start
    while pattern.format(number) in shapes:
        number += 1
    return number - start


def _matches(path: Path) -> bool:
    return file_has(path, MARK)


def _read(path: Path, reading: Reading) -> ClipWeights:
    tensors, wrapped = open_state(path, reading.part)
    flags = _flags(path, wrapped, tensors, reading)
    config = infer_config({name: array.shape for name, array in tensors.items()}, flags)
    if reading.tokenizer is None:
        raise WeightsError(
            f"'{path}' holds weights only: give `tokenizer`, for OpenAI's models that of any "
            "transformers folder of theirs, by clipdiff_jax.data.tokenize.load_tokenizer"
        )
    init = functools.partial(init_params, config)
    params = fill_params(table(config), tensors, init, reading.param_dtype)
    return ClipWeights(config, params, reading.tokenizer)


LAYOUT = Layout("openai", f"tensor '{MARK}'", _matches, _read, table)
