"""How a picture is drawn from a text by the whole hierarchy, as one value."""

from dataclasses import dataclass
from typing import Literal, get_args

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.progress import Watched
from clipdiff_jax.core.request import Request, Scale, option
from clipdiff_jax.diffusion.grids import Spacing, Steps
from clipdiff_jax.diffusion.sampling import Sampling, SamplingOptions
from clipdiff_jax.diffusion.steps import Sampler

PriorName = Literal["prior", "ar_prior", "direct_prior"]
PRIORS: tuple[PriorName, ...] = get_args(PriorName)  # in the order in which they are preferred


class PriorSamplingOptions(SamplingOptions, total=False):
    """The fields of `PriorSampling` as keywords of a call."""

    prior: PriorName | None
    candidates: int
    temperature: Scale


@dataclass(frozen=True, kw_only=True)
class PriorSampling(Sampling):
    """How a prior draws CLIP image embeddings.

    Attributes:
      steps, sampler, eta: of the diffusion prior.
      guidance: of the diffusion prior and the autoregressive one.
      prior, candidates, temperature: see `Drawing`.

    The direct prior draws nothing and has none of these. Raises `ValueError` as `Sampling` does,
    and for a threshold, which is one of pictures.
    """

    steps: Steps = option(25, "evaluations of the prior", low=1)
    sampler: Sampler = option("ancestral", "sampler of the prior")
    spacing: Spacing = option("linspace", "how the times are spread over the schedule")
    prior: PriorName | None = option(None, "which prior to use (default: the first available)")
    candidates: int = option(
        1, "embeddings drawn per picture, of which the one most like the text is kept", low=1
    )
    temperature: Scale = option(1.0, "of an autoregressive prior; 0 takes the likeliest", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prior(self.prior)
        if self.threshold is not None:
            raise ValueError(f"threshold={self.threshold} is of pictures, a prior has none")


def check_prior(name: str | None) -> None:
    """Raises `ValueError`, with the nearest name, for a prior that does not exist."""
    if name is not None and name not in PRIORS:
        raise ValueError(
            f"prior must be one of {', '.join(PRIORS)}, got {name!r}.{nearest(str(name), PRIORS)}"
        )


class DrawingOptions(Watched, total=False):
    """The fields of `Drawing` as keywords of a call."""

    guidance: Scale | None
    steps: Steps
    sampler: Sampler
    eta: Scale
    threshold: Scale | None
    prior: PriorName | None
    prior_guidance: Scale | None
    prior_steps: Steps
    candidates: int
    temperature: Scale
    upsample_steps: Steps


@dataclass(frozen=True, kw_only=True)
class Drawing(Request):
    """How prior, decoder and upsamplers are sampled; `Sampling` says what the fields mean.

    Attributes:
      guidance, steps, sampler, eta, threshold: of the decoder.
      prior: the part that draws embeddings: "prior" (by diffusion), "ar_prior" or "direct_prior";
        None for the first of them that is loaded.
      prior_guidance, prior_steps: of the prior; the direct one has neither.
      candidates: embeddings drawn for each prompt, of which the one most like the prompt's text
        embedding is kept (section 2.2 draws 2).
      temperature: of the autoregressive prior; 0 takes the likeliest code.
      upsample_steps: of each upsampler.

    Guidance, eta, threshold and temperature are traced. Raises `ValueError` as `Sampling` does.
    """

    guidance: Scale | None = option(
        None, "scale of the decoder's classifier-free guidance; 1 is none"
    )
    steps: Steps = option(25, "evaluations of the decoder", low=1)
    sampler: Sampler = option("ancestral", "sampler of the decoder")
    eta: Scale = option(0.0, "DDIM's noise, from 0 (none) to 1 (as much as DDPM)", low=0, high=1)
    threshold: Scale | None = option(
        None, "percentile of dynamic thresholding of the decoder, such as 99.5", above=0, high=100
    )
    prior: PriorName | None = option(None, "which prior to use (default: the first available)")
    prior_guidance: Scale | None = option(
        None, "scale of the prior's classifier-free guidance; 1 is none"
    )
    prior_steps: Steps = option(25, "evaluations of the prior", low=1)
    candidates: int = option(
        1, "embeddings drawn per picture, of which the one most like the text is kept", low=1
    )
    temperature: Scale = option(1.0, "of an autoregressive prior; 0 takes the likeliest", low=0)
    upsample_steps: Steps = option(7, "evaluations of each upsampler", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prior(self.prior)
        _ = self.of_decoder, self.of_prior, self.of_upsampler  # checked as they are made

    @property
    def of_decoder(self) -> Sampling:
        return Sampling(
            steps=self.steps,
            sampler=self.sampler,
            eta=self.eta,
            guidance=self.guidance,
            threshold=self.threshold,
            spacing="linspace",
        )

    @property
    def of_prior(self) -> PriorSampling:
        return PriorSampling(
            steps=self.prior_steps,
            guidance=self.prior_guidance,
            prior=self.prior,
            candidates=self.candidates,
            temperature=self.temperature,
        )

    @property
    def of_upsampler(self) -> Sampling:
        return Sampling(steps=self.upsample_steps, sampler="ancestral", spacing="linspace")
