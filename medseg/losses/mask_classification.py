"""MaskFormer's loss: each segment teaches the one query that is nearest to it.

For every decoder layer the queries of an image are assigned to its segments, see
`medseg.losses.matching`, by what each pair would cost. Then, with weights of 1, 20 and 1:

- cross-entropy of the classes, over all queries: those without a segment are taught "no object",
  with a tenth of the weight, as most of them have none;
- focal loss of the masks, the mean over pixels of ``a (1 - p)^2 * -log p``, where p is the
  probability of what is true, and a is 1/4 inside the segment and 3/4 outside;
- 1 - Dice of the masks, with 1 added above and below.

The two of masks are summed over segments and divided by their number in the batch, which is that
of all processes that train together. The pairs cost
the same, but for the class, whose cost is minus its probability, and are compared on every fourth
pixel. What the layers lose is added up.

References:
    Cheng et al. (2021), Per-Pixel Classification is Not All You Need for Semantic Segmentation,
    NeurIPS; Carion et al. (2020), End-to-End Object Detection with Transformers, ECCV; Lin et al.
    (2017), Focal Loss for Dense Object Detection, ICCV.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg import ranks
from medseg.errors import Problem, UsageError
from medseg.losses.matching import assigned, class_masks
from medseg.queries import MASK_STRIDE_PX, MaskQueries

_INSIDE = 0.25


def mask_classification(
    *,
    painting_order: Sequence[int] | None = None,
    overlapping: bool = False,
    class_weight: float = 1.0,
    mask_weight: float = 20.0,
    dice_weight: float = 1.0,
    no_object: float = 0.1,
) -> nn.Module:
    """Return the loss of a network that proposes segments, such as ``maskformer_r50``.

    The module takes one `MaskQueries` a decoder layer, with masks at a quarter of the image's size,
    and organ masks ``(B, K, H, W)``; it returns a scalar. Where anything that was proposed is not
    finite, neither is the loss.

    Args:
        painting_order: Where classes exclude each other, channels of the masks from the lowest
            priority to the highest, as `LabelSet.painting_order` gives them.
        overlapping: Organs may share pixels, and are the classes; otherwise background is the
            first.
        class_weight: Of the cross-entropy of classes, and of a class in the cost of a pair.
        mask_weight: Of the focal loss, likewise.
        dice_weight: Of 1 - Dice, likewise.
        no_object: Weight of "no object" among the classes.
    """
    weights = (class_weight, mask_weight, dice_weight)
    return _MaskClassification(painting_order, overlapping, weights=weights, no_object=no_object)


class _MaskClassification(nn.Module):
    def __init__(
        self,
        painting_order: Sequence[int] | None,
        overlapping: bool,
        *,
        weights: tuple[float, float, float],
        no_object: float,
    ) -> None:
        super().__init__()
        self.painting_order, self.overlapping = painting_order, overlapping
        self.weights, self.no_object = weights, no_object

    def forward(self, layers: Sequence[MaskQueries], masks: Tensor) -> Tensor:
        owned = class_masks(masks, painting_order=self.painting_order, overlapping=self.overlapping)
        _require_segments(layers, owned.shape[1])
        with torch.autocast(masks.device.type, enabled=False):
            layers = [_precise(each) for each in layers]
            present = owned.flatten(2).any(2)
            with torch.no_grad():
                costs = torch.stack([self._costs(each, owned) for each in layers])
            queries = assigned(costs, present)
            losses = [
                self._loss(each, owned, chosen, present)
                for each, chosen in zip(layers, queries, strict=True)
            ]
            # 0 unless a cost is not finite: then nothing was rightly assigned.
            return torch.stack(losses).sum() + 0.0 * ranks.summed(costs.sum())

    def _costs(self, proposed: MaskQueries, owned: Tensor) -> Tensor:
        """Return what each query would cost for each class, ``(B, Q, classes)``."""
        of_class, of_mask, of_dice = self.weights
        logits = proposed.mask_logits.flatten(2)  # (B, Q, h * w)
        sparse = owned[..., ::MASK_STRIDE_PX, ::MASK_STRIDE_PX].flatten(2)
        sparse = sparse.transpose(1, 2).to(logits.dtype)  # (B, h * w, classes)
        probs = proposed.class_logits.softmax(-1)[..., :-1]
        inside, outside = _focal(logits)
        focal = (outside.sum(2, keepdim=True) + (inside - outside) @ sparse) / logits.shape[2]
        shares = logits.sigmoid()
        sizes = shares.sum(2, keepdim=True) + sparse.sum(1, keepdim=True)
        dice = _one_minus_dice(shares @ sparse, sizes)
        return of_mask * focal + of_dice * dice - of_class * probs

    def _loss(
        self, proposed: MaskQueries, owned: Tensor, queries: Tensor, present: Tensor
    ) -> Tensor:
        """Return the loss of one layer whose queries ``(B, classes)`` are assigned; -1 is none."""
        of_class, of_mask, of_dice = self.weights
        matched = queries >= 0
        chosen = queries.clamp_min(0)[..., None, None].expand(
            -1, -1, *proposed.mask_logits.shape[2:]
        )
        logits = functional.interpolate(
            proposed.mask_logits.gather(1, chosen),
            scale_factor=float(MASK_STRIDE_PX),
            mode="bilinear",
        )[..., : owned.shape[2], : owned.shape[3]]
        inside, outside = _focal(logits)
        focal = torch.where(owned, inside, outside).mean((2, 3))
        shares = logits.sigmoid()
        sizes = shares.sum((2, 3)) + owned.sum((2, 3))
        dice = _one_minus_dice((shares * owned).sum((2, 3)), sizes)
        of_segments = torch.where(matched, of_mask * focal + of_dice * dice, 0.0).sum()
        entropy = self._cross_entropy(proposed.class_logits, queries)
        segments = ranks.summed(present.sum()).clamp_min(1)
        return of_class * entropy + ranks.summed(of_segments) / segments

    def _cross_entropy(self, class_logits: Tensor, queries: Tensor) -> Tensor:
        images, count, kinds = class_logits.shape
        none = kinds - 1
        # A column more for the classes without a query: which they are is not asked of the device.
        wanted = torch.full((images, count + 1), none, device=queries.device)
        classes = torch.arange(none, device=queries.device).expand(images, -1)
        wanted.scatter_(1, torch.where(queries < 0, count, queries), classes)
        weight = class_logits.new_ones(kinds)
        weight[none] = self.no_object
        target = wanted[:, :count]
        entropy = functional.cross_entropy(class_logits.transpose(1, 2), target, weight=weight)
        return ranks.averaged(entropy, weight[target].sum())


def _focal(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the focal loss of each pixel if it were inside the segment, and if it were not."""
    inside = _INSIDE * (-logits).sigmoid().square() * functional.softplus(-logits)
    outside = (1 - _INSIDE) * logits.sigmoid().square() * functional.softplus(logits)
    return inside, outside


def _one_minus_dice(common: Tensor, sizes: Tensor) -> Tensor:
    return 1 - (2 * common + 1) / (sizes + 1)


def _precise(proposed: MaskQueries) -> MaskQueries:
    classes, masks = (
        logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in proposed[:2]
    )
    return MaskQueries(classes, masks)


def _require_segments(layers: object, classes: int) -> None:
    if not isinstance(layers, Sequence) or not layers or not isinstance(layers[0], MaskQueries):
        found, fix = "the network proposes no segments", "take one that does, or another loss"
        raise UsageError(Problem("E-MODEL", "loss", found, "MaskQueries of each layer", fix))
    own = layers[0].class_logits.shape[-1] - 1
    if own != classes:
        expected = f"{classes}: one an organ, and background where classes exclude each other"
        raise UsageError(Problem("E-MODEL", "loss", f"the network has {own} classes", expected))
