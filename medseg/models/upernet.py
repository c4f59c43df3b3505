"""UPerNet on ConvNeXt V2: a convolutional encoder of today, and a pyramid that reads all of it.

The encoder's blocks are depthwise 7x7 convolutions and two linear layers with a response
normalisation between them, at a quarter to a thirty-second of the image. The decoder pools the
deepest maps to 1, 2, 3 and 6 pixels a side beside themselves, passes what it sees downwards from
level to level, and mixes all levels at a quarter of the image.

References:
    Woo et al. (2023), ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders,
    CVPR. Xiao et al. (2018), Unified Perceptual Parsing for Scene Understanding, ECCV. Modules,
    parameters and their names are those of transformers.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from medseg.models.normalisation import PooledNorm
from medseg.models.padding import padded
from medseg.models.tracing import traced

if TYPE_CHECKING:
    from transformers import ConvNextV2Backbone
    from transformers.models.upernet.modeling_upernet import UperNetHead

STRIDE_PX, WIDTH = 32, 256


class UPerNet(nn.Module):
    """UPerNet with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of 32 px, and the logits
    are cropped back.

    `torch.jit.script` gives an inference copy: see `__prepare_scriptable__`.

    Args:
        backbone: A ``transformers.ConvNextV2Backbone`` that gives all four stages.
        decode_head: A ``transformers`` ``UperNetHead`` for them.
    """

    encoder_names = ("embeddings", "stages", "norms")

    def __init__(self, backbone: "ConvNextV2Backbone", decode_head: "UperNetHead") -> None:
        super().__init__()
        # Only its parts, not the PreTrainedModel around them.
        self.embeddings, self.stages = backbone.embeddings, backbone.encoder.stages
        self.norms = nn.ModuleList(backbone.hidden_states_norms.values())
        self.decode_head = decode_head
        for pooling in decode_head.psp_modules.blocks:
            convolution = pooling.layers[1]
            convolution.batch_norm = PooledNorm(convolution.batch_norm.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        height, width = images.shape[-2:]
        maps = self.embeddings(padded(images, STRIDE_PX))
        features = []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            maps = stage(maps)
            features.append(norm(maps))
        logits = self.decode_head(features)  # (B, K, H/4, W/4)
        logits = functional.interpolate(logits, scale_factor=4.0, mode="bilinear")
        return logits[..., :height, :width]

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what `torch.jit.script` compiles in place of this network; see `traced`."""
        channels = self.embeddings.num_channels
        return traced(self, in_channels=channels, multiple_px=STRIDE_PX)


def upernet_convnextv2_nano(
    *, in_channels: int = 3, out_channels: int, drop_path: float = 0.1
) -> UPerNet:
    """Build UPerNet on ConvNeXt V2 nano, 24 million parameters.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the logits.
        drop_path: Share of residual branches left out while training, in the last block; it grows
            linearly from 0 in the first.
    """
    return _built((80, 160, 320, 640), (2, 2, 8, 2), (in_channels, out_channels), drop_path)


def upernet_convnextv2_tiny(
    *, in_channels: int = 3, out_channels: int, drop_path: float = 0.1
) -> UPerNet:
    """Build it on ConvNeXt V2 tiny, 37 million parameters; see `upernet_convnextv2_nano`."""
    return _built((96, 192, 384, 768), (3, 3, 9, 3), (in_channels, out_channels), drop_path)


def _built(
    widths: tuple[int, ...], depths: tuple[int, ...], channels: tuple[int, int], drop_path: float
) -> UPerNet:
    # Importing transformers takes seconds; importing medseg.models must not.
    from transformers import ConvNextV2Backbone, ConvNextV2Config, UperNetConfig
    from transformers.models.upernet.modeling_upernet import UperNetHead

    stages = [f"stage{number}" for number in (1, 2, 3, 4)]
    encoder = ConvNextV2Config(
        num_channels=channels[0],
        hidden_sizes=list(widths),
        depths=list(depths),
        drop_path_rate=drop_path,
        out_features=stages,
    )
    decoder = UperNetConfig(backbone_config=encoder, hidden_size=WIDTH, num_labels=channels[1])
    return UPerNet(ConvNextV2Backbone(encoder), UperNetHead(decoder, list(widths)))
