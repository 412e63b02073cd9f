"""The public weights that LPIPS is made of, and their tensor names.

Two files: torchvision's classifier (`vgg16-397923af.pth`, `alexnet-owt-7be5be79.pth`), whose
convolutions are `features.N`, N counting ReLUs and pools too; and the linear heads of the lpips
package (`lpips/weights/v0.1/vgg.pth`, `alex.pth`), a 1 x 1 convolution to one channel for each
layer.
"""

from clipdiff_jax.models.vgg import VGGConfig
from clipdiff_jax.weights.tables import CONV, Axes, Rule, Table, affine

_CLASSIFIER = ("classifier.{i}.weight", "classifier.{i}.bias")
_ALEXNET_PLACES = (0, 3, 6, 8, 10)
_TO_ONE = Axes(ones=(0, 2, 3))  # [1, in, 1, 1]

ALEXNET = Table(
    "AlexNet (torchvision)",
    tuple(
        rule
        for index, place in enumerate(_ALEXNET_PLACES, 1)
        for rule in affine(f"features.{place}", f"conv{index}", CONV)
    ),
    ignored=_CLASSIFIER,
)

HEADS = Table(
    "linear heads of LPIPS, version 0.1", (Rule("lin{l}.model.1.weight", "lin{l}", _TO_ONE),)
)


def vgg_table(config: VGGConfig) -> Table:
    """The layout of a VGG without batch norm."""
    rules: list[Rule] = []
    place = 0
    for stage, depth in enumerate(config.depths, 1):
        for index in range(1, depth + 1):
            rules += affine(f"features.{place}", f"conv{stage}_{index}", CONV)
            place += 2  # the convolution and its ReLU
        place += 1  # the pool
    return Table("VGG (torchvision)", tuple(rules), ignored=_CLASSIFIER)
