"""Unified denoising: in training, the decoder is also given the truth with noise, to restore it.

Beside the queries that must find segments, groups of queries stand for the true ones: their content
is the embedding of the class, sometimes of a wrong one, and their boxes are moved and stretched.
Which query answers for which segment is known, so the decoder learns from them without an
assignment. No group sees another, and the finding queries see none of them.

References:
    Li et al. (2022), DN-DETR, CVPR; Li et al. (2023), Mask DINO, CVPR.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from medseg.models.mask_dino_decoder import unsquashed
from medseg.queries import boxes_around

NOISE = 0.4


class Noised(NamedTuple):
    """Groups of queries that stand for true segments.

    Attributes:
        queries: ``(B, N, C)``, group by group.
        places: ``(B, N, 4)``: noised boxes before the sigmoid.
        classes: ``(B, N)``: what each stands for; -1 where an image has fewer segments than
            another, and a query only fills up.
        groups: How many.
    """

    queries: Tensor
    places: Tensor
    classes: Tensor
    groups: int


def noised(
    masks: Tensor, embedding: nn.Embedding, *, count: int, overlapping: bool
) -> Noised | None:
    """Draw groups of noised segments; None where `count` is too small, or no image has a segment.

    There are as many groups as `count` has room for in the image with most segments. Random numbers
    are torch's.

    Args:
        masks: Organ masks ``(B, K, H, W)``, not 0 where the organ is, in the frame of the network's
            boxes. Where organs share pixels, the boxes here are those of the whole organs.
        embedding: Of classes.
        count: Of queries, for all groups together.
        overlapping: The classes are the organs; otherwise background is the first.
    """
    regions = masks != 0
    if not overlapping:
        regions = torch.cat((~regions.any(1, keepdim=True), regions), dim=1)
    there = regions.flatten(2).any(2)
    most = int(there.sum(1).amax())
    groups = count // most if most else 0
    if groups == 0:
        return None
    # The classes that an image shows come first, in their order.
    classes = (~there).byte().argsort(dim=1, stable=True)[:, :most]
    boxes = boxes_around(regions).gather(1, classes[..., None].expand(-1, -1, 4))
    true = there.gather(1, classes).repeat(1, groups)
    classes = classes.repeat(1, groups)
    given = noised_classes(classes, embedding.num_embeddings)
    places = unsquashed(noised_boxes(boxes.repeat(1, groups, 1)))
    return Noised(
        embedding(given) * true[..., None],
        places * true[..., None],
        classes.masked_fill(~true, -1),
        groups,
    )


def noised_classes(classes: Tensor, count: int, *, noise: float = NOISE) -> Tensor:
    """Return classes, of which a share of ``noise / 2`` is drawn anew from all `count`."""
    changed = torch.rand(classes.shape, device=classes.device) < noise / 2
    return torch.where(changed, torch.randint_like(classes, count), classes)


def noised_boxes(boxes: Tensor, *, noise: float = NOISE) -> Tensor:
    """Return boxes whose centres stay inside the old ones, and whose sides are stretched.

    Centres move by up to `noise` of half a side, sides change by up to `noise` of themselves; all
    is cut off at [0, 1].
    """
    sides = boxes[..., 2:]
    reach = torch.cat((sides / 2, sides), dim=-1)
    return (boxes + (2 * torch.rand_like(boxes) - 1) * reach * noise).clamp(0.0, 1.0)


def hidden_groups(groups: int, group: int, others: int, device: torch.device) -> Tensor:
    """Return ``(Q, Q)`` bool: True where the query of the row must not see the column's.

    Args:
        groups: Of noised queries, which come first.
        group: Queries of one.
        others: Queries that follow.
        device: Of the answer.
    """
    number = torch.arange(groups, device=device).repeat_interleave(group)
    number = torch.cat((number, number.new_full((others,), groups)))
    to, of = number[None], number[:, None]
    # All may see the last, the finding queries.
    return (to != of) & (to != groups)
