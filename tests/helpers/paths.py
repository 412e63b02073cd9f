"""Where the tests' files and the repository are."""

from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
REFERENCES = TESTS / "references"
CONFIGS = ROOT / "configs"
