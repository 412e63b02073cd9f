"""A latent diffusion model on disk, in our own layout."""

from pathlib import Path

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.weights.layout import LatentWeights
from clipdiff_jax.weights.layouts import latent_ours
from clipdiff_jax.weights.publishing import Pushable


class Saved(Pushable):
    """The parts of a model of which its folder consists, see `latent.model.LatentDiffusion`."""

    config: LatentConfig
    unet: Params
    autoencoder: Params
    texts: tuple[Params, ...]
    tokenizers: tuple[Tokenizer, ...]
    preview: Params

    @property
    def weights(self) -> LatentWeights:
        """What every layout that can write takes."""
        params = {"unet": self.unet, "autoencoder": self.autoencoder, "texts": self.texts}
        if self.preview is not None:
            params["preview"] = self.preview
        return LatentWeights(self.config, params, self.tokenizers)

    def save(self, path: str | Path, *, dtype: DType | None = None) -> None:
        """Writes the folder that `load_latent` reads; floating-point arrays become `dtype`."""
        latent_ours.write(path, self.weights, dtype)
