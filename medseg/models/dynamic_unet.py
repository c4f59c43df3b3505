"""DynUNet: the U-Net that nnU-Net plans, with residual blocks and deep supervision.

Six levels, halved by strided convolutions; instance normalisation and leaky ReLU; transposed
convolutions upwards. In training the decoder's maps at a half, a quarter and an eighth of the image
give logits too, and each of them is compared with the masks: deep levels learn from the outset. It
is what a well-made plain network reaches, for others to be measured by.

References:
    Isensee et al. (2021), nnU-Net: a self-configuring method for deep learning-based biomedical
    image segmentation, Nature Methods. Futrega et al. (2022), Optimized U-Net for Brain Tumor
    Segmentation. Blocks and initialisation are MONAI's.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.padding import padded, widened

if TYPE_CHECKING:
    from monai.networks import nets

WIDTHS = (32, 64, 128, 256, 512, 512)
HEADS = 3


class DynUNet(nn.Module):
    """DynUNet with logits at the input's size, and in training at coarser sizes too.

    Images are padded with zeros at the right and the bottom to multiples of 32 px, for six levels,
    and at least to twice that in width, for of one pixel nothing can be normalised; the logits are
    cropped back.

    Args:
        network: MONAI's, for two dimensions, of strides 2 but for the first, and with deep
            supervision.
    """

    takes_masks = True
    encoder_names = ("input_block", "downsamples", "bottleneck")

    def __init__(self, network: "nets.DynUNet") -> None:
        super().__init__()
        self.multiple_px = 2 ** len(network.downsamples) * 2
        self.input_block, self.bottleneck = network.input_block, network.bottleneck
        self.downsamples, self.upsamples = network.downsamples, network.upsamples
        self.output_block = network.output_block
        self.deep_supervision_heads = network.deep_supervision_heads

    def forward(self, images: Tensor, masks: Tensor | None = None) -> Tensor | list[Tensor]:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``.

        With masks it is a list of them, finest first: of the image's size, and of a half, a
        quarter and an eighth of it, rounded up.
        """
        height, width = images.shape[-2:]
        maps = padded(widened(images, 2 * self.multiple_px), self.multiple_px)
        finer = [self.input_block(maps)]
        for block in self.downsamples:
            finer.append(block(finer[-1]))
        maps = self.bottleneck(finer[-1])
        levels: list[Tensor] = []
        for level, block in enumerate(self.upsamples):
            maps = block(maps, finer[-1 - level])
            levels.append(maps)
        logits: list[Tensor] = [self.output_block(maps)[..., :height, :width]]
        if masks is None:
            return logits[0]
        for number, head in enumerate(self.deep_supervision_heads):
            height, width = (height + 1) // 2, (width + 1) // 2
            logits.append(head(levels[-2 - number])[..., :height, :width])
        return logits


def dynunet(*, in_channels: int = 3, out_channels: int) -> DynUNet:
    """Build DynUNet of widths 32 to 512, 21 million parameters.

    It is trained with `medseg.losses.deep_supervision`.
    """
    # Importing MONAI's networks takes seconds; importing medseg.models must not.
    from monai.networks import nets

    deeper = len(WIDTHS) - 1
    network = nets.DynUNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=[3] * len(WIDTHS),
        strides=[1] + [2] * deeper,
        upsample_kernel_size=[2] * deeper,
        filters=WIDTHS,
        res_block=True,
        deep_supervision=True,
        deep_supr_num=HEADS,
    )
    return DynUNet(network)
