"""Any of the edit presets as a recipe (`clipdiff_jax/stages/edit_presets.py` has the settings).

    python train.py --config configs/edit_presets.py:beard --workdir runs/beard
    python train.py --config configs/edit_presets.py:published/smile --workdir runs/published-smile

Fields can be set as with any recipe: --config.stage.objective.t0=550, or =null for a t0 that is
found from the pictures and the texts.
"""

from clipdiff_jax.edit.presets import preset
from clipdiff_jax.training.config import RunConfig


def get_config(name: str) -> RunConfig:
    return preset(name).run_config()
