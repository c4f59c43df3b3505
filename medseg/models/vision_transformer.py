"""A plain vision transformer that segments: one map of tokens, enlarged step by step.

The image is cut into patches of 16 px, each a token; twelve layers of attention keep their number.
The head convolves the map of tokens and doubles it four times, until it has the image's size.
Position embeddings are learnt for 224 px, and interpolated for any other size.

References:
    Dosovitskiy et al. (2021), An Image is Worth 16x16 Words, ICLR (the sizes B and S are those of
    that paper and of Touvron et al. 2021, DeiT). Zheng et al. (2021), Rethinking Semantic
    Segmentation from a Sequence-to-Sequence Perspective with Transformers, CVPR: the progressive
    upsampling head.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from medseg.models.padding import padded
from medseg.models.tracing import traced

if TYPE_CHECKING:
    from transformers import ViTModel

PATCH_PX, TRAINED_PX, HEAD_CHANNELS = 16, 224, 256


class ViTSegmenter(nn.Module):
    """Vision transformer with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of 16 px, and the logits
    are cropped back.

    `torch.jit.script` gives an inference copy: see `__prepare_scriptable__`.

    Args:
        encoder: A ``transformers.ViTModel`` with patches of 16 px and without its pooling layer.
        out_channels: Channels of the logits.
        head_channels: Channels of the maps that are enlarged.
    """

    encoder_names = ("embeddings", "layers", "norm")

    def __init__(
        self, encoder: "ViTModel", out_channels: int, *, head_channels: int = HEAD_CHANNELS
    ) -> None:
        super().__init__()
        # Only its parts, not the PreTrainedModel around them.
        self.embeddings, self.norm = encoder.embeddings, encoder.layernorm
        self.layers = encoder.layers
        width = encoder.config.hidden_size
        widths = (width, *[head_channels] * 3)
        self.doublings = nn.Sequential(*(_doubled(into, head_channels) for into in widths))
        self.classifier = nn.Conv2d(head_channels, out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        height, width = images.shape[-2:]
        images = padded(images, PATCH_PX)
        rows, columns = images.shape[-2] // PATCH_PX, images.shape[-1] // PATCH_PX
        tokens = self.embeddings(images, interpolate_pos_encoding=True)
        for layer in self.layers:
            tokens = layer(tokens, None)
        # The first token stands for the whole image, and for no place in it.
        maps = self.norm(tokens)[:, 1:].transpose(1, 2).reshape(images.shape[0], -1, rows, columns)
        logits: Tensor = self.classifier(self.doublings(maps))
        return logits[..., :height, :width]

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what `torch.jit.script` compiles in place of this network; see `traced`."""
        channels = self.embeddings.patch_embeddings.projection.in_channels
        return traced(self, in_channels=channels, multiple_px=PATCH_PX)


def vit_b16(
    *, in_channels: int = 3, out_channels: int, head_channels: int = HEAD_CHANNELS
) -> ViTSegmenter:
    """Build the base size: twelve layers of width 768, 12 heads; 89 million parameters."""
    encoder = _encoder(in_channels, width=768, heads=12)
    return ViTSegmenter(encoder, out_channels, head_channels=head_channels)


def vit_s16(
    *, in_channels: int = 3, out_channels: int, head_channels: int = HEAD_CHANNELS
) -> ViTSegmenter:
    """Build the small size: twelve layers of width 384, 6 heads; 24 million parameters."""
    encoder = _encoder(in_channels, width=384, heads=6)
    return ViTSegmenter(encoder, out_channels, head_channels=head_channels)


def _encoder(in_channels: int, *, width: int, heads: int, layers: int = 12) -> "ViTModel":
    # Importing transformers takes seconds; importing medseg.models must not.
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        num_channels=in_channels,
        image_size=TRAINED_PX,
        patch_size=PATCH_PX,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
    )
    return ViTModel(config, add_pooling_layer=False)


def _doubled(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2.0, mode="bilinear"),
    )
