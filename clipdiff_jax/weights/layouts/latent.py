"""The layouts of latent diffusion models, in the order in which they are tried."""

from clipdiff_jax.weights.layouts import latent_diffusers, latent_original, latent_ours

LAYOUTS = (latent_ours.LAYOUT, latent_diffusers.LAYOUT, latent_original.LAYOUT)
