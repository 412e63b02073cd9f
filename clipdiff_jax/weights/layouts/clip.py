"""The layouts of CLIP, in the order in which they are tried."""

from clipdiff_jax.weights.layouts import clip_openai, clip_openclip, clip_ours, clip_transformers

LAYOUTS = (clip_ours.LAYOUT, clip_openclip.LAYOUT, clip_openai.LAYOUT, clip_transformers.LAYOUT)
FILES = ("*.json", "merges.txt")  # what a repository must have beside the weights
