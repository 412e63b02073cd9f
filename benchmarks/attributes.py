"""Trains the classifier that reads an avatar's attributes, and measures it on held-out faces.

python benchmarks/attributes.py --out clipdiff_jax/assets/attributes
"""

import argparse

import jax
import jax.numpy as jnp

from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.metrics.avatars.attributes import (
    AttributeClassifier,
    AttributesConfig,
    Joined,
    measure,
    save,
    train,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the attribute classifier of avatars.")
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--faces", type=int, default=24_000, help="number of training faces")
    parser.add_argument("--test-faces", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = AttributesConfig()
    # One face in ten has a held-out combination, as in an unrestricted draw.
    ordinary = open_avatars(AvatarsData(config.image_size, count=args.faces))
    unseen = open_avatars(AvatarsData(config.image_size, "unseen", count=args.faces // 9))
    source = Joined(ordinary, unseen)
    params = train(source, config, steps=args.steps, batch_size=args.batch_size, seed=args.seed)
    # Measured as it will be loaded: in bfloat16.
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), params)
    test = open_avatars(
        AvatarsData(config.image_size, "test", count=args.test_faces, main_share=0.55)
    )
    accuracy = measure(AttributeClassifier(config, params, {}), test)
    for style, by_name in accuracy.items():
        print(style, " ".join(f"{name} {value:.3f}" for name, value in by_name.items()))
    print("written to", save(AttributeClassifier(config, params, accuracy), args.out))


if __name__ == "__main__":
    main()
