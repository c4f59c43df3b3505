"""U-Net, and two networks that ask what makes it work: without skips, and with a level more.

Each level of the encoder is two 3x3 convolutions and a pooling that halves the map; each level of
the decoder enlarges by a transposed convolution, sets the encoder's map of that size beside it, and
convolves twice. As is usual since, maps keep their size (the paper's convolutions shrink them),
and every convolution is followed by batch normalisation.

References:
    Ronneberger, Fischer, Brox (2015), U-Net: Convolutional Networks for Biomedical Image
    Segmentation, MICCAI. Ioffe, Szegedy (2015), Batch Normalization, ICML.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.models.padding import padded


class UNet(nn.Module):
    """U-Net with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of ``2 ** levels`` px, and
    the logits are cropped back.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the logits.
        base: Channels of the finest level; each level below has twice as many.
        levels: How often the map is halved.
        skips: Whether the decoder sees the encoder's maps, or the deepest one alone.
        bias: Whether the 3x3 convolutions have a bias, which the normalisation takes away again.
    """

    encoder_names = ("encoder",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        base: int = 64,
        levels: int = 4,
        skips: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.multiple_px = 2**levels
        self.skips = skips
        widths = [base * 2**level for level in range(levels + 1)]
        self.encoder = nn.ModuleList(
            _twice(into, out, bias) for into, out in pairwise([in_channels, *widths])
        )
        rising = list(pairwise(widths[::-1]))
        self.enlarging = nn.ModuleList(
            nn.ConvTranspose2d(into, out, kernel_size=2, stride=2) for into, out in rising
        )
        self.decoder = nn.ModuleList(
            _twice(2 * out if skips else out, out, bias) for _, out in rising
        )
        self.classifier = nn.Conv2d(base, out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        height, width = images.shape[-2:]
        maps = padded(images, self.multiple_px)
        finer: list[Tensor] = []
        for level, convolve in enumerate(self.encoder):
            if level:
                maps = functional.max_pool2d(maps, 2)
            maps = convolve(maps)
            finer.append(maps)
        for level, (enlarge, convolve) in enumerate(zip(self.enlarging, self.decoder, strict=True)):
            maps = enlarge(maps)
            if self.skips:
                maps = torch.cat((maps, finer[-2 - level]), dim=1)
            maps = convolve(maps)
        logits: Tensor = self.classifier(maps)
        return logits[..., :height, :width]


def unet(*, in_channels: int = 3, out_channels: int, base: int = 64, bias: bool = False) -> UNet:
    """Build U-Net with four poolings, 31 million parameters at `base` 64; see `UNet`."""
    return UNet(in_channels, out_channels, base=base, bias=bias)


def potinet(*, in_channels: int = 3, out_channels: int, base: int = 64, bias: bool = False) -> UNet:
    """Build PotiNet, U-Net without skips, 28 million parameters at `base` 64; see `UNet`."""
    return UNet(in_channels, out_channels, base=base, skips=False, bias=bias)


def xopinet(*, in_channels: int = 3, out_channels: int, base: int = 64, bias: bool = False) -> UNet:
    """Build XopiNet, U-Net with five poolings, 124 million parameters at `base` 64; see `UNet`."""
    return UNet(in_channels, out_channels, base=base, levels=5, bias=bias)


def _twice(into: int, out: int, bias: bool) -> nn.Sequential:
    """Return two times convolution, normalisation and ReLU."""
    layers: list[nn.Module] = []
    for channels in (into, out):
        layers += [
            nn.Conv2d(channels, out, kernel_size=3, padding=1, bias=bias),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
