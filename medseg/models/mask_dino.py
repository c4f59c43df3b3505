"""Mask DINO: queries that find segments by box and by mask at once.

A ResNet and a pixel decoder (`mask_dino_pixels`) give tokens of several sizes and an embedding of
each pixel. Queries, learnt or chosen among the tokens (`mask_dino_selection`), are refined by a
decoder with boxes (`mask_dino_decoder`); a segment is the inner product of a query with the pixels.
In training, noised truth is given to the decoder beside them (`mask_dino_denoising`).

For classes that exclude each other, the background is one of them, and a segment that a query has
to find, as in the authors' semantic settings.

References:
    Li et al. (2023), Mask DINO: Towards A Unified Transformer-based Framework for Object Detection
    and Segmentation, CVPR. The semantic settings of the authors' code learn 100 queries and have a
    class "no object"; the others select queries and have none.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from medseg.errors import Problem, UsageError
from medseg.models.mask_dino_decoder import RefiningDecoder
from medseg.models.mask_dino_denoising import Noised, hidden_groups, noised
from medseg.models.mask_dino_pixels import Maps, PixelDecoder
from medseg.models.mask_dino_selection import LearntQueries, SelectedQueries
from medseg.models.padding import padded
from medseg.models.semantic import semantic_logits
from medseg.models.tracing import traced
from medseg.queries import DenoisingQueries, MaskQueries, RefinedQueries

if TYPE_CHECKING:
    from transformers import ResNetBackbone

MULTIPLE_PX = 32
# The focal loss weighs what is there 0.25 and what is not 0.75; this takes it back.
_WEIGHED = math.log(3.0)


class Sizes(NamedTuple):
    """How large a `MaskDINO` is.

    Attributes:
        width: Of tokens, queries and pixels; a multiple of 32.
        levels: Sizes of maps that queries look at: 3, or 4.
        queries: How many.
        encoder_layers: Of the pixel decoder.
        encoder_ffn: Width of their feed-forward parts.
        decoder_layers: That refine the queries.
        decoder_ffn: Width of their feed-forward parts.
    """

    width: int = 256
    levels: int = 3
    queries: int = 100
    encoder_layers: int = 6
    encoder_ffn: int = 1024
    decoder_layers: int = 9
    decoder_ffn: int = 2048


class MaskDINO(nn.Module):
    """Mask DINO with logits at the input's size.

    ``network(images, masks)`` gives `RefinedQueries`, for the loss ``mask_dino``. Images are padded
    with zeros at the right and the bottom to multiples of 32 px, and the logits cropped back. All
    behind the backbone is computed in float32, also under autocast: positions need it.

    `torch.jit.script` gives an inference copy: see `__prepare_scriptable__`.

    Args:
        backbone: A ``transformers.ResNetBackbone`` that gives the maps of its four stages.
        out_channels: Classes: with exclusive labels the organs and background, else the organs.
        sizes: How large.
        two_stage: Choose the queries among the tokens of each image. Otherwise they are learnt, and
            the class logits have one more, for "no object".
        boxes_from_masks: Begin with boxes around the masks of chosen tokens, not with those that
            the box head gives.
        denoising: How many noised queries to train with; 0 trains without.
        overlapping: Organs may share pixels.
    """

    takes_masks = True
    encoder_names = ("embedder", "stages")

    def __init__(  # noqa: PLR0913 - what the paper switches on and off
        self,
        backbone: "ResNetBackbone",
        out_channels: int,
        *,
        sizes: Sizes = Sizes(),  # noqa: B008 - a tuple
        two_stage: bool = False,
        boxes_from_masks: bool = False,
        denoising: int = 100,
        overlapping: bool = False,
    ) -> None:
        super().__init__()
        if sizes.levels not in (3, 4):
            found = f"is {sizes.levels}"
            raise UsageError(Problem("E-MODEL", "levels of Mask DINO", found, "3 or 4"))
        self.two_stage, self.denoising, self.overlapping = two_stage, denoising, overlapping
        # Only its parts, not the PreTrainedModel around them.
        self.embedder, self.stages = backbone.embedder, backbone.encoder.stages
        width, levels = sizes.width, sizes.levels
        self.pixels = PixelDecoder(
            backbone.config.hidden_sizes,
            width=width,
            levels=levels,
            layers=sizes.encoder_layers,
            ffn=sizes.encoder_ffn,
        )
        self.start = (
            SelectedQueries(queries=sizes.queries, width=width, from_masks=boxes_from_masks)
            if two_stage
            else LearntQueries(queries=sizes.queries, width=width)
        )
        self.decoder = RefiningDecoder(
            width=width,
            levels=levels,
            layers=sizes.decoder_layers,
            ffn=sizes.decoder_ffn,
            classes=out_channels if two_stage else out_channels + 1,
        )
        self.labels = nn.Embedding(out_channels, width)

    def forward(self, images: Tensor, masks: Tensor | None = None) -> Tensor | RefinedQueries:
        """Return logits ``(B, K, H, W)`` of images ``(B, C, H, W)``, or with masks all queries.

        Args:
            images: Of any height and width.
            masks: Organ masks ``(B, organs, H, W)``, not 0 where the organ is. Noised segments are
                made of them in training mode.
        """
        height, width = images.shape[-2:]
        images = padded(images, MULTIPLE_PX)
        maps = self.embedder(images)
        stages = []
        for stage in self.stages:
            maps = stage(maps)
            stages.append(maps.float())
        with torch.autocast(images.device.type, enabled=False):
            seen = self.pixels(stages)
            if masks is not None:
                return self._all_queries(seen, padded(masks, MULTIPLE_PX))
            queries, places, _ = self.start(seen, self.decoder)
            states, _ = self.decoder(queries, places, seen)
            last = self.decoder.say(states[-1], None, seen.pixels)
            probs = self._class_probs(last.class_logits)
            return semantic_logits(
                probs, last.mask_logits, (height, width), overlapping=self.overlapping
            )

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what `torch.jit.script` compiles in place of this network; see `traced`."""
        return traced(self, in_channels=self.embedder.num_channels, multiple_px=MULTIPLE_PX)

    def _class_probs(self, logits: Tensor) -> Tensor:
        """Return the probability of each class, without "no object"."""
        if not self.two_stage:
            return logits.softmax(-1)[..., :-1]
        # Alone, and not only more probable than another, must be what really is.
        return (logits + _WEIGHED if self.overlapping else logits).sigmoid()

    def _all_queries(self, seen: Maps, masks: Tensor) -> RefinedQueries:
        """Return what every layer says, for the loss."""
        queries, places, selected = self.start(seen, self.decoder)
        given = self._noised(masks)
        hidden, first = None, 0
        if given is not None:
            first = given.queries.shape[1]
            group = first // given.groups
            hidden = hidden_groups(given.groups, group, queries.shape[1], queries.device)
            queries = torch.cat((given.queries, queries), dim=1)
            places = torch.cat((given.places, places), dim=1)
        states, boxes = self.decoder(queries, places, seen, hidden=hidden)
        said = [
            self.decoder.say(state, box, seen.pixels)
            for state, box in zip(states, boxes, strict=True)
        ]
        layers = tuple(_part(each, slice(first, None)) for each in said)
        denoising = None
        if given is not None:
            # Before the first layer, a learnt query has not seen the image, and neither do these
            # have to say anything of it.
            known = said if self.two_stage else said[1:]
            restored = tuple(_part(each, slice(first)) for each in known)
            denoising = DenoisingQueries(restored, given.classes)
        return RefinedQueries(layers, selected, denoising, no_object=not self.two_stage)

    def _noised(self, masks: Tensor) -> Noised | None:
        if not self.training:
            return None
        return noised(masks, self.labels, count=self.denoising, overlapping=self.overlapping)


