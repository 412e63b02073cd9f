"""How a latent diffusion model draws and changes pictures, as one value for each kind of call."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar, get_args

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.request import Number, Scale, fill, option
from clipdiff_jax.diffusion.grids import Spacing, Steps
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.steps import Sampler

P = TypeVar("P", bound="Painting")
Output = Literal["images", "latents"]


class PaintingOptions(TypedDict, total=False):
    """The fields of `Painting` as keywords of a call."""

    steps: Steps
    sampler: Sampler
    eta: Scale
    guidance: Scale | None
    spacing: Spacing | None
    rescale: Scale
    count: int
    batch: int | None
    output: Output


class GenerationOptions(PaintingOptions, total=False):
    """The fields of `Generation` as keywords of a call."""

    height: int | None
    width: int | None


class RepaintingOptions(PaintingOptions, total=False):
    """The fields of `Repainting` as keywords of a call."""

    strength: Number


class InstructionOptions(PaintingOptions, total=False):
    """The fields of `Instruction` as keywords of a call."""

    image_guidance: Scale


@dataclass(frozen=True, kw_only=True)
class Painting(Sampling):
    """What all calls of a latent diffusion model have in common.

    Attributes:
      steps, sampler, eta, spacing: see `Sampling`; without a spacing the model's own walk.
      guidance: scale of classifier-free guidance, towards the prompt and away from the negative
        one; 1 is none and costs half, None the model's own. Below 1 it is what the formula says.
      rescale: share of the contrast that guidance adds which is taken back (arXiv 2305.08891,
        eq. 16): 0 none, 0.7 what is suggested for models that predict v.
      count: pictures for each prompt.
      batch: pictures computed at a time; None for all at once. A picture does not depend on it.
      output: "images", or "latents", which are not decoded.

    Raises `ValueError` as `Sampling` does, and for a threshold: latents have no range.
    """

    rescale: Scale = option(
        0.0, "share of the contrast that guidance adds which is taken back", low=0, high=1
    )
    count: int = option(1, "pictures for each prompt", low=1)
    batch: int | None = option(None, "pictures computed at a time", low=1)
    output: Output = option("images", "pictures, or latents that are not decoded")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            raise ValueError(f"threshold={self.threshold} is of pictures, latents have no range")
        if self.output not in get_args(Output):
            raise ValueError(
                f"output must be 'images' or 'latents', got {self.output!r}."
                f"{nearest(str(self.output), get_args(Output))}"
            )


@dataclass(frozen=True, kw_only=True)
class Generation(Painting):
    """How pictures are drawn from noise.

    Attributes:
      height, width: in pixels, multiples of the autoencoder's factor; None for the trained size.
    """

    height: int | None = option(None, "pixels; the trained size if not given", low=1)
    width: int | None = option(None, "pixels; the trained size if not given", low=1)


@dataclass(frozen=True, kw_only=True)
class Repainting(Painting):
    """How pictures are drawn from other pictures.

    Attributes:
      strength: the share of the steps that is walked, min(int(steps * strength), steps): towards 0
        the picture stays as it is, 1 starts from noise alone. Changing it compiles nothing new.
    """

    strength: Number = option(0.8, "share of the steps that is walked", above=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Inpainting(Repainting):
    """How pictures are painted anew inside of a mask: `Repainting`, by default from noise alone."""

    strength: Number = option(1.0, "share of the steps that is walked", above=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Instruction(Painting):
    """How pictures are changed as a text says (InstructPix2Pix).

    Attributes:
      guidance: towards the instruction.
      image_guidance: towards the picture that is to be changed.
    """

    steps: Steps = option(100, "evaluations of the network", low=1)
    image_guidance: Scale = option(1.5, "scale of guidance towards the picture")


def filled(default: P, given: Sampling | None, options: Mapping[str, Any]) -> P:
    """`core.request.fill`, which here also takes a plain `Sampling`: what that lacks is the
    default's."""
    if given is None or isinstance(given, type(default)):
        return fill(default, given, options)
    common = {one.name: getattr(given, one.name) for one in dataclasses.fields(Sampling)}
    return fill(default, default.replace(**common), options)
