"""Where Mask DINO's queries come from: learnt, or chosen among the tokens of the image.

Unified query selection asks each token, with the decoder's own heads, what it would be, and takes
those that are surest of a class. A token stands for a box around its place, 5 % of the image wide
on the finest level and twice as much on each coarser one, until the box head changes it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from medseg.models.mask_dino_decoder import RefiningDecoder, unsquashed
from medseg.models.mask_dino_pixels import Maps, centres
from medseg.queries import MaskQueries, boxes_around

_FINEST, _EDGE = 0.05, 0.01


class Start(NamedTuple):
    """Queries before the first layer.

    Attributes:
        queries: ``(B, Q, C)``.
        places: ``(B, Q, 4)``: their boxes before the sigmoid.
        selected: What the tokens said of themselves; None for learnt queries.
    """

    queries: Tensor
    places: Tensor
    selected: MaskQueries | None = None


class LearntQueries(nn.Module):
    """Queries and boxes that are the same for every image (``TWO_STAGE: False``)."""

    def __init__(self, *, queries: int, width: int) -> None:
        super().__init__()
        self.queries = nn.Embedding(queries, width)
        self.places = nn.Embedding(queries, 4)

    def forward(self, maps: Maps, _decoder: RefiningDecoder) -> Start:
        """Return them for each image of a batch."""
        images = maps.tokens.shape[0]
        return Start(
            self.queries.weight.expand(images, -1, -1), self.places.weight.expand(images, -1, -1)
        )


class SelectedQueries(nn.Module):
    """The tokens of an image that are surest of a class (``TWO_STAGE: True``).

    Neither what they are nor their boxes take a gradient from the decoder: `Start.selected`, which
    has a loss of its own, teaches them.

    Args:
        queries: How many; all tokens of an image that has fewer.
        width: Of the tokens.
        from_masks: Begin with boxes around the masks of the tokens instead of those that the box
            head gives.
    """

    def __init__(self, *, queries: int, width: int, from_masks: bool = False) -> None:
        super().__init__()
        self.count, self.from_masks = queries, from_masks
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Maps, decoder: RefiningDecoder) -> Start:
        """Choose among the tokens by the classes that the decoder's head gives them."""
        proposals = proposed_boxes(maps)
        valid = ((proposals > _EDGE) & (proposals < 1 - _EDGE)).all(-1)
        tokens = self.norm(self.project(maps.tokens * valid[:, None]))
        surest = decoder.classes(tokens).amax(-1).masked_fill(~valid, -torch.inf)
        there_are = surest.shape[1]
        # The smaller one of both without a branch, which a trace would not keep.
        count = (self.count + there_are - abs(self.count - there_are)) // 2
        chosen = surest.topk(count, dim=1).indices[..., None]
        queries = tokens.gather(1, chosen.expand(-1, -1, tokens.shape[-1]))
        there = unsquashed(proposals)[chosen[..., 0]] + decoder.boxes(queries)
        selected = decoder.say(decoder.norm(queries), there.sigmoid(), maps.pixels)
        if self.from_masks:
            there = unsquashed(boxes_around(selected.mask_logits > 0))
        return Start(queries.detach(), there.detach(), selected)


def proposed_boxes(maps: Maps) -> Tensor:
    """Return the box that each token stands for, ``(S, 4)``."""
    levels = centres(maps.sizes, maps.tokens)
    sides = [torch.full_like(level, _FINEST * 2**number) for number, level in enumerate(levels)]
    return torch.cat((torch.cat(levels), torch.cat(sides)), dim=-1)
