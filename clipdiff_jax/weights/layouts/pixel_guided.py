"""A pixel diffusion model as a file of guided-diffusion's or improved-diffusion's names.

The architecture is read off the names and shapes (`unet_guided`), and what they do not tell is
`Reading.flags`.
"""

import functools
import logging
from pathlib import Path

from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.weights.documents import learns_variance, log_guess
from clipdiff_jax.weights.guided_flags import GuidedFlags
from clipdiff_jax.weights.layout import DiffusionWeights, Layout, Reading, fill_params
from clipdiff_jax.weights.layouts import unet_guided
from clipdiff_jax.weights.read import file_has, open_tensors
from clipdiff_jax.weights.tables import Table

logger = logging.getLogger(__name__)


def _matches(path: Path) -> bool:
    return file_has(path, unet_guided.MARK)


def _read(path: Path, reading: Reading) -> DiffusionWeights:
    flags, tensors = reading.flags or GuidedFlags(), open_tensors(path, reading.part)
    unet = unet_guided.infer_config(
        {name: array.shape for name, array in tensors.items()},
        head_width=flags.num_head_channels,
        heads=flags.num_heads,
    )
    config = DiffusionConfig(
        unet,
        flags.image_size or unet_guided.infer_size(unet),
        flags.schedule,
        flags.prediction,
        learned_variance=learns_variance(unet, flags.channels, path),
        time_scale=flags.time_scale,
    )
    if reading.flags is None:
        log_guess(logger, path, config)
    table = unet_guided.table(unet, flags.new_attention_order)
    init = functools.partial(init_params, config)
    return DiffusionWeights(config, fill_params(table, tensors, init, reading.param_dtype))


def _table(config: DiffusionConfig) -> Table:
    return unet_guided.table(config.unet)


LAYOUT = Layout("guided", f"tensor '{unet_guided.MARK}'", _matches, _read, _table)
