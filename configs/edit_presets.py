"""Any of the edit presets as a recipe (`clipdiff_jax/edit/presets.py` has the settings).

    clipdiff train --config edit_presets:beard --workdir runs/beard
    clipdiff train --config edit_presets:published/smile --workdir runs/published-smile

Fields can be set as with any recipe: --config.stage.objective.t0=550, or =null for a t0 that is
found from the pictures and the texts.
"""

from clipdiff_jax.edit.presets import preset
from clipdiff_jax.training.config import RunConfig


def get_config(name: str) -> RunConfig:
    return preset(name).run_config()
