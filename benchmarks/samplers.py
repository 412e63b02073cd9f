"""How far few steps of each sampler end from a fine walk, with the demo's decoder.

    python benchmarks/samplers.py [--steps 10 25 50] [--fine 500]

All start from the same noise; the distance is the root mean square over pixels, in a range of 2,
to what `--fine` steps of DDIM end at. Prints a table.
"""

import argparse

import numpy as np

from clipdiff_jax.unclip.load import load_unclip

PROMPTS = [
    "a smiling person with glasses and red hair",
    "a sad face with long hair",
    "a serious person with a beard wearing blue clothes",
    "a face with black hair",
]
SAMPLERS = ("ddim", "dpm_solver")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 15, 20, 25, 35, 50])
    parser.add_argument("--spacing", nargs="+", default=["linspace", "trailing"])
    parser.add_argument("--fine", type=int, default=500)
    args = parser.parse_args()
    model = load_unclip("demo")
    embeddings = model.embed_prompts(PROMPTS, key=1)

    def decoded(steps: int, sampler: str, spacing: str) -> np.ndarray:
        made = model.decode(
            embeddings, PROMPTS, key=2, steps=steps, sampler=sampler, spacing=spacing
        )
        return np.asarray(made)

    fine = decoded(args.fine, "ddim", args.spacing[0])
    columns = [(spacing, sampler) for spacing in args.spacing for sampler in SAMPLERS]
    print("| steps | " + " | ".join(f"{sampler}, {spacing}" for spacing, sampler in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for steps in args.steps:
        errors = (
            np.sqrt(np.mean(np.square(decoded(steps, sampler, spacing) - fine)))
            for spacing, sampler in columns
        )
        print(f"| {steps} | " + " | ".join(f"{error:.4f}" for error in errors) + " |", flush=True)


if __name__ == "__main__":
    main()
