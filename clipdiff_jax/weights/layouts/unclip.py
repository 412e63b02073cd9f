"""The layouts of an unCLIP, in the order in which they are tried."""

from clipdiff_jax.weights.layouts import unclip_diffusers, unclip_karlo, unclip_ours

LAYOUTS = (unclip_ours.LAYOUT, unclip_karlo.LAYOUT, unclip_diffusers.LAYOUT)
