"""Edit: cartoon faces become pixel art.

    clipdiff train --config avatars/edit_pixel_art --workdir runs/pixel-art
    clipdiff evaluate counterfactual --edit runs/pixel-art --attribute style --target pixel-art \\
        --sources avataaars --count 200 --out runs/pixel-art/scores

Fails with the committed demo models: the similarity to the text's direction rises from .21 to .73
while what appears is a haze that only CLIP sees (docs/results.md).
"""

from clipdiff_jax.edit.presets import preset
from clipdiff_jax.training.config import RunConfig


def get_config() -> RunConfig:
    return preset("pixel_art").run_config()
