"""MedNeXt: a U-Net whose every block is a ConvNeXt's.

A block is a depthwise 3x3 convolution, a normalisation of each channel of each image, and two 1x1
convolutions that widen and narrow again, beside a shortcut. Halving and doubling are such blocks
too, with a stride, and the decoder adds the encoder's maps. Large for its depth in multiplications,
small in parameters.

References:
    Roy et al. (2023), MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image
    Segmentation, MICCAI. Modules, parameters and their names are MONAI's.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.padding import padded, widened
from medseg.models.tracing import traced

if TYPE_CHECKING:
    from monai.networks import nets


class MedNeXt(nn.Module):
    """MedNeXt with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of 16 px, for four
    halvings, and at least to twice that in width, for of one pixel nothing can be normalised; the
    logits are cropped back.

    `torch.jit.script` gives an inference copy: see `__prepare_scriptable__`.

    Args:
        network: MONAI's, for two dimensions. With deep supervision, its training takes masks and
            gives logits at five sizes.
    """

    encoder_names = ("stem", "enc_stages", "down_blocks", "bottleneck")

    def __init__(self, network: "nets.MedNeXt") -> None:
        super().__init__()
        self.takes_masks: bool = network.do_ds
        self.multiple_px = 2 ** len(network.down_blocks)
        self.stem, self.bottleneck = network.stem, network.bottleneck
        self.enc_stages, self.down_blocks = network.enc_stages, network.down_blocks
        self.up_blocks, self.dec_stages = network.up_blocks, network.dec_stages
        self.out_0 = network.out_0
        self.out_blocks = network.out_blocks if network.do_ds else nn.ModuleList()

    def forward(self, images: Tensor, masks: Tensor | None = None) -> Tensor | list[Tensor]:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``.

        With masks it is a list of them, finest first: of the image's size and, with deep
        supervision, of a half to a sixteenth of it, rounded up.
        """
        height, width = images.shape[-2:]
        maps = padded(widened(images, 2 * self.multiple_px), self.multiple_px)
        maps = self.stem(maps)
        finer: list[Tensor] = []
        for stage, halve in zip(self.enc_stages, self.down_blocks, strict=True):
            maps = stage(maps)
            finer.append(maps)
            maps = halve(maps)
        maps = self.bottleneck(maps)
        levels: list[Tensor] = []
        for level, (double, stage) in enumerate(zip(self.up_blocks, self.dec_stages, strict=True)):
            levels.append(maps)
            maps = stage(double(maps) + finer[-1 - level])
        logits: list[Tensor] = [self.out_0(maps)[..., :height, :width]]
        if masks is None:
            return logits[0]
        for number, head in enumerate(self.out_blocks[::-1]):
            height, width = (height + 1) // 2, (width + 1) // 2
            logits.append(head(levels[-1 - number])[..., :height, :width])
        return logits

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what `torch.jit.script` compiles in place of this network; see `traced`."""
        return traced(self, in_channels=self.stem.in_channels, multiple_px=self.multiple_px)


def mednext_s(
    *, in_channels: int = 3, out_channels: int, deep_supervision: bool = False
) -> MedNeXt:
    """Build the small size, 5.5 million parameters.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the logits.
        deep_supervision: Whether training compares logits at five sizes, as the authors do; then
            the loss is `medseg.losses.deep_supervision`.
    """
    return _built("S", in_channels, out_channels, deep_supervision)


def mednext_b(
    *, in_channels: int = 3, out_channels: int, deep_supervision: bool = False
) -> MedNeXt:
    """Build the base size, 10.4 million parameters; arguments as for `mednext_s`."""
    return _built("B", in_channels, out_channels, deep_supervision)


def _built(size: str, in_channels: int, out_channels: int, deep_supervision: bool) -> MedNeXt:
    # Importing MONAI's networks takes seconds; importing medseg.models must not.
    from monai.networks.nets.mednext import create_mednext

    network = create_mednext(
        size,
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        deep_supervision=deep_supervision,
    )
    return MedNeXt(network)
