"""A CLIP of which only shapes matter, for programs that are compiled and not run.

Of a published model, or one that a recipe is yet to train, the sizes are known without its weights.
"""

from collections.abc import Callable
from pathlib import Path

import jax

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.core.types import DType
from clipdiff_jax.data.blank import blank_tokenizer
from clipdiff_jax.models.clip import CLIPConfig, init_params
from clipdiff_jax.models.presets import PAPER_CLIP, PUBLISHED_CLIPS
from clipdiff_jax.weights.params import blank_of


def outline_clip(source: str, fits: Callable[[CLIPConfig], bool], dtype: DType) -> Clip:
    """The CLIP that a config names, its parameters as shapes, with a tokenizer of no use.

    Where it is not here it is the published one of that name, or the first published one that
    `fits`. Raises as `load_clip` does where there is none.
    """
    if not Path(source).exists():
        named = [PUBLISHED_CLIPS[source]] if source in PUBLISHED_CLIPS else []
        for config in named or [*PUBLISHED_CLIPS.values(), PAPER_CLIP]:
            if source != "demo" and (named or fits(config)):
                return _outline(config, dtype)
    clip = load_clip(source, dtype=dtype)
    return Clip(clip.config, blank_of(clip.params), clip.tokenizer, dtype)


def _outline(config: CLIPConfig, dtype: DType) -> Clip:
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    tokenizer = blank_tokenizer(config.text.context_length)
    return Clip(config, blank_of(shapes), tokenizer, dtype)
