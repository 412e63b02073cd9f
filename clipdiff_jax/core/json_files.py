"""JSON that others wrote, read in bounded memory: what a file may hold is checked before it is
parsed.

A megabyte of brackets becomes a hundred of Python's objects, and a nest of them ends a recursion.
No document of a model needs either.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_BYTES = 2**26  # the vocabulary of a large tokenizer has a tenth of it
MAX_CONTAINERS = 2**20
_MAX_TEXT = 200  # characters of a parser's complaint that are repeated


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """The content of a JSON file.

    Raises `ValueError` that names the file where it is no JSON, has a key twice, or is larger than
    any such document has reason to be, and `OSError` where it cannot be opened.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    return parse_json(data, f"'{path}'", most)


def parse_json(data: bytes | str, name: str, most: int = MAX_BYTES) -> Any:
    """The same of what was read already; `name` is what messages call it."""
    if len(data) > most:
        raise ValueError(f"{name} is larger than the {most:,} bytes that such a document may have")
    if isinstance(data, str):
        containers = data.count("[") + data.count("{")
    else:
        containers = data.count(b"[") + data.count(b"{")
    if containers > MAX_CONTAINERS:
        raise ValueError(f"{name} has more than {MAX_CONTAINERS:,} lists and objects")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError(f"{name} is not JSON that can be read: its nests are too deep") from error
    except ValueError as error:  # also of a number with 5,000 digits
        said = str(error)[:_MAX_TEXT]
        raise ValueError(f"{name} is not JSON: {said}") from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key '{twice[:_MAX_TEXT]}' is there twice")
    return found
