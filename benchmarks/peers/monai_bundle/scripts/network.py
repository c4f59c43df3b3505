"""SegFormer as transformers has it, with logits at the size of the image."""

from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import SegformerConfig, SegformerForSemanticSegmentation


class SegFormerB0(nn.Module):
    """transformers' own SegFormer-b0, which `monai.bundle` can build.

    Args:
        in_channels: Channels of the image.
        out_channels: Classes, background among them.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # The configuration of transformers is b0's.
        config = SegformerConfig(num_channels=in_channels, num_labels=out_channels)
        self.model = SegformerForSemanticSegmentation(config)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(B, C, H, W)`` of images ``(B, 1, H, W)``."""
        logits = self.model(pixel_values=image).logits
        return interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)
