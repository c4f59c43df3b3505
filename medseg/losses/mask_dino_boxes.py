"""Boxes against boxes: how far their sides are apart, and how much of both they share.

Boxes are centre x, centre y, width and height, as in `medseg.queries`.

References:
    Rezatofighi et al. (2019), Generalized Intersection over Union, CVPR.
"""

import torch
from torch import Tensor

_LEAST = 1e-6


def box_distance(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the sum of the four differences, broadcasting ``(..., 4)`` with ``(..., 4)``."""
    return (boxes - others).abs().sum(-1)


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return intersection over union, less the share of their hull that neither covers.

    In [-1, 1]: 1 for equal boxes, -1 for points far apart. Broadcasts ``(..., 4)`` with
    ``(..., 4)``. Boxes without an area are points or lines: 0 where they lie in one another.
    """
    low, high = _corners(boxes)
    other_low, other_high = _corners(others)
    shared = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0)
    hull = (torch.maximum(high, other_high) - torch.minimum(low, other_low)).prod(-1)
    both = shared.prod(-1)
    union = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - both
    return both / (union + _LEAST) - (hull - union) / (hull + _LEAST)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return centre - half, centre + half
