"""Segments that a network proposes: the words that mask-classification networks and losses share.

Instead of a class for each pixel, such a network gives a fixed number of *queries*, each a class
and a mask. `MaskQueries` is what one layer of its decoder says of a batch.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

# Image pixels along a side of one pixel of the masks that are proposed.
MASK_STRIDE_PX = 4


class MaskQueries(NamedTuple):
    """The Q segments that one layer proposes for each image of a batch.

    Attributes:
        class_logits: ``(B, Q, classes)``; whether the last class stands for "no object" is between
            a network and its loss.
        mask_logits: ``(B, Q, h, w)``, at the image's size by `MASK_STRIDE_PX`, rounded up.
        boxes: ``(B, Q, 4)``: centre x, centre y, width, height as shares of the image, in [0, 1];
            None for a network without boxes.
    """

    class_logits: "Tensor"
    mask_logits: "Tensor"
    boxes: "Tensor | None" = None


class DenoisingQueries(NamedTuple):
    """What a decoder makes of true classes and boxes that it was given with noise.

    Attributes:
        layers: What each layer says of the N queries of each image.
        classes: ``(B, N)`` int64: the class that each query stands for; -1 for those that fill up.
    """

    layers: "tuple[MaskQueries, ...]"
    classes: "Tensor"


class RefinedQueries(NamedTuple):
    """What a network with boxes that are refined layer by layer says of a batch in training.

    The frame of masks and boxes is the image with what was added at its right and its bottom, of
    which the masks are a quarter.

    Attributes:
        layers: From the prediction before the first layer to that after the last.
        selected: The tokens chosen to begin with; None where the queries are learnt.
        denoising: None where nothing is to be denoised.
        no_object: The last class of the logits stands for no object.
    """

    layers: "tuple[MaskQueries, ...]"
    selected: "MaskQueries | None" = None
    denoising: "DenoisingQueries | None" = None
    no_object: bool = False


def boxes_around(masks: "Tensor") -> "Tensor":
    """Return the smallest boxes ``(..., 4)`` around masks ``(..., H, W)``, as in `MaskQueries`.

    Edges are those of pixels: one pixel is as wide as it is. The box of an empty mask is 0.
    """
    sides = [_extent(masks.any(-2)), _extent(masks.any(-1))]
    centre = [(low + high) / 2 for low, high in sides]
    size = [high - low for low, high in sides]
    boxes = masks.new_zeros((*masks.shape[:-2], 4), dtype=centre[0].dtype)
    for place, value in enumerate((*centre, *size)):
        boxes[..., place] = value
    return boxes


def _extent(there: "Tensor") -> "tuple[Tensor, Tensor]":
    """Return the edges of what is there along the last dimension, as shares of it."""
    length = there.shape[-1]
    hits = there.byte()
    low = hits.argmax(-1)
    high = length - hits.flip(-1).argmax(-1)
    some = there.any(-1)
    return low * some / length, high * some / length
