"""SegFormer: a hierarchical transformer encoder and a decoder made of linear layers alone.

The modules, and so the parameters and their names, are those of
``transformers.SegformerForSemanticSegmentation``; a checkpoint of the one loads into the other.
Only the order of the decoder's arithmetic differs. As published, each of four feature maps is
projected to a common width E, enlarged to a quarter of the image, and the 4E channels are mixed by
one 1x1 convolution. Projection, mixing and bilinear enlargement are linear, and the enlargement's
weights sum to 1, so they commute: here each map is projected and mixed by one combined matrix at
its own resolution, then enlarged and added to the others. For eight images of 288 x 288 px that is
a sixteenth (b0) to a twenty-second (b2) of the decoder's multiplications for the same logits.

References:
    Xie et al. (2021), SegFormer: Simple and Efficient Design for Semantic Segmentation with
    Transformers, NeurIPS. The initialisation is that of the authors' own training.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.models.padding import padded
from medseg.models.tracing import traced
from medseg.models.weights import load_segformer

if TYPE_CHECKING:
    from transformers.models.segformer.modeling_segformer import SegformerDecodeHead, SegformerModel

STRIDE_PX = 32


class Size(NamedTuple):
    """What distinguishes the published sizes."""

    hidden_sizes: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder_width: int


class Feature(NamedTuple):
    """One stage's output: tokens ``(B, height * width, C)`` in row-major order."""

    tokens: Tensor
    height: int
    width: int


class SegFormer(nn.Module):
    """SegFormer with logits at the input's size.

    Images are padded with zeros at the right and the bottom to multiples of 32 px, so that the maps
    of all four stages cover the same area; the logits are cropped back. Under autocast the last
    enlargement, of the logits, is computed in float32.

    `torch.jit.script` gives an inference copy: see `__prepare_scriptable__`.

    Args:
        segformer: A ``transformers.SegformerModel``.
        decode_head: A ``transformers`` ``SegformerDecodeHead``.
    """

    encoder_names = ("segformer",)

    segformer: Any
    decode_head: Any

    def __init__(self, segformer: "SegformerModel", decode_head: "SegformerDecodeHead") -> None:
        super().__init__()
        # Only the stages, not the PreTrainedModel around them; the parameters keep their names.
        self.segformer = nn.ModuleDict({"stages": segformer.stages})
        self.decode_head = decode_head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``, float32 under autocast."""
        height, width = images.shape[-2:]
        images = padded(images, STRIDE_PX)
        logits = self._classify(self._decode(self._encode(images)))  # (B, K, H/4, W/4)
        # Bilinear enlargement in reduced precision is slow on CPUs and steps visibly.
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits = functional.interpolate(precise, scale_factor=4.0, mode="bilinear")
        return logits[..., :height, :width]

    def _encode(self, images: Tensor) -> list[Feature]:
        """Return the features of the four stages, finest first."""
        # Tokens are channels-last maps, so channels-last convolutions need no copies between them.
        maps = images.contiguous(memory_format=torch.channels_last)
        features: list[Feature] = []
        for stage in self.segformer["stages"]:
            tokens, height, width = stage.patch_embeddings(maps)
            for block in stage.blocks:
                tokens = block(tokens, height, width)
            features.append(Feature(stage.layer_norm(tokens), height, width))
            maps = _as_maps(*features[-1])
        return features

    def _decode(self, features: Sequence[Feature]) -> Tensor:
        """Return the fused and normalised maps ``(B, E, H/4, W/4)`` before the activation."""
        matrices, bias = self._combined()
        finest, *coarser = features
        fused = _as_maps(
            functional.linear(finest.tokens, matrices[0], bias), finest.height, finest.width
        )
        for feature, matrix in zip(coarser, matrices[1:], strict=True):
            maps = _as_maps(
                functional.linear(feature.tokens, matrix), feature.height, feature.width
            )
            # Autocast would widen these maps, the largest of the network, to float32 first.
            with torch.autocast(maps.device.type, enabled=False):
                larger = functional.interpolate(maps, fused.shape[-2:], mode="bilinear")
                fused = larger.add_(fused)
        norm = self.decode_head.batch_norm
        return norm(fused) if norm.training else fused

    def _combined(self) -> tuple[list[Tensor], Tensor]:
        """Return each stage's matrix ``(E, C)``, finest first, and their common bias ``(E,)``.

        In eval mode they include the batch normalisation, which is then a fixed scale and shift.
        """
        head = self.decode_head
        # The published concatenation is coarsest first.
        mixings = head.linear_fuse.weight.flatten(1).chunk(len(head.linear_projections), dim=1)[
            ::-1
        ]
        projections = [projection.proj for projection in head.linear_projections]
        pairs = list(zip(mixings, projections, strict=True))
        bias = torch.stack([mixing @ linear.bias for mixing, linear in pairs]).sum(0)
        matrices = [mixing @ linear.weight for mixing, linear in pairs]
        norm = head.batch_norm
        if norm.training:
            return matrices, bias
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = scale * (bias - norm.running_mean) + norm.bias
        return [scale[:, None] * matrix for matrix in matrices], bias

    def _classify(self, fused: Tensor) -> Tensor:
        """Return logits ``(B, K, H/4, W/4)``; training drops whole channels, as the authors do."""
        head = self.decode_head
        height, width = fused.shape[-2:]
        tokens = fused.relu_().flatten(2).transpose(1, 2)
        classifier = head.classifier
        matrix = classifier.weight.flatten(1)
        if head.dropout.training:
            # The matrix loses the channels in place of the maps, the largest of the network.
            ones = matrix.new_ones(tokens.shape[0], 1, matrix.shape[1])
            matrix = matrix * functional.dropout(ones, head.dropout.p)  # (B, K, E)
            logits = tokens @ matrix.transpose(1, 2) + classifier.bias
        else:
            logits = functional.linear(tokens, matrix, classifier.bias)
        return _as_maps(logits, height, width)

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what `torch.jit.script` compiles in place of this network; see `traced`."""
        channels = self.segformer["stages"][0].patch_embeddings.proj.in_channels
        return traced(self, in_channels=channels, multiple_px=STRIDE_PX)


