"""The layouts of pixel diffusion models, in the order in which they are tried."""

from clipdiff_jax.weights.layouts import pixel_ddpm, pixel_diffusers, pixel_guided, pixel_ours

LAYOUTS = (pixel_ours.LAYOUT, pixel_guided.LAYOUT, pixel_ddpm.LAYOUT, pixel_diffusers.LAYOUT)
