"""UNeXt: convolutions where maps are large, and where they are small MLPs on shifted channels.

A tokenised MLP sees nothing but its own token. Before each of its two linear layers the channels
are parted into five groups that are shifted by -2 to 2 tokens, along the height first and along the
width then, so that it sees its neighbours. Skips are added, not set beside.

The modules bear the names of the authors' code, so that their checkpoints load.

References:
    Valanarasu, Patel (2022), UNeXt: MLP-based Rapid Medical Image Segmentation Network, MICCAI.
    The paper's text has 32 and 64 channels in the first two stages, the code behind its figures 16
    and 32: `unext_paper` and `unext`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.models.padding import padded

WIDTHS = (16, 32, 128, 160, 256)
PAPER_WIDTHS = (32, 64, 128, 160, 256)


class UNeXt(nn.Module):
    """UNeXt with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of 32 px, and the logits
    are cropped back.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the logits.
        widths: Channels of the three convolutional and the two tokenised stages.
    """

    encoder_names = (
        *("encoder1", "ebn1", "encoder2", "ebn2", "encoder3", "ebn3"),
        *("patch_embed3", "block1", "norm3", "patch_embed4", "block2", "norm4"),
    )

    def __init__(
        self, in_channels: int, out_channels: int, *, widths: tuple[int, ...] = WIDTHS
    ) -> None:
        super().__init__()
        self.multiple_px = 32
        one, two, three, four, five = widths
        self.encoder1, self.ebn1 = _convolution(in_channels, one), nn.BatchNorm2d(one)
        self.encoder2, self.ebn2 = _convolution(one, two), nn.BatchNorm2d(two)
        self.encoder3, self.ebn3 = _convolution(two, three), nn.BatchNorm2d(three)
        self.patch_embed3, self.patch_embed4 = _Embedding(three, four), _Embedding(four, five)
        self.block1, self.norm3 = nn.Sequential(_ShiftedBlock(four)), _Norm(four)
        self.block2, self.norm4 = nn.Sequential(_ShiftedBlock(five)), _Norm(five)
        self.decoder1, self.dbn1 = _convolution(five, four), nn.BatchNorm2d(four)
        self.dblock1, self.dnorm3 = nn.Sequential(_ShiftedBlock(four)), _Norm(four)
        self.decoder2, self.dbn2 = _convolution(four, three), nn.BatchNorm2d(three)
        self.dblock2, self.dnorm4 = nn.Sequential(_ShiftedBlock(three)), _Norm(three)
        self.decoder3, self.dbn3 = _convolution(three, two), nn.BatchNorm2d(two)
        self.decoder4, self.dbn4 = _convolution(two, one), nn.BatchNorm2d(one)
        self.decoder5 = _convolution(one, one)
        self.final = nn.Conv2d(one, out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        height, width = images.shape[-2:]
        one = _halved(self.ebn1(self.encoder1(padded(images, self.multiple_px))))
        two = _halved(self.ebn2(self.encoder2(one)))
        three = _halved(self.ebn3(self.encoder3(two)))
        four = self.norm3(self.block1(self.patch_embed3(three)))
        five = self.norm4(self.block2(self.patch_embed4(four)))
        maps = _doubled(self.dbn1(self.decoder1(five))) + four
        maps = self.dnorm3(self.dblock1(maps))
        maps = _doubled(self.dbn2(self.decoder2(maps))) + three
        maps = self.dnorm4(self.dblock2(maps))
        maps = _doubled(self.dbn3(self.decoder3(maps))) + two
        maps = _doubled(self.dbn4(self.decoder4(maps))) + one
        logits: Tensor = self.final(_doubled(self.decoder5(maps)))
        return logits[..., :height, :width]


def unext(*, in_channels: int = 3, out_channels: int) -> UNeXt:
    """Build UNeXt as in the authors' code, 1.47 million parameters."""
    return UNeXt(in_channels, out_channels)


def unext_paper(*, in_channels: int = 3, out_channels: int) -> UNeXt:
    """Build UNeXt as in the paper's text, 1.58 million parameters."""
    return UNeXt(in_channels, out_channels, widths=PAPER_WIDTHS)


class _Embedding(nn.Module):
    """Halves a map by a convolution, and normalises its tokens."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(into, out, kernel_size=3, stride=2, padding=1)
        self.norm = _Norm(out)
        _draw(self)

    def forward(self, maps: Tensor) -> Tensor:
        tokens: Tensor = self.norm(self.proj(maps))
        return tokens


class _ShiftedBlock(nn.Module):
    """A residual shifted MLP on maps ``(B, C, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm2 = _Norm(channels)
        self.mlp = _ShiftedMLP(channels)
        _draw(self)

    def forward(self, maps: Tensor) -> Tensor:
        mixed: Tensor = self.mlp(self.norm2(maps))
        return maps + mixed


class _ShiftedMLP(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = _Linear(channels, channels)
        # One module deeper than it must be: as in the authors' checkpoints.
        depthwise = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.dwconv = nn.ModuleDict({"dwconv": depthwise})
        self.fc2 = _Linear(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.fc1(shifted(maps, dim=2))
        maps = functional.gelu(self.dwconv["dwconv"](maps))
        mixed: Tensor = self.fc2(shifted(maps, dim=3))
        return mixed


class _Norm(nn.LayerNorm):
    """Normalises each pixel of maps ``(B, C, H, W)`` over its channels."""

    def forward(self, maps: Tensor) -> Tensor:
        tokens = maps.permute(0, 2, 3, 1)
        tokens = functional.layer_norm(
            tokens, self.normalized_shape, self.weight, self.bias, self.eps
        )
        return tokens.permute(0, 3, 1, 2)


class _Linear(nn.Linear):
    """Mixes the channels of each pixel of maps ``(B, C, H, W)``."""

    def forward(self, maps: Tensor) -> Tensor:
        tokens = functional.linear(maps.permute(0, 2, 3, 1), self.weight, self.bias)
        return tokens.permute(0, 3, 1, 2)


def shifted(maps: Tensor, dim: int) -> Tensor:
    """Return maps whose channels, in five groups, are shifted by -2, -1, 0, 1 and 2 along `dim`.

    Zeros move in. Where the channels do not divide by five the last group is the smaller one, as
    `torch.chunk` has it: 256 are 52, 52, 52, 52 and 48.
    """
    length = maps.shape[dim]
    groups = functional.pad(maps, [0, 0, 2, 2] if dim == 2 else [2, 2, 0, 0]).chunk(5, dim=1)
    moved = [group.narrow(dim, 4 - number, length) for number, group in enumerate(groups)]
    return torch.cat(moved, dim=1)


def _halved(maps: Tensor) -> Tensor:
    return functional.relu(functional.max_pool2d(maps, 2))


def _doubled(maps: Tensor) -> Tensor:
    return functional.relu(functional.interpolate(maps, scale_factor=2.0, mode="bilinear"))


def _convolution(into: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, kernel_size=3, padding=1)


def _draw(module: nn.Module) -> None:
    """Draw linear layers and convolutions of the tokenised stages as the authors do."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d) and part.bias is not None:
            fan_out = part.weight[:, 0].numel() // part.groups
            nn.init.normal_(part.weight, std=(2.0 / fan_out) ** 0.5)
            nn.init.zeros_(part.bias)
