"""Mask DINO's decoder: queries with anchor boxes that every layer moves.

A query is a content vector and a box (centre and size). In each layer the queries look at one
another, then at the maps at points inside and around their boxes, and then say how to change the
boxes. What a layer says of queries is a class, a mask and a box (`medseg.queries`): the mask is the
inner product of a query's embedding with that of each pixel.

References:
    Li et al. (2023), Mask DINO: Towards A Unified Transformer-based Framework for Object Detection
    and Segmentation, CVPR. Zhang et al. (2023), DINO, ICLR: look forward twice. Liu et al. (2022),
    DAB-DETR, ICLR: boxes as positions of queries.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from medseg.models.mask_dino_pixels import HEADS, Maps, deformable_attention
from medseg.queries import MaskQueries

_TEMPERATURE, _NEAREST = 10_000.0, 1e-5


class RefiningDecoder(nn.Module):
    """Layers that refine queries, and the heads that say what the queries are, shared by all.

    Args:
        width: Of the queries and of the maps.
        levels: Of the maps.
        layers: How many.
        ffn: Width of the feed-forward part of a layer.
        classes: Width of the class logits.
    """

    def __init__(self, *, width: int, levels: int, layers: int, ffn: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(width=width, ffn=ffn, levels=levels) for _ in range(layers)
        )
        self.positions = perceptron((2 * width, width, width))
        for weight in (*self.layers.parameters(), *self.positions.parameters()):
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
        for layer in self.layers:
            layer.cross_attention = deformable_attention(width, levels)
        self.norm = nn.LayerNorm(width)
        self.classes = nn.Linear(width, classes)
        self.masks = perceptron((width, width, width, width))
        self.boxes = perceptron((width, width, width, 4))
        # At first no layer moves a box.
        for parameter in self.boxes[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, queries: Tensor, places: Tensor, maps: Maps, *, hidden: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the normalised queries after each layer, and the boxes there; first as they come.

        Look forward twice: the box that a layer is judged by is its own change of the box that the
        layer before gave, through which it learns too; but what is carried from layer to layer
        carries no gradient.

        Args:
            queries: ``(B, Q, C)``.
            places: ``(B, Q, 4)``: their boxes before the sigmoid.
            maps: To look at.
            hidden: ``(Q, Q)`` bool: True where the query of the row must not see the column's.
        """
        anchors = given = places.sigmoid()
        states, boxes = [self.norm(queries)], [anchors]
        for layer in self.layers:
            positions = self.positions(waves(anchors, queries.shape[-1] // 2))
            queries = layer(queries, positions, anchors, maps, hidden=hidden)
            states.append(self.norm(queries))
            boxes.append(moved(given, self.boxes(states[-1])))
            given = moved(anchors, self.boxes(queries))
            anchors = given.detach()
        return states, boxes

    def say(self, state: Tensor, boxes: Tensor | None, pixels: Tensor) -> MaskQueries:
        """Return what normalised queries ``(B, Q, C)`` are, on pixels ``(B, C, h, w)``."""
        masks = torch.einsum("bqc,bchw->bqhw", self.masks(state), pixels)
        return MaskQueries(self.classes(state), masks, boxes)


class DecoderLayer(nn.Module):
    """Attention among queries, deformable attention to the maps, and a feed-forward part.

    Each is added to what it was given, and normalised after that.
    """

    def __init__(self, *, width: int, ffn: int, levels: int) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.cross_attention = deformable_attention(width, levels)
        self.ffn = perceptron((width, ffn, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        anchors: Tensor,
        maps: Maps,
        *,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Return the queries ``(B, Q, C)`` after this layer.

        Args:
            queries: ``(B, Q, C)``.
            positions: ``(B, Q, C)``, what their boxes are embedded as.
            anchors: ``(B, Q, 4)``, their boxes.
            maps: To look at.
            hidden: ``(Q, Q)`` bool: True where the query of the row must not see the column's.
        """
        placed = queries + positions
        seen, _ = self.self_attention(placed, placed, queries, attn_mask=hidden, need_weights=False)
        queries = self.norms[0](queries + seen)
        seen, _ = self.cross_attention(
            hidden_states=queries,
            encoder_hidden_states=maps.tokens,
            position_embeddings=positions,
            reference_points=anchors[:, :, None].expand(-1, -1, len(maps.sizes), -1),
            spatial_shapes_list=maps.sizes,
        )
        queries = self.norms[1](queries + seen)
        changed: Tensor = self.norms[2](queries + self.ffn(queries))
        return changed


def moved(boxes: Tensor, by: Tensor) -> Tensor:
    """Return boxes in [0, 1], moved before the sigmoid."""
    return (unsquashed(boxes) + by).sigmoid()


def unsquashed(shares: Tensor) -> Tensor:
    """Return what the sigmoid makes `shares` of, no nearer to 0 and 1 than 1e-5."""
    shares = shares.clamp(0.0, 1.0)
    return (shares.clamp(min=_NEAREST) / (1 - shares).clamp(min=_NEAREST)).log()


def waves(boxes: Tensor, width: int) -> Tensor:
    """Return boxes ``(..., 4)`` as sines and cosines ``(..., 4 * width)``: y, x, width, height.

    Half of the `width` numbers a coordinate are sines of growing wavelength, and between them stand
    the cosines.
    """
    steps = torch.arange(0, width, 2, dtype=boxes.dtype, device=boxes.device)
    angles = 2 * math.pi * boxes[..., [1, 0, 2, 3]].unsqueeze(-1) / _TEMPERATURE ** (steps / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Build linear layers with ReLU between them."""
    parts: list[nn.Module] = []
    for into, out in pairwise(widths):
        parts += [nn.Linear(into, out), nn.ReLU()]
    return nn.Sequential(*parts[:-1])
