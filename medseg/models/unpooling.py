"""An autoencoder that un-pools: the decoder puts every value back where pooling took it from.

Pooling keeps the largest of four values and remembers where it stood, its switch. Un-pooling sets
the decoder's value on that place and zeros on the other three, so outlines come back as sharp as
they were without a map being passed on. Blocks are two convolutions each, or one Inception block:
four branches that see 1x1, 3x3 and 5x5 pixels and their neighbours' maximum.

References:
    Zeiler, Fergus (2014), Visualizing and Understanding Convolutional Networks, ECCV (switches).
    Badrinarayanan, Kendall, Cipolla (2017), SegNet, TPAMI. Szegedy et al. (2015), Going Deeper with
    Convolutions, CVPR: the block, in the proportions of its layer 3a.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512)


class UnpoolingAutoencoder(nn.Module):
    """Autoencoder with logits at the input's size, whatever that is.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the logits.
        widths: Channels of the levels, finest first; each ends in a pooling.
        blocks: ``plain``, or ``inception``, for which every width is a multiple of 16.
    """

    encoder_names = ("encoder",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: tuple[int, ...] = WIDTHS,
        blocks: Literal["plain", "inception"] = "plain",
    ) -> None:
        super().__init__()
        block: Callable[[int, int], nn.Module] = _Inception if blocks == "inception" else _plain
        self.encoder = nn.ModuleList(
            block(into, out) for into, out in pairwise([in_channels, *widths])
        )
        # Switches are those of as many channels as the map that is put back has.
        self.decoder = nn.ModuleList(
            block(into, out) for into, out in pairwise([*widths[::-1], widths[0]])
        )
        self.classifier = nn.Conv2d(widths[0], out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        maps = images
        switches: list[Tensor] = []
        sizes: list[list[int]] = []
        for block in self.encoder:
            maps = block(maps)
            sizes.append([maps.shape[-2], maps.shape[-1]])
            maps, places = pooled(maps)
            switches.append(places)
        for level, block in enumerate(self.decoder):
            maps = block(unpooled(maps, switches[-1 - level], sizes[-1 - level]))
        logits: Tensor = self.classifier(maps)
        return logits


def autoencoder(*, in_channels: int = 3, out_channels: int) -> UnpoolingAutoencoder:
    """Build the autoencoder of plain blocks with four poolings; see `UnpoolingAutoencoder`."""
    return UnpoolingAutoencoder(in_channels, out_channels)


def autoencoder_inception(*, in_channels: int = 3, out_channels: int) -> UnpoolingAutoencoder:
    """Build the autoencoder of Inception blocks with four poolings; see `UnpoolingAutoencoder`."""
    return UnpoolingAutoencoder(in_channels, out_channels, blocks="inception")


def pooled(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maxima of 2 x 2 pixels and their places in `maps`; an odd edge makes a half one.

    Args:
        maps: ``(B, C, H, W)``; both results are ``(B, C, ceil(H / 2), ceil(W / 2))``.
    """
    maxima, places = functional.max_pool2d_with_indices(maps, [2, 2], ceil_mode=True)
    return maxima, places


def unpooled(maps: Tensor, switches: Tensor, size_px: list[int]) -> Tensor:
    """Return maps of height and width `size_px`: values on their places, and zeros elsewhere."""
    flat = maps.new_zeros(maps.shape[0], maps.shape[1], size_px[0] * size_px[1])
    flat = flat.scatter(2, switches.flatten(2), maps.flatten(2))
    return flat.reshape(maps.shape[0], maps.shape[1], size_px[0], size_px[1])


class _Inception(nn.Module):
    """Four branches side by side, a quarter, a half, an eighth and an eighth of the channels."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        quarter, half, eighth = out // 4, out // 2, out // 8
        reduced_3, reduced_5 = 3 * out // 8, out // 16
        self.branches = nn.ModuleList(
            (
                _convolved(into, quarter, 1),
                nn.Sequential(_convolved(into, reduced_3, 1), _convolved(reduced_3, half, 3)),
                nn.Sequential(_convolved(into, reduced_5, 1), _convolved(reduced_5, eighth, 5)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolved(into, eighth, 1)),
            )
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([branch(maps) for branch in self.branches], dim=1)


def _plain(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(_convolved(into, out, 3), _convolved(out, out, 3))


def _convolved(into: int, out: int, kernel_size: int) -> nn.Sequential:
    convolution = nn.Conv2d(into, out, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))