def segformer_b0(
    *,
    in_channels: int = 3,
    out_channels: int,
    weights: str | Path | None = None,
    drop_path: float = 0.1,
) -> SegFormer:
    """Build SegFormer-b0, 3.7 million parameters.

    Args:
        in_channels: Channels of the images: 1 for a slice, N for a slice and its neighbours.
        out_channels: Channels of the logits: one an organ, and one for background where the
            organs exclude each other.
        weights: Where the weights start from: a folder in the hub's format (``config.json`` with
            ``model.safetensors`` or ``pytorch_model.bin``), or a hub id, which is downloaded. It
            holds a segmentation network or an encoder alone, of this size. None draws them from
            torch's random generator.
        drop_path: Share of residual branches left out while training, in the last block; it grows
            linearly from 0 in the first.

    Raises:
        UsageError: `weights` cannot be read, or is not a SegFormer of this size.
        UnsafeError: The checkpoint holds code.
    """
    size = Size((32, 64, 160, 256), (2, 2, 2, 2), 256)
    return _built(size, (in_channels, out_channels), weights=weights, drop_path=drop_path)


def segformer_b1(
    *,
    in_channels: int = 3,
    out_channels: int,
    weights: str | Path | None = None,
    drop_path: float = 0.1,
) -> SegFormer:
    """Build SegFormer-b1, 13.7 million parameters; arguments as for `segformer_b0`."""
    size = Size((64, 128, 320, 512), (2, 2, 2, 2), 256)
    return _built(size, (in_channels, out_channels), weights=weights, drop_path=drop_path)


