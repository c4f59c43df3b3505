"""What a network that proposes segments is asked for, and which proposal answers for which segment.

A *segment* is a class and a mask. One image has at most one of each class: the pixels of an organ
on a slice are one segment, however many pieces they are in. A network proposes more segments than
there are, its *queries*, and the *Hungarian assignment* gives each segment the query of its own
with which the costs of all pairs add up to the least.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.losses.overlap import exclusive_classes


def class_masks(
    masks: Tensor, *, painting_order: Sequence[int] | None = None, overlapping: bool = False
) -> Tensor:
    """Return the pixels of each class, ``(B, classes, H, W)`` bool; those with any are segments.

    Where classes exclude each other, the background is one of them, and the one segment of an empty
    slice. An empty slice of organs that may overlap has none.

    Args:
        masks: Organ masks ``(B, K, H, W)``, not 0 where the organ is.
        painting_order: As for `exclusive_classes`; without a meaning where organs overlap.
        overlapping: Organs may share pixels, and are the K classes. Otherwise there are K + 1,
            background first, and each pixel belongs to one.
    """
    if overlapping:
        return masks != 0
    classes = exclusive_classes(masks, painting_order)
    return classes[:, None] == torch.arange(masks.shape[1] + 1, device=masks.device)[:, None, None]


def assigned(costs: Tensor, present: Tensor) -> Tensor:
    """Return the query assigned to each class, ``(L, B, K)`` int64; -1 where there is none.

    Where an image has more segments than queries, those that cost most together get none. It waits
    for the device once.

    Args:
        costs: ``(L, B, Q, K)`` of giving query q to class k, for each of L layers of a decoder.
            NaN and infinity count as more than any number, so that what is assigned says nothing;
            whoever trains must look whether the costs are finite.
        present: ``(B, K)`` bool: the classes that the images show.
    """
    # Importing scipy takes a moment, and only training needs it.
    from scipy.optimize import linear_sum_assignment

    matrices = torch.nan_to_num(costs.detach().float(), nan=_MOST, posinf=_MOST, neginf=_MOST)
    host, there = matrices.cpu().numpy(), present.cpu().numpy()
    answers = np.full((*costs.shape[:2], costs.shape[3]), -1)
    for layer, image in np.ndindex(*costs.shape[:2]):
        classes = np.flatnonzero(there[image])
        queries, places = linear_sum_assignment(host[layer, image][:, classes])
        answers[layer, image, classes[places]] = queries
    return torch.from_numpy(answers).to(costs.device)


# Sums of it are finite too.
_MOST = 1e30
