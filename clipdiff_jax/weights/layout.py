"""A weight layout is one value: how to know it, read it, name its tensors and write it.

    LAYOUT = Layout("name", "what a source of it has", matches, read, table, write)

Each is a file of `weights/layouts/` and a line in the list of the models it holds, `LAYOUTS` of
`layouts/clip.py`, `layouts/pixel.py`, `layouts/latent.py` and `layouts/unclip.py`. The first of a
list that matches a path reads it, see `loading.read_first`. Layouts know configs and parameters,
not the objects that compute with them; so what one reads is a tuple below, and any layout that can
write takes it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.models.clip import CLIPConfig
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unclip import PartConfig
from clipdiff_jax.weights.clip_flags import ClipFlags
from clipdiff_jax.weights.guided_flags import GuidedFlags
from clipdiff_jax.weights.latent_reading import LatentReading
from clipdiff_jax.weights.params import on_device
from clipdiff_jax.weights.tables import Table, import_params

Config = TypeVar("Config", contravariant=True)
Weights = TypeVar("Weights")
Tables = Table | Mapping[str, Table]  # of one file, or of several by what each holds


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is asked of a layout; each takes of it what concerns it.

    Attributes:
      param_dtype: what floating-point parameters become; None keeps the source's.
      tokenizer: of a CLIP, in place of the one beside the weights.
      flags: what a file of pixel diffusion does not tell of its model; None where nothing is said.
      clip_flags: what a bare file of a CLIP does not tell of it; None where nothing is said.
      part: which of several state dicts of a file, see `weights.state_dicts`.
      parts: which parts of an unCLIP; None for all that are there.
      latent: what is asked of a latent diffusion model.
    """

    param_dtype: DType | None = jnp.float32
    tokenizer: Tokenizer | None = None
    flags: GuidedFlags | None = None
    clip_flags: ClipFlags | None = None
    part: str | None = None
    parts: tuple[str, ...] | None = None
    latent: LatentReading = field(default_factory=LatentReading)


class ClipWeights(NamedTuple):
    """What layouts read and write of a CLIP."""

    config: CLIPConfig
    params: Params
    tokenizer: Tokenizer


class DiffusionWeights(NamedTuple):
    """What layouts read and write of a pixel diffusion model."""

    config: DiffusionConfig
    params: Params


AnyPart = PartConfig | ARPriorConfig | DirectPriorConfig


class UnClipWeights(NamedTuple):
    """What layouts read of an unCLIP: each part's config and parameters by its name."""

    parts: Mapping[str, tuple[AnyPart, Params]]
    tokenizer: Tokenizer


class LatentWeights(NamedTuple):
    """What layouts read and write of a latent diffusion model.

    Attributes:
      config: what it is.
      params: {"unet", "autoencoder", "texts": one of each tower} and, where it has one, "preview".
      tokenizers: of each text tower; none, of a file without.
      text_prefix: whether a text tower without a projection has the prefix "text_model." before its
        names in a diffusers folder, as all had before transformers 5.
    """

    config: LatentConfig
    params: Params
    tokenizers: tuple[Tokenizer, ...] = ()
    text_prefix: bool = True


@dataclass(frozen=True)
class Layout(Generic[Config, Weights]):
    """A way in which models lie on disk.

    Attributes:
      name: what commands and messages call it.
      mark: what a source of it has and others have not, for the message where nothing matches.
      matches: whether the file or folder is of this layout; cheap, no array is read.
      read: the file or folder -> a model; raises `WeightsError` that names what does not fit.
      table: the tensors' names and ours, for a model of a config; None where they are the same.
      write: makes the folder, whole or not at all, as `read` reads it; raises `WeightsError` for a
        model that the layout cannot hold. None for a layout that is only read.
    """

    name: str
    mark: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, Reading], Weights]
    table: Callable[[Config], Tables] | None = None
    write: Callable[[Path, Weights], object] | None = None


def fill_params(
    table: Table,
    tensors: Mapping[str, np.ndarray],
    init: Callable[[Array], Params],
    param_dtype: DType | None,
) -> Params:
    """The parameters that `init(key)` would make, from a file's tensors, on the device.

    Raises `ConvertError` unless they fit exactly, see `tables.import_params`.
    """
    shapes = jax.eval_shape(init, jax.random.key(0))
    return import_params(table, tensors, shapes, dtype=param_dtype, place=on_device)
