"""The words that give `train.py` the whole of a config that a `config.json` holds."""

import json
from pathlib import Path
from typing import Any

# Any would do: all of it is overridden.
RECIPE = Path(__file__).parents[3] / "configs" / "avatars" / "base.py"


def resume_arguments(config: dict[str, Any]) -> list[str]:
    """Words for the command line, beside `--workdir`."""
    parts = [f"--config.{name}={json.dumps(config[name])}" for name in ("stage", "train")]
    return ["--config", str(RECIPE), *parts]
