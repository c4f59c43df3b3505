"""Mask DINO's maps: tokens of several sizes that have seen one another, and an embedding a pixel.

Mask2Former's pixel decoder, which Mask DINO takes over, with one more level where asked. Deformable
attention samples a few points of every level around each place, so six layers of it mix maps of an
eighth to a sixty-fourth of the image at little cost.

References:
    Cheng et al. (2022), Masked-attention Mask Transformer for Universal Image Segmentation, CVPR.
    Zhu et al. (2021), Deformable DETR, ICLR: the attention and its first weights.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers.modeling_outputs import BaseModelOutput
    from transformers.models.mask2former.modeling_mask2former import (
        Mask2FormerPixelDecoder,
        Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
    )

HEADS, POINTS, _GROUPS = 8, 4, 32
_STRIDES = [4, 8, 16, 32]


class Maps(NamedTuple):
    """What the pixel decoder makes of a batch of images.

    Attributes:
        tokens: ``(B, S, C)``: all places of all levels, the finest level first.
        sizes: Height and width of each level, the finest first.
        pixels: ``(B, C, H / 4, W / 4)``.
    """

    tokens: Tensor
    sizes: list[tuple[int, int]]
    pixels: Tensor


class PixelDecoder(nn.Module):
    """From a backbone's maps to `Maps`.

    Args:
        channels: Of the backbone's maps at a quarter, an eighth, a sixteenth and a thirty-second of
            the image.
        width: Channels of tokens and pixels; a multiple of 32.
        levels: 3, the backbone's last three, or 4, with one of half the last one's size.
        layers: Of deformable attention.
        ffn: Width of the feed-forward part of each.
    """

    def __init__(
        self, channels: Sequence[int], *, width: int, levels: int, layers: int, ffn: int
    ) -> None:
        super().__init__()
        self.decoder = _decoder(channels, width=width, layers=layers, ffn=ffn)
        self.coarser = nn.ModuleList()
        into = channels[-1]
        for _ in range(levels - self.decoder.num_feature_levels):
            halved = nn.Conv2d(into, width, kernel_size=3, stride=2, padding=1)
            self.coarser.append(nn.Sequential(halved, nn.GroupNorm(_GROUPS, width)))
            into = width
        _widen(self.decoder, levels)
        self.decoder.encoder = _Encoder(self.decoder.encoder.layers)
        for layer in self.decoder.encoder.layers:
            layer.self_attn = deformable_attention(width, levels)
            for part in (layer.fc1, layer.fc2):
                nn.init.xavier_uniform_(part.weight)
        for part in (*self.decoder.input_projections.modules(), *self.coarser.modules()):
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)

    def forward(self, maps: list[Tensor]) -> Maps:
        """Return the `Maps` of a backbone's four maps, the finest first."""
        maps = list(maps)
        for halved in self.coarser:
            maps.append(halved(maps[-1]))
        made = self.decoder(maps)
        levels = made.multi_scale_features[::-1]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        return Maps(tokens, sizes, made.mask_features)


def centres(sizes: list[tuple[int, int]], like: Tensor) -> list[Tensor]:
    """Return x and y of the pixels of each level, ``(H W, 2)``, as shares of the image."""
    places = []
    for size in sizes:
        y, x = [(torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) / n for n in size]
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        places.append(torch.stack((columns, rows), dim=-1).flatten(0, 1))
    return places


class _Encoder(nn.Module):
    """The layers of Mask2Former's encoder, which a trace follows to images of other sizes.

    Offsets of points count in pixels of a level there, whose sizes a trace would keep as they were.
    Given boxes, they count in eighths of these; so each place is a box 8 px wide on each level.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(
        self,
        *,
        inputs_embeds: Tensor,
        position_embeddings: Tensor,
        spatial_shapes_list: list[tuple[int, int]],
        **_kwargs: object,
    ) -> "BaseModelOutput":
        from transformers.modeling_outputs import BaseModelOutput

        tokens = inputs_embeds
        levels = centres(spatial_shapes_list, tokens)
        places = torch.cat(levels)
        # The first centre of a level is half a pixel from the edge.
        boxes = [
            torch.cat((places, (4 * POINTS * level[:1]).expand_as(places)), dim=-1)
            for level in levels
        ]
        reference_points = torch.stack(boxes, dim=1).expand(tokens.shape[0], -1, -1, -1)
        for layer in self.layers:
            (tokens,) = layer(
                tokens,
                None,
                position_embeddings=position_embeddings,
                reference_points=reference_points,
                spatial_shapes_list=spatial_shapes_list,
            )
        return BaseModelOutput(last_hidden_state=tokens)


def deformable_attention(
    width: int, levels: int
) -> "Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention":
    """Build the attention of 8 heads, 4 points a level, with Deformable DETR's first weights.

    Head h first looks h eighths of a turn around, 1 to 4 px away, and at all points alike.
    """
    from transformers.models.mask2former import modeling_mask2former as parts

    attention = parts.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(
        embed_dim=width, num_heads=HEADS, n_levels=levels, n_points=POINTS
    )
    turns = torch.arange(HEADS) * (2 * math.pi / HEADS)
    ways = torch.stack((turns.cos(), turns.sin()), dim=-1)
    ways = ways / ways.abs().amax(dim=-1, keepdim=True)
    offsets = ways[:, None, None] * torch.arange(1, POINTS + 1)[:, None]
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(offsets.expand(-1, levels, -1, -1).flatten())
    for part in (attention.sampling_offsets, attention.attention_weights):
        nn.init.zeros_(part.weight)
    nn.init.zeros_(attention.attention_weights.bias)
    for part in (attention.value_proj, attention.output_proj):
        nn.init.xavier_uniform_(part.weight)
        nn.init.zeros_(part.bias)
    return attention


def _decoder(
    channels: Sequence[int], *, width: int, layers: int, ffn: int
) -> "Mask2FormerPixelDecoder":
    # Importing transformers takes seconds; importing medseg.models must not.
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former import modeling_mask2former as parts

    config = Mask2FormerConfig(
        feature_size=width,
        mask_feature_size=width,
        encoder_layers=layers,
        encoder_feedforward_dim=ffn,
        num_attention_heads=HEADS,
        dropout=0.0,
        feature_strides=_STRIDES,
        common_stride=_STRIDES[0],
    )
    return parts.Mask2FormerPixelDecoder(config, list(channels))


def _widen(decoder: "Mask2FormerPixelDecoder", levels: int) -> None:
    """Let it mix coarser levels too, which come to it projected, and begin its level embedding."""
    for _ in range(levels - decoder.num_feature_levels):
        decoder.input_projections.insert(0, nn.Identity())
    decoder.num_feature_levels = levels
    decoder.level_embed = nn.Parameter(torch.empty(levels, decoder.level_embed.shape[1]))
    nn.init.normal_(decoder.level_embed)
