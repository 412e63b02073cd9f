"""Watermarks in the noise: pictures that are drawn with a key, and found again by it.

    mark = cd.watermark.Key.new()
    mark.save("key.json")
    pictures = cd.watermark.generate(base, mark, 4, key=0)
    cd.watermark.detect(pictures, base, mark)[0].p

Tree-Ring (`diffusion.tree_ring`): the key decides some low frequencies of x_T, and whoever has the
key and the model inverts a picture and looks whether they are there. Nothing is added to pixels,
and the model is what it was. What the mark withstands, and what it does not protect against, is
measured in docs/safeguards.md.
"""

from clipdiff_jax.pictures.watermark.detection import Calibration as Calibration
from clipdiff_jax.pictures.watermark.detection import Detection as Detection
from clipdiff_jax.pictures.watermark.detection import calibrate as calibrate
from clipdiff_jax.pictures.watermark.detection import detect as detect
from clipdiff_jax.pictures.watermark.key import LATENTS as LATENTS
from clipdiff_jax.pictures.watermark.key import PIXELS as PIXELS
from clipdiff_jax.pictures.watermark.key import Key as Key
from clipdiff_jax.pictures.watermark.marking import generate as generate
from clipdiff_jax.pictures.watermark.marking import tree_ring as tree_ring
