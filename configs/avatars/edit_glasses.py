"""Edit: faces without glasses put some on.

    clipdiff train --config avatars/edit_glasses --workdir runs/glasses
    clipdiff evaluate counterfactual --edit runs/glasses --attribute glasses --target glasses \\
        --sources none --count 200 --out runs/glasses/scores

As a change of low rank (docs/results.md) it is the ready edit demo/glasses. Without the negative
text closed eyes are taken for sunglasses.
"""

from clipdiff_jax.edit.presets import preset
from clipdiff_jax.training.config import RunConfig


def get_config() -> RunConfig:
    return preset("glasses").run_config()
