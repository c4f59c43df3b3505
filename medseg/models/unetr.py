"""UNETR in 2D: a vision transformer as encoder, and a U-Net's decoder.

The image is cut into patches of 16 px, each a token, and twelve layers of attention keep their
number. Unlike in `medseg.models.vision_transformer`, the decoder does not grow from the last layer
alone: the tokens after the third, sixth and ninth layer are enlarged by transposed convolutions to
an eighth, a quarter and a half of the image, and serve as a U-Net's skips; the image itself is the
finest. Position embeddings are learnt for 288 px, and interpolated for any other size.

References:
    Hatamizadeh et al. (2022), UNETR: Transformers for 3D Medical Image Segmentation, WACV.
    Modules, parameters and their names are MONAI's, which counts the layers from 0 and so takes the
    fourth, seventh and tenth.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from medseg.models.padding import padded
from medseg.models.tracing import traced

if TYPE_CHECKING:
    from monai.networks import nets

PATCH_PX, TRAINED_PX = 16, 288
_SKIPS = (3, 6, 9)


class UNETR(nn.Module):
    """UNETR with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of 16 px, and the logits
    are cropped back.

    `torch.jit.script` gives an inference copy: see `__prepare_scriptable__`.

    Args:
        network: MONAI's, for two dimensions.
    """

    encoder_names = ("vit",)

    def __init__(self, network: "nets.UNETR") -> None:
        super().__init__()
        self.in_channels = network.vit.patch_embedding.patch_embeddings.in_channels
        self.trained_patches = network.feat_size
        self.vit = network.vit
        self.encoder1 = network.encoder1
        self.encoder2, self.encoder3 = network.encoder2, network.encoder3
        self.encoder4 = network.encoder4
        self.decoder5, self.decoder4 = network.decoder5, network.decoder4
        self.decoder3, self.decoder2 = network.decoder3, network.decoder2
        self.out = network.out

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``."""
        height, width = images.shape[-2:]
        images = padded(images, PATCH_PX)
        quarter, half, three_quarters, maps = self._encode(images)
        maps = self.decoder5(maps, self.encoder4(three_quarters))
        maps = self.decoder4(maps, self.encoder3(half))
        maps = self.decoder3(maps, self.encoder2(quarter))
        logits: Tensor = self.out(self.decoder2(maps, self.encoder1(images)))
        return logits[..., :height, :width]

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Return maps ``(B, E, H/16, W/16)`` from along the transformer, and from its end."""
        embedding = self.vit.patch_embedding
        maps = embedding.patch_embeddings(images)
        rows, columns = maps.shape[-2:]
        tokens = maps.flatten(2).transpose(1, 2) + self._positions(rows, columns)
        kept: list[Tensor] = []
        for number, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            if number in _SKIPS:
                kept.append(tokens)
        kept.append(self.vit.norm(tokens))
        return [each.transpose(1, 2).reshape(images.shape[0], -1, rows, columns) for each in kept]

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embeddings ``(1, rows * columns, E)``."""
        learnt: Tensor = self.vit.patch_embedding.position_embeddings
        maps = learnt.transpose(1, 2).reshape(1, -1, *self.trained_patches)
        # Of the size they were learnt for, they come out as they are.
        maps = functional.interpolate(maps, (rows, columns), mode="bicubic")
        return maps.flatten(2).transpose(1, 2)

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what `torch.jit.script` compiles in place of this network; see `traced`."""
        return traced(self, in_channels=self.in_channels, multiple_px=PATCH_PX)


def unetr_b16(*, in_channels: int = 3, out_channels: int) -> UNETR:
    """Build UNETR on the base transformer, width 768, 12 heads; 88 million parameters."""
    return _built(in_channels, out_channels, width=768, heads=12)


def unetr_s16(*, in_channels: int = 3, out_channels: int) -> UNETR:
    """Build UNETR on the small transformer, width 384, 6 heads; 23 million parameters."""
    return _built(in_channels, out_channels, width=384, heads=6)


def _built(in_channels: int, out_channels: int, *, width: int, heads: int) -> UNETR:
    # Importing MONAI's networks takes seconds; importing medseg.models must not.
    from monai.networks import nets

    network = nets.UNETR(
        in_channels,
        out_channels,
        img_size=TRAINED_PX,
        hidden_size=width,
        mlp_dim=4 * width,
        num_heads=heads,
        spatial_dims=2,
    )
    return UNETR(network)
