"""MaskFormer: classes for masks, not for pixels.

A backbone and a feature pyramid (the *pixel decoder*) describe each pixel by E numbers, at a
quarter of the image's size. Beside them a transformer decoder lets N learnt *queries* look at the
backbone's deepest maps and at each other, layer after layer. Of each query a linear layer makes a
class, or "no object", and a small perceptron E numbers whose product with those of a pixel is the
logit of the query's mask there.

Every decoder layer proposes segments and is trained with the same loss. As in the authors' code the
output of each layer is normalised before; transformers' own auxiliary outputs leave that out, and
count the queries' empty start as a layer, so the layers are run here.

References:
    Cheng et al. (2021), Per-Pixel Classification is Not All You Need for Semantic Segmentation,
    NeurIPS: sizes, and initialisation, as in the authors' code.
"""

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from medseg.models.padding import padded
from medseg.models.semantic import semantic_logits
from medseg.models.tracing import traced
from medseg.queries import MASK_STRIDE_PX, MaskQueries

if TYPE_CHECKING:
    from transformers import MaskFormerForInstanceSegmentation

STRIDE_PX = 32
_STAGES = ["stage1", "stage2", "stage3", "stage4"]


class MaskFormer(nn.Module):
    """MaskFormer, with dense logits at the input's size or the segments of every decoder layer.

    Images are padded with zeros at the right and the bottom to multiples of 32 px, and what comes
    out is cropped back. See `semantic_logits` for how segments become logits.

    `torch.jit.script` gives an inference copy: see `__prepare_scriptable__`.

    Args:
        model: Of transformers, in any size; the parameters keep its names, without ``model.``.
        overlapping: Organs may share pixels, and the classes are the organs alone.
    """

    takes_masks = True
    encoder_names = ("pixel_level_module.encoder",)

    pixel_level_module: Any
    transformer_module: Any

    def __init__(
        self, model: "MaskFormerForInstanceSegmentation", *, overlapping: bool = False
    ) -> None:
        super().__init__()
        # Only its parts, not the matcher and the loss beside them.
        self.pixel_level_module = model.model.pixel_level_module
        self.transformer_module = model.model.transformer_module
        self.class_predictor, self.mask_embedder = model.class_predictor, model.mask_embedder
        self.overlapping = overlapping

    def forward(self, images: Tensor, masks: Tensor | None = None) -> Tensor | list[MaskQueries]:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``.

        Args:
            images: Of any size.
            masks: Any, as of the loss ``mask_classification``, which then gets what it takes: the
                segments that each decoder layer proposes, the last layer's last, with masks at a
                quarter of the image's size, rounded up, and K + 1 classes, "no object" last.
        """
        height, width = images.shape[-2:]
        features = self.pixel_level_module.encoder(padded(images, STRIDE_PX)).feature_maps
        pixels = self.pixel_level_module.decoder(features).last_hidden_state
        rows, columns = (-(-size // MASK_STRIDE_PX) for size in (height, width))
        pixels = pixels[..., :rows, :columns]  # (B, E, H/4, W/4)
        layers = self._decoded(features[-1])
        if masks is not None:
            return [self._proposed(queries, pixels) for queries in layers]
        last = self._proposed(layers[-1], pixels)
        class_probs = last.class_logits.float().softmax(-1)[..., :-1]
        return semantic_logits(
            class_probs, last.mask_logits, (height, width), overlapping=self.overlapping
        )

    def initialise(self) -> None:
        """Draw the weights behind the backbone as the authors do.

        transformers draws those of the decoder and of the queries with a deviation of 0.02, as if a
        checkpoint were to be loaded over them. The authors' queries, which nothing but this tells
        apart at the start, have a deviation of 1.
        """
        module = self.transformer_module
        for root in (self.pixel_level_module.decoder, module.input_projection or nn.Identity()):
            for part in root.modules():
                if isinstance(part, nn.Conv2d):
                    nn.init.kaiming_uniform_(part.weight, a=1)
        for name, weight in module.decoder.layers.named_parameters():
            if weight.ndim > 1:
                # The authors' queries, keys and values are rows of one matrix.
                packed = name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))
                nn.init.xavier_uniform_(weight, gain=0.5**0.5 if packed else 1.0)
        nn.init.normal_(module.queries_embedder.weight)
        for part in (*self.mask_embedder.modules(), self.class_predictor):
            if isinstance(part, nn.Linear):
                part.reset_parameters()

    def _decoded(self, maps: Tensor) -> list[Tensor]:
        """Return the queries ``(B, Q, E)`` after each decoder layer that looked at the maps."""
        module = self.transformer_module
        if module.input_projection is not None:
            maps = module.input_projection(maps)
        positions = sine_positions(maps)
        memory = maps.flatten(2).transpose(1, 2)
        places = module.queries_embedder.weight.expand(maps.shape[0], -1, -1)
        queries, layers = torch.zeros_like(places), []
        for layer in module.decoder.layers:
            queries = layer(
                queries,
                encoder_hidden_states=memory,
                spatial_position_embeddings=positions,
                object_queries_position_embeddings=places,
            )
            layers.append(module.decoder.layernorm(queries))
        return layers

    def _proposed(self, queries: Tensor, pixels: Tensor) -> MaskQueries:
        mask_logits = torch.einsum("bqe,behw->bqhw", self.mask_embedder(queries), pixels)
        return MaskQueries(self.class_predictor(queries), mask_logits)

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what `torch.jit.script` compiles in place of this network; see `traced`."""
        channels = self.pixel_level_module.encoder.config.num_channels
        return traced(self, in_channels=channels, multiple_px=STRIDE_PX)


