"""ResUNet: a U-Net of pre-activation residual units, with strided convolutions for poolings.

References:
    Zhang, Liu, Wang (2018), Road Extraction by Deep Residual U-Net, IEEE Geoscience and Remote
    Sensing Letters. He et al. (2016), Identity Mappings in Deep Residual Networks, ECCV. The paper
    leaves open how maps are enlarged (here bilinearly, or by transposed convolutions) and what a
    shortcut holds (here a 1x1 convolution and a batch normalisation).
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.models.padding import padded

WIDTHS = (64, 128, 256, 512)


class ResUNet(nn.Module):
    """ResUNet with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of 8 px, for four widths,
    and the logits are cropped back.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the logits.
        widths: Channels of the levels, finest first; each level halves the map of the one before.
        enlarging: ``bilinear``, or ``deconvolution`` for transposed convolutions that are learnt.
    """

    encoder_names = ("encoder",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: tuple[int, ...] = WIDTHS,
        enlarging: Literal["bilinear", "deconvolution"] = "bilinear",
    ) -> None:
        super().__init__()
        self.multiple_px = 2 ** (len(widths) - 1)
        units: list[nn.Module] = [_Unit(_stem(in_channels, widths[0]), in_channels, widths[0])]
        units += [_Unit(_branch(a, b, stride=2), a, b, stride=2) for a, b in pairwise(widths)]
        self.encoder = nn.ModuleList(units)
        rising = list(pairwise(widths[::-1]))
        self.enlarging = nn.ModuleList(_enlarging(deep, enlarging) for deep, _ in rising)
        self.decoder = nn.ModuleList(
            _Unit(_branch(deep + out, out), deep + out, out) for deep, out in rising
        )
        self.classifier = nn.Conv2d(widths[0], out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        height, width = images.shape[-2:]
        maps = padded(images, self.multiple_px)
        finer: list[Tensor] = []
        for unit in self.encoder:
            maps = unit(maps)
            finer.append(maps)
        for level, (enlarge, unit) in enumerate(zip(self.enlarging, self.decoder, strict=True)):
            maps = unit(torch.cat((enlarge(maps), finer[-2 - level]), dim=1))
        logits: Tensor = self.classifier(maps)
        return logits[..., :height, :width]


def resunet(
    *,
    in_channels: int = 3,
    out_channels: int,
    enlarging: Literal["bilinear", "deconvolution"] = "bilinear",
) -> ResUNet:
    """Build ResUNet, 8.2 million parameters, 9.6 million with transposed convolutions."""
    return ResUNet(in_channels, out_channels, enlarging=enlarging)


class _Unit(nn.Module):
    """A branch, and a shortcut past it that has the branch's size."""

    def __init__(self, branch: nn.Module, into: int, out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Sequential(
            nn.Conv2d(into, out, kernel_size=1, stride=stride), nn.BatchNorm2d(out)
        )

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.branch(maps)
        shortcut: Tensor = self.shortcut(maps)
        return changed + shortcut


def _stem(into: int, out: int) -> nn.Sequential:
    """Return the first branch: an image is not normalised before it is convolved."""
    return nn.Sequential(nn.Conv2d(into, out, kernel_size=3, padding=1), *_activated(out, out))


def _branch(into: int, out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*_activated(into, out, stride=stride), *_activated(out, out))


def _activated(into: int, out: int, *, stride: int = 1) -> list[nn.Module]:
    # Not in place: the shortcut reads the same maps.
    convolution = nn.Conv2d(into, out, kernel_size=3, stride=stride, padding=1)
    return [nn.BatchNorm2d(into), nn.ReLU(), convolution]


def _enlarging(channels: int, how: Literal["bilinear", "deconvolution"]) -> nn.Module:
    if how == "bilinear":
        return nn.Upsample(scale_factor=2.0, mode="bilinear")
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