def maskdino_r50(  # noqa: PLR0913 - the values of a bundle
    *,
    in_channels: int = 3,
    out_channels: int,
    queries: int = 100,
    levels: int = 3,
    encoder_ffn: int = 1024,
    decoder_ffn: int = 2048,
    two_stage: bool = False,
    boxes_from_masks: bool = False,
    denoising: int = 100,
    overlapping: bool = False,
) -> MaskDINO:
    """Build Mask DINO on ResNet-50, 44 million parameters: the authors' semantic settings.

    Their instance settings, 52 million, are ``two_stage=True``, 300 queries, 4 levels and
    ``encoder_ffn=2048``. The counts are without the backbone's 53 120 weights of normalisation,
    which the authors freeze, and which are trained here.

    Args:
        in_channels: Channels of the images.
        out_channels: Classes: with exclusive labels the organs and background, else the organs.
        queries: Segments proposed for an image.
        levels: Sizes of maps that queries look at: 3, or 4.
        encoder_ffn: Width of the feed-forward parts of the pixel decoder.
        decoder_ffn: Width of those of the decoder.
        two_stage: Choose the queries among the tokens of each image; else they are learnt.
        boxes_from_masks: Begin with boxes around the masks of chosen tokens.
        denoising: How many noised queries to train with; 0 trains without.
        overlapping: Organs may share pixels.
    """
    sizes = Sizes(levels=levels, queries=queries, encoder_ffn=encoder_ffn, decoder_ffn=decoder_ffn)
    return MaskDINO(
        _resnet("bottleneck", (3, 4, 6, 3), in_channels),
        out_channels,
        sizes=sizes,
        two_stage=two_stage,
        boxes_from_masks=boxes_from_masks,
        denoising=denoising,
        overlapping=overlapping,
    )


def maskdino_r18(  # noqa: PLR0913 - the values of a bundle
    *,
    in_channels: int = 3,
    out_channels: int,
    queries: int = 20,
    levels: int = 3,
    encoder_ffn: int = 512,
    decoder_ffn: int = 512,
    two_stage: bool = False,
    boxes_from_masks: bool = False,
    denoising: int = 20,
    overlapping: bool = False,
) -> MaskDINO:
    """Build a small Mask DINO on ResNet-18, of width 128 with 3 + 3 layers; see `maskdino_r50`."""
    sizes = Sizes(
        width=128,
        levels=levels,
        queries=queries,
        encoder_layers=3,
        encoder_ffn=encoder_ffn,
        decoder_layers=3,
        decoder_ffn=decoder_ffn,
    )
    return MaskDINO(
        _resnet("basic", (2, 2, 2, 2), in_channels),
        out_channels,
        sizes=sizes,
        two_stage=two_stage,
        boxes_from_masks=boxes_from_masks,
        denoising=denoising,
        overlapping=overlapping,
    )


def _part(said: MaskQueries, which: slice) -> MaskQueries:
    boxes = None if said.boxes is None else said.boxes[:, which]
    return MaskQueries(said.class_logits[:, which], said.mask_logits[:, which], boxes)


def _resnet(layer_type: str, depths: tuple[int, int, int, int], channels: int) -> "ResNetBackbone":
    # Importing transformers takes seconds; importing medseg.models must not.
    from transformers import ResNetBackbone, ResNetConfig

    widths = (64, 128, 256, 512) if layer_type == "basic" else (256, 512, 1024, 2048)
    config = ResNetConfig(
        num_channels=channels,
        hidden_sizes=list(widths),
        depths=list(depths),
        layer_type=layer_type,
    )
    return ResNetBackbone(config)
