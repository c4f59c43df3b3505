"""DeepLabv3+: atrous convolutions at several rates side by side, and a decoder with fine maps.

A ResNet whose last stages are dilated instead of strided gives maps at a sixteenth (or an eighth)
of the image. On them, five branches look at five ranges: the whole image's mean, one pixel, and
3x3 convolutions with rates 6, 12, 18 (at an eighth 12, 24, 36), depthwise separable. The decoder
sets the quarter-size maps of the first stage beside the result, 48 channels of them, and two more
separable convolutions draw the outline.

References:
    Chen et al. (2018), Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation, ECCV. As in the authors' code, normalisation and ReLU also stand between the
    depthwise and the pointwise half of a separable convolution, and enlargements align corners.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import Problem, UsageError
from medseg.models.normalisation import PooledNorm

if TYPE_CHECKING:
    from transformers import ResNetBackbone

DEPTH, FINE = 256, 48
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
_DROPPED = 0.1


class DeepLabV3Plus(nn.Module):
    """DeepLabv3+ with logits at the input's size, whatever that is.

    Args:
        backbone: A ``transformers.ResNetBackbone``, dilated as `rates` ask for.
        out_channels: Channels of the logits.
        rates: Of the three atrous branches.
    """

    encoder_names = ("stem", "stages")

    def __init__(
        self, backbone: "ResNetBackbone", out_channels: int, *, rates: tuple[int, int, int]
    ) -> None:
        super().__init__()
        fine, deep = (backbone.config.hidden_sizes[stage] for stage in (0, -1))
        # Only its parts, not the PreTrainedModel around them.
        self.stem = backbone.embedder.embedder
        self.pool = backbone.embedder.pooler
        self.stages = backbone.encoder.stages
        self.whole = _normalised(deep, DEPTH, norm=PooledNorm)
        self.branches = nn.ModuleList(
            [_normalised(deep, DEPTH), *(_separable(deep, DEPTH, rate=rate) for rate in rates)]
        )
        self.project = nn.Sequential(_normalised(5 * DEPTH, DEPTH), nn.Dropout(_DROPPED))
        self.fine = _normalised(fine, FINE)
        self.decoder = nn.Sequential(_separable(DEPTH + FINE, DEPTH), _separable(DEPTH, DEPTH))
        self.classifier = nn.Conv2d(DEPTH, out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        maps = self.pool(self.stem(images))
        fine = maps
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number == 0:
                fine = maps
        height, width = maps.shape[-2:]
        seen = [self.whole(maps.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, height, width)]
        for branch in self.branches:
            seen.append(branch(maps))  # noqa: PERF401 - TorchScript
        maps = _enlarged(self.project(torch.cat(seen, dim=1)), like=fine)
        maps = self.decoder(torch.cat((maps, self.fine(fine)), dim=1))
        return _enlarged(self.classifier(maps), like=images)


def deeplabv3plus_r18(
    *, in_channels: int = 3, out_channels: int, output_stride: int = 16
) -> DeepLabV3Plus:
    """Build DeepLabv3+ on ResNet-18, 12 million parameters; see `deeplabv3plus_r50`."""
    return _built("basic", (2, 2, 2, 2), in_channels, out_channels, output_stride)


def deeplabv3plus_r50(
    *, in_channels: int = 3, out_channels: int, output_stride: int = 16
) -> DeepLabV3Plus:
    """Build DeepLabv3+ on ResNet-50, 27 million parameters.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the logits.
        output_stride: Image pixels a pixel of the deepest maps: 16, or 8, which is finer and costs
            more.
    """
    return _built("bottleneck", (3, 4, 6, 3), in_channels, out_channels, output_stride)


def deeplabv3plus_r101(
    *, in_channels: int = 3, out_channels: int, output_stride: int = 16
) -> DeepLabV3Plus:
    """Build DeepLabv3+ on ResNet-101, 46 million parameters; see `deeplabv3plus_r50`."""
    return _built("bottleneck", (3, 4, 23, 3), in_channels, out_channels, output_stride)


def _built(
    layer: str, depths: tuple[int, ...], in_channels: int, out_channels: int, output_stride: int
) -> DeepLabV3Plus:
    # Importing transformers takes seconds; importing medseg.models must not.
    from transformers import ResNetBackbone, ResNetConfig

    if output_stride not in RATES:
        found = f"is {output_stride}"
        raise UsageError(Problem("E-CONFIG", "output_stride", found, "16 or 8"))
    widths = (64, 128, 256, 512) if layer == "basic" else (256, 512, 1024, 2048)
    config = ResNetConfig(
        num_channels=in_channels, layer_type=layer, depths=list(depths), hidden_sizes=list(widths)
    )
    backbone = ResNetBackbone(config)
    dilation = 1
    for stage in backbone.encoder.stages[2 if output_stride == 8 else 3 :]:
        dilation *= 2
        _dilate(stage, dilation)
    return DeepLabV3Plus(backbone, out_channels, rates=RATES[output_stride])


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Keep the size of a stage's maps, and spread its 3x3 convolutions over as much of the image.

    The first convolution of the stage stands where the stride was, on finer maps than those after
    it in the strided network, and is spread half as wide.
    """
    convolutions = [part for part in stage.modules() if isinstance(part, nn.Conv2d)]
    for convolution in convolutions:
        spread = dilation // 2 if convolution.stride == (2, 2) else dilation
        convolution.stride = (1, 1)
        if convolution.kernel_size == (3, 3):
            convolution.dilation = convolution.padding = (spread, spread)


def _normalised(
    into: int, out: int, *, norm: type[nn.BatchNorm2d] = nn.BatchNorm2d
) -> nn.Sequential:
    convolution = nn.Conv2d(into, out, kernel_size=1, bias=False)
    return nn.Sequential(convolution, norm(out), nn.ReLU(inplace=True))


def _separable(into: int, out: int, *, rate: int = 1) -> nn.Sequential:
    depthwise = nn.Conv2d(
        into, into, kernel_size=3, padding=rate, dilation=rate, groups=into, bias=False
    )
    normalised = (nn.BatchNorm2d(into), nn.ReLU(inplace=True))
    return nn.Sequential(depthwise, *normalised, *_normalised(into, out))


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=True)
