"""How a latent diffusion model draws and changes pictures, as one value for each kind of call."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.progress import Watched
from clipdiff_jax.core.request import Number, Scale, fill, option
from clipdiff_jax.data.tokenize import as_texts
from clipdiff_jax.diffusion.grids import Spacing, Steps
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.steps import Sampler

P = TypeVar("P", bound="Painting")
Output = Literal["images", "latents"]
Binding = Literal["structured", "attend", "syngen"]


class PaintingOptions(Watched, total=False):
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


class FromNoiseOptions(PaintingOptions, total=False):
    """The fields of `FromNoise` as keywords of a call."""

    height: int | None
    width: int | None


class GenerationOptions(FromNoiseOptions, total=False):
    """The fields of `Generation` as keywords of a call."""

    binding: Binding | None
    phrases: tuple[str, ...] | None


class CollageOptions(FromNoiseOptions, total=False):
    """The fields of `Collage` as keywords of a call."""

    global_weight: Number
    background_drop: Number


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
class FromNoise(Painting):
    """What calls that draw from noise have in common.

    Attributes:
      height, width: in pixels, multiples of the autoencoder's factor; None for the trained size.
    """

    height: int | None = option(None, "pixels; the trained size if not given", low=1)
    width: int | None = option(None, "pixels; the trained size if not given", low=1)


@dataclass(frozen=True, kw_only=True)
class Generation(FromNoise):
    """How pictures are drawn from noise.

    Attributes:
      binding: how adjectives are held to their nouns, see `steering.binding`; None lets them be.
      phrases: the nouns with their adjectives, which each prompt must have; None finds them.
    """

    binding: Binding | None = option(None, "how adjectives are held to their nouns")
    phrases: tuple[str, ...] | None = option(
        None, "the nouns with their adjectives; found in the prompt if not given"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.binding not in (None, *get_args(Binding)):
            raise ValueError(
                f"binding must be one of {', '.join(get_args(Binding))}, got {self.binding!r}."
                f"{nearest(str(self.binding), get_args(Binding))}"
            )
        if self.phrases is not None:
            if self.binding is None:
                raise ValueError("phrases are of `binding`: give that too")
            object.__setattr__(self, "phrases", tuple(as_texts(self.phrases, "phrases")))


@dataclass(frozen=True, kw_only=True)
class Collage(FromNoise):
    """How pictures are drawn of a layout (NoiseCollage).

    Attributes:
      global_weight: of the scene's estimate, beside a region's own 1; 0 leaves it out, and then
        regions must cover the picture.
      background_drop: how probable it is that a place outside of a region sees no text, rather than
        the scene's, while that region is estimated. 0 is the paper's text, 0.75 its release.
    """

    global_weight: Number = option(0.1, "weight of the whole scene inside of regions", low=0)
    background_drop: Number = option(
        0.0, "share of the places outside of a region that see no text", low=0, high=1
    )


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


@dataclass(frozen=True, kw_only=True)
class PromptEditing(Painting):
    """How a picture is changed by changing its prompt (prompt-to-prompt).

    Attributes:
      inversion: "direct" puts the source back to its inversion after every step; "negative" leads
        guidance away from the source prompt instead, which ignores negative prompts; "ddim" does
        neither, and the source may be lost.
      pairing: "replace" pairs the words of both prompts in order; "refine" keeps what they share
        and adds words; None is "replace" where they have as many words.
      cross_share, self_share: of how many of the steps the maps of the text, and of the pixels, are
        the source's. None is 0.4 to replace and 0.8 to refine.
      blend_from, blend_above: where words to blend are given, after which share of the steps, and
        above which share of their map's highest value, the picture may change.
    """

    inversion: Literal["direct", "negative", "ddim"] = option(
        "direct", "how the picture is kept under guidance"
    )
    pairing: Literal["replace", "refine"] | None = option(
        None, "how the words of both prompts go together"
    )
    cross_share: Number | None = option(
        None, "share of the steps in which the text's maps are the source's", low=0, high=1
    )
    self_share: Number = option(
        0.6, "share of the steps in which the pixels' maps are the source's", low=0, high=1
    )
    blend_from: Number = option(0.2, "share of the steps before blending", low=0, high=1)
    blend_above: Number = option(0.3, "share of a map's peak that is blended in", low=0, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("inversion", INVERSIONS), ("pairing", (*PAIRINGS, None))):
            value = getattr(self, name)
            if value not in known:
                names = [one for one in known if one is not None]
                raise ValueError(
                    f"{name} must be {' or '.join(map(repr, names))}, got {value!r}."
                    f"{nearest(str(value), names)}"
                )
        deterministic(self, "prompt-to-prompt")


@dataclass(frozen=True, kw_only=True)
class ConceptEditing(Painting):
    """How a picture is changed by concepts added or taken away (LEDITS++).

    Attributes:
      guidance: the scale of each concept, 5 where it is None.
      steps: of how many the picture is noised and walked; `skip` more would be all of the walk.
      skip: the share of the steps that is left out at the noisiest end: more keeps more.
      source_guidance: scale of guidance while the source prompt is inverted, where one is given.
      spare: the share of the picture that a concept may not change.
      warmup: steps before concepts act.
      away: lead away from the concepts instead of towards them.
      anywhere: concepts act where they change most, wherever their words' maps say they are.
    """

    steps: Steps = option(30, "evaluations of the network", low=1)
    skip: Number = option(0.15, "share of the steps left out at the noisiest end", low=0, high=1)
    source_guidance: Number = option(3.5, "scale of guidance with the source prompt")
    spare: Number = option(
        0.9, "share of the picture that a concept leaves as it is", low=0, high=1
    )
    warmup: int = option(0, "steps before concepts act", low=0)
    away: bool = option(False, "lead away from the concepts")
    anywhere: bool = option(False, "concepts act also where their words are not")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.steps, int) or isinstance(self.steps, bool):
            raise ValueError(f"steps must be a number for LEDITS++, got {self.steps!r}")
        deterministic(self, "LEDITS++")


INVERSIONS, PAIRINGS = ("direct", "negative", "ddim"), ("replace", "refine")


def deterministic(request: Painting, method: str) -> None:
    """Raises `ValueError` for a sampler that a method which inverts cannot have."""
    if request.sampler != "ddim" or (isinstance(request.eta, (int, float)) and request.eta):
        raise ValueError(
            f"{method} inverts and walks by 'ddim' without eta, got {request.sampler!r} with "
            f"eta={request.eta}"
        )
    if isinstance(request.rescale, (int, float)) and request.rescale:
        raise ValueError(f"{method} takes no rescale, got {request.rescale}")


def filled(default: P, given: Sampling | None, options: Mapping[str, Any]) -> P:
    """`core.request.fill`, which here also takes a plain `Sampling`: what that lacks is the
    default's."""
    if given is None or isinstance(given, type(default)):
        return fill(default, given, options)
    common = {one.name: getattr(given, one.name) for one in dataclasses.fields(Sampling)}
    return fill(default, default.replace(**common), options)
