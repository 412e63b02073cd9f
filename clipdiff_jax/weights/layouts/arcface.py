"""The public IR-SE50 weights (`model_ir_se50.pth`) and their tensor names."""

from clipdiff_jax.weights.tables import (
    CONV,
    POINTWISE,
    Rule,
    Table,
    affine,
    batch_norm,
)

_BLOCK, _OURS = "body.{i}", "block_{i}"

TABLE = Table(
    "IR-SE50 (ArcFace)",
    (
        Rule("input_layer.0.weight", "stem_conv/kernel", CONV),
        *batch_norm("input_layer.1", "stem_norm"),
        Rule("input_layer.2.weight", "stem_prelu/slope"),
        Rule(f"{_BLOCK}.shortcut_layer.0.weight", f"{_OURS}/shortcut_conv/kernel", POINTWISE),
        *batch_norm(f"{_BLOCK}.shortcut_layer.1", f"{_OURS}/shortcut_norm"),
        *batch_norm(f"{_BLOCK}.res_layer.0", f"{_OURS}/norm1"),
        Rule(f"{_BLOCK}.res_layer.1.weight", f"{_OURS}/conv1/kernel", CONV),
        Rule(f"{_BLOCK}.res_layer.2.weight", f"{_OURS}/prelu/slope"),
        Rule(f"{_BLOCK}.res_layer.3.weight", f"{_OURS}/conv2/kernel", CONV),
        *batch_norm(f"{_BLOCK}.res_layer.4", f"{_OURS}/norm2"),
        Rule(f"{_BLOCK}.res_layer.5.fc1.weight", f"{_OURS}/squeeze/kernel", POINTWISE),
        Rule(f"{_BLOCK}.res_layer.5.fc2.weight", f"{_OURS}/excite/kernel", POINTWISE),
        *batch_norm("output_layer.0", "out_norm1"),
        *affine("output_layer.3", "out"),
        *batch_norm("output_layer.4", "out_norm2"),
    ),
    ignored=(
        "input_layer.1.num_batches_tracked",
        "body.{i}.shortcut_layer.1.num_batches_tracked",
        "body.{i}.res_layer.{j}.num_batches_tracked",
        "output_layer.{i}.num_batches_tracked",
    ),
)
