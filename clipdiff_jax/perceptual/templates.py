"""Prompt templates: many wordings of one text, whose mean is steadier than any of them.

`IMAGENET_TEMPLATES` are the prompts CLIP's authors wrote for ImageNet (Radford et al. 2021, arXiv
2103.00020, section 3.1.4), the 79 of those 80 that speak of one thing ("a photo of many {}." is
left out), as editing with CLIP uses them since StyleGAN-NADA (Gal et al. 2021, arXiv 2108.00946).
A CLIP trained on a small vocabulary wants templates in its own words; `PLAIN` always fits.
"""

_WITH_A_AND_THE = (
    "_ cartoon {}.",
    "_ embroidered {}.",
    "_ origami {}.",
    "_ plastic {}.",
    "_ plushie {}.",
    "_ toy {}.",
    "_ {} in a video game.",
    "a bad photo of _ {}.",
    "a black and white photo of _ {}.",
    "a blurry photo of _ {}.",
    "a bright photo of _ {}.",
    "a close-up photo of _ {}.",
    "a cropped photo of _ {}.",
    "a dark photo of _ {}.",
    "a doodle of _ {}.",
    "a drawing of _ {}.",
    "a good photo of _ {}.",
    "a jpeg corrupted photo of _ {}.",
    "a low resolution photo of _ {}.",
    "a painting of _ {}.",
    "a photo of _ clean {}.",
    "a photo of _ cool {}.",
    "a photo of _ dirty {}.",
    "a photo of _ hard to see {}.",
    "a photo of _ large {}.",
    "a photo of _ nice {}.",
    "a photo of _ small {}.",
    "a photo of _ weird {}.",
    "a photo of _ {}.",
    "a pixelated photo of _ {}.",
    "a rendering of _ {}.",
    "a rendition of _ {}.",
    "a sculpture of _ {}.",
    "a sketch of _ {}.",
    "a tattoo of _ {}.",
    "art of _ {}.",
    "graffiti of _ {}.",
    "itap of _ {}.",
)
_ALONE = ("a photo of my {}.", "a photo of one {}.", "itap of my {}.")

IMAGENET_TEMPLATES: tuple[str, ...] = _ALONE + tuple(
    template.replace("_", article, 1) for template in _WITH_A_AND_THE for article in ("a", "the")
)
PLAIN: tuple[str, ...] = ("{}",)


def fill(templates: tuple[str, ...], text: str) -> list[str]:
    """`text` in each template. Raises ValueError for a template without the place "{}"."""
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"a template needs exactly one {{}}, got {template!r}")
    return [template.replace("{}", text) for template in templates]
