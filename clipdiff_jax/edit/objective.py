"""What the edit stage learns, described: two texts, a way of learning, and the weights of the loss.

The ways are told apart in `edit.loss`.
"""

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from clipdiff_jax.core.checks import check_fields, check_number
from clipdiff_jax.core.config import formerly, nearest
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.perceptual.directional import Form
from clipdiff_jax.perceptual.templates import PLAIN

# The least values of numbers: weights push one way, and a walk has two ends.
_LEAST = {
    "invert_steps": 2, "train_steps": 2, "fixed_point": 0, "directional": 0, "length": 0, "l1": 0,
    "identity": 0, "noise": 0, "augmentations": 0, "grain": 0, "rank": 1,
}  # fmt: skip
Mode = Literal["unrolled", "single_step", "noised", "h_space"]
Parameters = Literal["all", "lora"]


class ObjectiveOptions(TypedDict, total=False):
    """The fields of `EditObjective`, but for its two texts, as keywords of a call."""

    negative_texts: tuple[str, ...]
    templates: tuple[str, ...]
    mode: Mode
    t0: int | None
    invert_steps: int
    train_steps: int
    fixed_point: int
    directional: float
    form: Form
    length: float
    wanted_length: float
    l1: float
    identity: float
    noise: float
    augmentations: int
    crop: float
    grain: float
    t_edit: int
    t_boost: int
    parameters: Parameters
    rank: int
    trainable: str


@dataclass(frozen=True, kw_only=True)
class EditObjective:
    """Describes what is learned; the defaults are the published ones.

    Attributes:
      source_text, target_text: what the pictures show, and what they should show.
      negative_texts: what they should not come to show instead, such as "sunglasses" for the target
        "glasses"; the text's direction leads away from the mean of these and `source_text`.
      templates: wordings of the two texts, see `perceptual.templates`.
      mode: how it is learned: "unrolled", "single_step", "noised" or "h_space".
      t0: how far pictures are noised, as a time index: the further, the more can change. None
        stands for a time found from the pictures and texts, see `edit.t0`; older configs wrote 0.
      invert_steps, train_steps: times of the inversion and of generation while training.
      fixed_point: iterations that refine each inversion step.
      directional, form: weight and form of L_dir.
      length, wanted_length: weight of L_length, and how far along the text's direction the
        picture should go, as a share of the text's own way.
      l1, identity, noise: weights of the further terms of eq. 20.
      augmentations, crop, grain: random views before CLIP, see `perceptual.directional`.
      t_edit: with "h_space", the least time at which the bottleneck is shifted; later steps of
        generation are the base model's own (Asyrp, section 4.1).
      t_boost: with "h_space", times below which noise is put in again while an edit is applied
        (eta 1), which sharpens what the edit left soft (section 4.2); 0 for none.
      parameters: what is trained: "all" of the model, or "lora", changes of low rank beside its
        kernels, which stay as they are (see `models.lora`).
      rank: of those changes.
      trainable: regex over paths of parameters, or of the kernels that "lora" changes; "" is all.
    """

    source_text: str
    target_text: str
    negative_texts: tuple[str, ...] = ()
    templates: tuple[str, ...] = PLAIN
    mode: Mode = "unrolled"
    t0: int | None = formerly(400, {0: None})
    invert_steps: int = 40
    train_steps: int = 6
    fixed_point: int = 0
    directional: float = 3.0
    form: Form = "log"
    length: float = 0.0
    wanted_length: float = 0.5
    l1: float = 1.0
    identity: float = 0.0
    noise: float = 0.0
    augmentations: int = 0
    crop: float = 0.8
    grain: float = 0.1
    t_edit: int = 0
    t_boost: int = 0
    parameters: Parameters = "all"
    rank: int = 8
    trainable: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, known in (("mode", get_args(Mode)), ("parameters", get_args(Parameters))):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {value!r}."
                    + nearest(value, known)
                )
        if self.t0 is not None:
            if self.t0 < 1:
                raise ValueError(
                    f"t0={self.t0}, expected 1 or more, or None for one found from the pictures"
                )
            ddim_grid(self.t0, self.invert_steps)
            ddim_grid(self.t0, self.train_steps)
        for name, low in _LEAST.items():
            check_number(name, getattr(self, name), low=low)
        check_number("crop", self.crop, above=0, high=1)
        for name in ("t_edit", "t_boost"):
            value = getattr(self, name)
            if value and self.mode != "h_space":
                raise ValueError(f"{name}={value} is for mode 'h_space', not {self.mode!r}")
            if self.t0 is not None and not 0 <= value <= self.t0:
                raise ValueError(f"{name} must lie between 0 and t0={self.t0}, got {value}")
        if self.mode == "h_space" and self.noise:
            raise ValueError(f"noise={self.noise}: in mode 'h_space' the base model stays as it is")
        if self.mode == "h_space" and self.parameters == "lora":
            raise ValueError(
                "mode 'h_space' trains a network of its own: leave parameters at 'all'"
            )

    @property
    def beside(self) -> bool:
        """Whether what is trained stands beside the model, which stays as it is."""
        return self.mode == "h_space" or self.parameters == "lora"

    @property
    def known_t0(self) -> int:
        """t0, where it is known. Raises `ValueError` where it is still to be found."""
        if self.t0 is None:
            raise ValueError("t0 is still to be found from the pictures: see edit.t0.with_t0")
        return self.t0

    @property
    def away_from(self) -> tuple[str, ...]:
        """All texts that the direction leads away from."""
        return self.source_text, *self.negative_texts

    @property
    def rounds(self) -> int:
        """Optimiser updates per batch."""
        if self.mode == "single_step":
            return self.train_steps
        if self.mode == "h_space":
            return int((ddim_grid(self.known_t0, self.train_steps)[:-1] >= self.t_edit).sum())
        return 1

    @property
    def evaluations(self) -> int:
        """Evaluations of the network with gradients that a picture costs each time it is seen."""
        return self.train_steps if self.mode == "unrolled" else self.rounds
