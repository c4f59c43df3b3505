"""Segments that a network proposes: the words that mask-classification networks and losses share.

Instead of a class for each pixel, such a network gives a fixed number of *queries*, each a class
and a mask. `MaskQueries` is what one layer of its decoder says of a batch.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class MaskQueries(NamedTuple):
    """The Q segments that one layer proposes for each image of a batch.

    Attributes:
        class_logits: ``(B, Q, classes)``; whether the last class stands for "no object" is between
            a network and its loss.
        mask_logits: ``(B, Q, h, w)``, at a fraction of the image's size.
        boxes: ``(B, Q, 4)``: centre x, centre y, width, height as shares of the image, in [0, 1];
            None for a network without boxes.
    """

    class_logits: "Tensor"
    mask_logits: "Tensor"
    boxes: "Tensor | None" = None
