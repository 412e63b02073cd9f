"""Prints a sha256 of the raw float32 of every output of `computations`, as one JSON object.

    python tests/references/before/digest.py > digest.json

For two versions of the library on one machine: where their digests agree, so do all bits. The
compiler's settings are the ordinary ones; across kinds of processors the bits differ, so digests
are not kept with the code.
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["CLIPDIFF_JAX_CACHE"] = tempfile.mkdtemp()  # latents from another version stay unread
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from references.before.computations import COMPUTATIONS


def main() -> None:
    """Computes and prints."""
    digests = {}
    for name, compute in COMPUTATIONS.items():
        for output, array in compute().items():
            raw = np.ascontiguousarray(np.asarray(array, np.float32)).tobytes()
            digests[f"{name}: {output}"] = hashlib.sha256(raw).hexdigest()
    print(json.dumps(digests, indent=1))


if __name__ == "__main__":
    main()