def maskformer_r18(
    *, in_channels: int = 3, out_channels: int, queries: int = 20, overlapping: bool = False
) -> MaskFormer:
    """Build MaskFormer on ResNet-18, 25 million parameters; see `maskformer_r50`."""
    backbone = _resnet("basic", (2, 2, 2, 2), in_channels)
    return _built(backbone, out_channels, queries=queries, overlapping=overlapping)


def maskformer_r50(
    *, in_channels: int = 3, out_channels: int, queries: int = 100, overlapping: bool = False
) -> MaskFormer:
    """Build MaskFormer on ResNet-50, 41 million parameters.

    Args:
        in_channels: Channels of the images.
        out_channels: Classes: the organs, and background where they exclude each other.
        queries: Segments that are proposed; an image shows at most one a class.
        overlapping: Organs may share pixels.
    """
    backbone = _resnet("bottleneck", (3, 4, 6, 3), in_channels)
    return _built(backbone, out_channels, queries=queries, overlapping=overlapping)


def maskformer_swin_t(
    *, in_channels: int = 3, out_channels: int, queries: int = 100, overlapping: bool = False
) -> MaskFormer:
    """Build MaskFormer on Swin-T, 42 million parameters; see `maskformer_r50`."""
    from transformers import SwinConfig

    backbone = SwinConfig(num_channels=in_channels, drop_path_rate=0.3)
    return _built(backbone, out_channels, queries=queries, overlapping=overlapping)


def sine_positions(maps: Tensor) -> Tensor:
    """Return what stands for the places of maps ``(B, E, h, w)``, ``(1, h * w, E)`` float32.

    Sines and cosines of the row, E/2 of them, then of the column, each place counted from 1 as a
    share of the whole; wavelengths from 1 to 10 000 times the whole (Vaswani et al. 2017, in the
    plane as of Carion et al. 2020).
    """
    half, device = maps.shape[1] // 2, maps.device
    # In full precision also under autocast, and not kept: transformers' own keeps its last one,
    # which validation in inference mode would leave behind for training.
    lengths = 10_000 ** (torch.arange(0, half, 2, device=device, dtype=torch.float32) / half)

    def waves(count: int) -> Tensor:
        places = torch.arange(1, count + 1, device=device, dtype=torch.float32)
        angles = 2 * math.pi * (places / (places[-1] + 1e-6))[:, None] / lengths
        return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)  # (count, E/2)

    height, width = maps.shape[-2:]
    rows = waves(height)[:, None].expand(-1, width, -1)
    columns = waves(width)[None].expand(height, -1, -1)
    return torch.cat((rows, columns), dim=2).flatten(0, 1)[None]


def _resnet(kind: Literal["basic", "bottleneck"], depths: tuple[int, ...], channels: int) -> Any:  # noqa: ANN401 - transformers has no types
    # Importing transformers takes seconds; importing medseg.models must not.
    from transformers import ResNetConfig

    widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
    return ResNetConfig(
        num_channels=channels,
        layer_type=kind,
        depths=list(depths),
        hidden_sizes=widths,
        out_features=_STAGES,
    )


def _built(backbone: Any, classes: int, *, queries: int, overlapping: bool) -> MaskFormer:  # noqa: ANN401 - transformers has no types
    from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation
    from transformers.models.maskformer.configuration_maskformer import MaskFormerDetrConfig

    config = MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=MaskFormerDetrConfig(num_queries=queries),
        num_labels=classes,
    )
    network = MaskFormer(MaskFormerForInstanceSegmentation(config), overlapping=overlapping)
    network.initialise()
    return network
