"""Makes tests/references importable: pytest's importlib mode adds no paths."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "references"))