def segformer_b2(
    *,
    in_channels: int = 3,
    out_channels: int,
    weights: str | Path | None = None,
    drop_path: float = 0.1,
) -> SegFormer:
    """Build SegFormer-b2, 27 million parameters; arguments as for `segformer_b0`."""
    size = Size((64, 128, 320, 512), (3, 4, 6, 3), 768)
    return _built(size, (in_channels, out_channels), weights=weights, drop_path=drop_path)


def segformer_b3(
    *,
    in_channels: int = 3,
    out_channels: int,
    weights: str | Path | None = None,
    drop_path: float = 0.1,
) -> SegFormer:
    """Build SegFormer-b3, 47 million parameters; arguments as for `segformer_b0`."""
    size = Size((64, 128, 320, 512), (3, 4, 18, 3), 768)
    return _built(size, (in_channels, out_channels), weights=weights, drop_path=drop_path)


def segformer_b4(
    *,
    in_channels: int = 3,
    out_channels: int,
    weights: str | Path | None = None,
    drop_path: float = 0.1,
) -> SegFormer:
    """Build SegFormer-b4, 64 million parameters; arguments as for `segformer_b0`."""
    size = Size((64, 128, 320, 512), (3, 8, 27, 3), 768)
    return _built(size, (in_channels, out_channels), weights=weights, drop_path=drop_path)


def segformer_b5(
    *,
    in_channels: int = 3,
    out_channels: int,
    weights: str | Path | None = None,
    drop_path: float = 0.1,
) -> SegFormer:
    """Build SegFormer-b5, 85 million parameters; arguments as for `segformer_b0`."""
    size = Size((64, 128, 320, 512), (3, 6, 40, 3), 768)
    return _built(size, (in_channels, out_channels), weights=weights, drop_path=drop_path)


def _built(
    size: Size, channels: tuple[int, int], *, weights: str | Path | None, drop_path: float
) -> SegFormer:
    # Importing transformers takes seconds; importing medseg.models must not.
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_channels=channels[0],
        num_labels=channels[1],
        hidden_sizes=size.hidden_sizes,
        depths=size.depths,
        decoder_hidden_size=size.decoder_width,
        drop_path_rate=drop_path,
        # With the few keys of SegFormer the fused CPU kernel's bfloat16 backward is the slower one.
        attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
    )
    if weights is None:
        model = SegformerForSemanticSegmentation(config)
        _initialise_encoder(model.segformer)
        _initialise_head(model.decode_head)
    else:
        model, fresh = load_segformer(config, weights)
        if fresh == "head":
            _initialise_head(model.decode_head)
        elif fresh == "classifier":
            model.decode_head.classifier.reset_parameters()
    # A network that started from a checkpoint comes in eval mode, a fresh one does not.
    return SegFormer(model.segformer, model.decode_head).train()


def _initialise_encoder(encoder: nn.Module) -> None:
    """Draw the encoder's weights as the authors do.

    transformers draws every convolution with a deviation of 0.02. For the depthwise convolutions of
    the feed-forward layers, nine weights a channel, that is a twenty-third of the authors' and all
    but mutes those layers.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            _draw_convolution(module)


def _initialise_head(head: "SegformerDecodeHead") -> None:
    for linear in chain((mlp.proj for mlp in head.linear_projections), (head.classifier,)):
        linear.reset_parameters()
    head.batch_norm.reset_parameters()
    _draw_convolution(head.linear_fuse)


def _draw_convolution(convolution: nn.Conv2d) -> None:
    """Draw normal weights of variance 2 / fan-out (He et al. 2015), and zero biases."""
    fan_out = convolution.weight[:, 0].numel() // convolution.groups
    nn.init.normal_(convolution.weight, std=(2.0 / fan_out) ** 0.5)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def _as_maps(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return tokens ``(B, N, C)`` as maps ``(B, C, height, width)``, channels last in memory."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, height, width)
