"""unCLIP at full scale, compiled and not run: parameters and what a device of eight would hold.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python benchmarks/paper_scale.py prior

One train step of a recipe of `configs/unclip/paper/`, parameters split over all devices (fsdp).
Nothing is allocated: CLIP is shapes, the data one synthetic example. XLA lays memory out for the
devices at hand, so figures of simulated CPU devices are a guide to GPUs, no more. The batch can be
made smaller by --batch: activations grow with it, parameters and optimiser do not.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.data.tokenize import train_tokenizer
from clipdiff_jax.models.clip import init_params
from clipdiff_jax.training.compiled import dry_run
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.stage import Stage
from clipdiff_jax.unclip.stages import ar_prior, decoder, diffusion_prior, upsampler
from clipdiff_jax.unclip.stages.ar_prior import ARPriorStage
from clipdiff_jax.unclip.stages.decoder import DecoderStage
from clipdiff_jax.unclip.stages.diffusion_prior import DiffusionPriorStage
from clipdiff_jax.unclip.stages.prior_inputs import PriorInputs, Transform
from clipdiff_jax.unclip.stages.upsampler import UpsamplerStage

RECIPES = Path(__file__).parent.parent / "configs" / "unclip" / "paper"
NAMES = ("prior", "ar_prior", "decoder", "upsampler_256", "upsampler_1024")


class Example:
    """A data set of one captioned example."""

    fingerprint = "example"

    def __init__(self, **example: Any) -> None:
        self._example = {"captions": ["a face"], **example}

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._example


def shapes_of_clip() -> Clip:
    """The paper's CLIP, its parameters as shapes."""
    config = load_config(str(RECIPES / "clip.py"), RunConfig, []).stage.clip
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    tokenizer = train_tokenizer(["a face"], 520, config.text.context_length)
    return Clip(config, shapes, tokenizer)


def prior_inputs(clip: Clip) -> PriorInputs:
    """Embeddings of one example, all the same."""
    width = clip.config.projection_dim
    return PriorInputs(
        source=Example(embedding=np.zeros(width, np.float32)),
        transform=Transform(clip.tokenizer),
        clip=clip,
        clip_fingerprint="",
        empty=clip.tokenizer([""])[0],
        mean=np.zeros(width, np.float32),
        std=np.ones(width, np.float32),
    )


def stage_of(config: Any) -> Stage:
    """The stage of a recipe over one example and the shapes of CLIP."""
    clip = shapes_of_clip()
    if isinstance(config, DiffusionPriorStage):
        return diffusion_prior.make_stage(config, prior_inputs(clip))
    if isinstance(config, ARPriorStage):
        return ar_prior.make_stage(config, prior_inputs(clip), fit=False)
    size = config.model.image_size
    image = np.zeros((size, size, 3), np.uint8)
    if isinstance(config, DecoderStage):
        embedding = np.zeros(clip.config.projection_dim, np.float32)
        return decoder.make_stage(config, Example(image=image, embedding=embedding), clip)
    assert isinstance(config, UpsamplerStage)
    return upsampler.make_stage(config, Example(image=image))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile a full-scale step; see the docstring.")
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--batch", type=int, default=64, help="examples per step (64)")
    args = parser.parse_args()
    for name in args.names:
        overrides = [
            f"train.batch_size={args.batch}",
            f"train.mesh.fsdp={jax.device_count()}",
        ]
        config = load_config(str(RECIPES / f"{name}.py"), RunConfig, overrides)
        print(f"{name}, {args.batch} examples")
        print(dry_run(stage_of(config.stage), config.train)["text"], flush=True)


if __name__ == "__main__":
    main()
