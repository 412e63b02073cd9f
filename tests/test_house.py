"""The rules of the house, `helpers.house`, hold, but for the places that are listed here.

An exception says why it is one. One that is needed no longer is an error too.
"""

import pytest
from helpers import house

EXCEPTIONS: dict[str, dict[str, str]] = {
    "long_files": {
        "tests/references/before/computations.py": "what a version before was asked, in one place",
    },
    "caches": {
        "data/avatars/faces.py:_style": "DiceBear's definition of an art style, 30 of them",
        "data/avatars/faces.py:_described": "the options of an art style, 30 of them",
        "diffusion/karlo.py:_tables": "tables of a schedule: a few thousand numbers, 8 at most",
        "diffusion/schedule.py:_tables": "tables of a schedule: a few thousand numbers, 64 at most",
    },
}


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    found: dict[str, list[str]] = {}
    for finding in rule():
        found.setdefault(finding.split(": ")[0], []).append(finding)
    excepted = EXCEPTIONS.get(rule.__name__, {})
    broken = [one for place, findings in found.items() if place not in excepted for one in findings]
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)
    unneeded = sorted(excepted.keys() - found.keys())
    assert not unneeded, f"exceptions of {rule.__name__} that nothing needs: {unneeded}"


def test_exceptions_are_of_rules_that_exist():
    assert EXCEPTIONS.keys() <= {rule.__name__ for rule in house.RULES}
