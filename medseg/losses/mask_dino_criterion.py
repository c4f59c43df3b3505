"""Mask DINO's loss: every layer is judged by the segments that suit its queries best.

For each layer, and for the tokens chosen as queries, the Hungarian assignment pairs segments with
queries by what the pairs would cost. Then classes, masks and boxes of the pairs are compared, and
the other queries must be of no class. Noised queries know their segments, and are judged likewise.

Masks are compared at points: 12 544 for each pair, three quarters of them those of three times as
many random ones where the mask is least certain. The pairs are chosen at as many random points,
which all pairs of an image share. Where classes exclude each other, the background is a segment.

References:
    Li et al. (2023), Mask DINO, CVPR, with the weights and costs of the authors' code. Kirillov et
    al. (2020), PointRend, CVPR: the points. Lin et al. (2017), Focal Loss, ICCV.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg import ranks
from medseg.errors import Problem, UsageError
from medseg.losses.mask_dino_boxes import box_distance, generalized_iou
from medseg.losses.matching import assigned, class_masks
from medseg.queries import MASK_STRIDE_PX, MaskQueries, RefinedQueries, boxes_around

if TYPE_CHECKING:
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

CLASS, MASK, DICE, BOX, GIOU = 4.0, 5.0, 5.0, 5.0, 2.0
NO_OBJECT = 0.1
POINTS, OVERSAMPLED, UNCERTAIN = 12_544, 3.0, 0.75
_ALPHA, _GAMMA, _LEAST = 0.25, 2.0, 1e-8


class Truth(NamedTuple):
    """What the images of a batch show, class by class.

    Attributes:
        masks: ``(B, K, H, W)`` bool.
        boxes: ``(B, K, 4)``.
        present: ``(B, K)`` bool.
    """

    masks: Tensor
    boxes: Tensor
    present: Tensor


class Pairs(NamedTuple):
    """M queries and the segments they answer for: numbers of images, queries and classes."""

    images: Tensor
    queries: Tensor
    classes: Tensor


def mask_dino(
    *,
    painting_order: Sequence[int] | None = None,
    overlapping: bool = False,
    points: int = POINTS,
) -> nn.Module:
    """Return Mask DINO's loss: 4 class + 5 mask + 5 Dice + 5 box + 2 GIoU, summed over all layers.

    The module takes `RefinedQueries` and organ masks ``(B, K, H, W)``, and returns a scalar. Class
    logits are judged by the focal loss (0.25, 2), or those with a class "no object" by
    cross-entropy, in which it weighs 0.1. A batch without any segment, which there is
    where organs may overlap, teaches the classes alone.

    Args:
        painting_order: As for `dice_ce`; without a meaning where organs overlap.
        overlapping: Organs may share pixels; otherwise background is the first class.
        points: At which masks are compared.
    """
    return _MaskDINO(painting_order, overlapping=overlapping, points=points)


class _MaskDINO(nn.Module):
    def __init__(
        self, painting_order: Sequence[int] | None, *, overlapping: bool, points: int
    ) -> None:
        super().__init__()
        self.painting_order, self.overlapping, self.points = painting_order, overlapping, points

    def forward(self, output: RefinedQueries, masks: Tensor) -> Tensor:
        _require_classes(output, masks.shape[1] + (not self.overlapping))
        with torch.autocast(masks.device.type, enabled=False):
            truth = self._truth(masks, output.layers[0].mask_logits)
            judged = [*output.layers, *([output.selected] if output.selected else [])]
            costs = [pair_costs(each, truth, points=self.points) for each in judged]
            answers = assigned(torch.stack(costs), truth.present)
            losses = [
                layer_loss(each, _pairs(answer), truth, points=self.points)
                for each, answer in zip(judged, answers, strict=True)
            ]
            if output.denoising is not None:
                pairs = _known(output.denoising.classes)
                losses += [
                    layer_loss(each, pairs, truth, points=self.points)
                    for each in output.denoising.layers
                ]
            return torch.stack(losses).sum()

    def _truth(self, masks: Tensor, like: Tensor) -> Truth:
        """Return it in the frame of the network, which added to the right and the bottom."""
        added = [
            MASK_STRIDE_PX * size - own
            for size, own in zip(like.shape[-2:], masks.shape[-2:], strict=True)
        ]
        masks = functional.pad(masks, (0, added[1], 0, added[0]))
        owned = class_masks(masks, painting_order=self.painting_order, overlapping=self.overlapping)
        return Truth(owned, boxes_around(owned), owned.flatten(2).any(2))


def pair_costs(said: MaskQueries, truth: Truth, *, points: int) -> Tensor:
    """Return what it would cost each query to answer for each class, ``(B, Q, K)``.

    Also the class costs where the classes exclude each other are focal, as in the authors' code.
    """
    from transformers.models.mask2former import modeling_mask2former as parts

    with torch.no_grad():
        probs = said.class_logits.float().sigmoid()
        yes = _ALPHA * (1 - probs) ** _GAMMA * -(probs + _LEAST).log()
        no = (1 - _ALPHA) * probs**_GAMMA * -(1 - probs + _LEAST).log()
        costs = CLASS * (yes - no)[..., : truth.present.shape[1]]
        logits = said.mask_logits.float()
        where = torch.rand(logits.shape[0], points, 2, device=logits.device)
        found = parts.sample_point(logits, where, align_corners=False)
        wanted = parts.sample_point(truth.masks.float(), where, align_corners=False)
        pairs = list(zip(found, wanted, strict=True))
        cross = [parts.pair_wise_sigmoid_cross_entropy_loss(*pair) for pair in pairs]
        dice = [parts.pair_wise_dice_loss(*pair) for pair in pairs]
        boxes, others = _boxes(said)[:, :, None], truth.boxes[:, None]
        costs = costs + MASK * torch.stack(cross) + DICE * torch.stack(dice)
        return costs + BOX * box_distance(boxes, others) - GIOU * generalized_iou(boxes, others)


def layer_loss(said: MaskQueries, pairs: Pairs, truth: Truth, *, points: int) -> Tensor:
    """Return the weighted loss of one layer, whose queries answer for the segments of `pairs`."""
    every = ranks.total(len(pairs.images))
    count, classes = max(every, 1), truth.present.shape[1]
    loss = CLASS * class_loss(said.class_logits.float(), pairs, classes, count)
    if not every:
        return loss
    box, apart, cross, dice = ranks.summed_each(*_of_pairs(said, pairs, truth, every, points))
    loss = loss + BOX * box / every
    loss = loss + GIOU * apart / every
    return loss + MASK * cross + DICE * dice


def _of_pairs(
    said: MaskQueries, pairs: Pairs, truth: Truth, every: int, points: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sums of what boxes lose, and of what masks do by the number of `every` pair."""
    if not len(pairs.images):
        nothing = 0.0 * (_boxes(said).sum() + said.mask_logits.float().sum())
        return nothing, nothing, nothing, nothing
    found = pairs.images, pairs.queries
    wanted = pairs.images, pairs.classes
    boxes, others = _boxes(said)[found], truth.boxes[wanted]
    box = box_distance(boxes, others).sum()
    apart = (1 - generalized_iou(boxes, others)).sum()
    masks = said.mask_logits.float()[found], truth.masks[wanted].float()
    return box, apart, *mask_losses(*masks, points=points, every=every)


def class_loss(logits: Tensor, pairs: Pairs, classes: int, count: int) -> Tensor:
    """Return the focal loss a segment, or cross-entropy where the logits have one more class."""
    target = logits.new_full(logits.shape[:2], classes, dtype=torch.int64)
    target[pairs.images, pairs.queries] = pairs.classes
    if logits.shape[-1] == classes:
        wanted = functional.one_hot(target, classes + 1)[..., :-1].to(logits.dtype)
        plain = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        missed = (logits.sigmoid() - wanted).abs() ** _GAMMA
        balance = _ALPHA * wanted + (1 - _ALPHA) * (1 - wanted)
        return ranks.summed((balance * missed * plain).sum() / count)
    weight = logits.new_ones(classes + 1)
    weight[-1] = NO_OBJECT
    entropy = functional.cross_entropy(logits.transpose(1, 2), target, weight)
    return ranks.averaged(entropy, weight[target].sum())


def mask_losses(
    logits: Tensor, masks: Tensor, *, points: int, every: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return cross-entropy and 1 - Dice at uncertain points, each the mean over M pairs.

    Args:
        logits: ``(M, h, w)``.
        masks: ``(M, H, W)``, 0 or 1.
        points: How many a pair.
        every: What to divide the sums by instead of M.
    """
    rows = torch.arange(len(logits), device=logits.device)
    losses = _point_losses(points, OVERSAMPLED, UNCERTAIN).loss_masks(
        logits[None], [masks], [(rows, rows)], len(logits) if every is None else every
    )
    return losses["loss_mask"], losses["loss_dice"]


@lru_cache(maxsize=4)
def _point_losses(points: int, oversampled: float, uncertain: float) -> "Mask2FormerLoss":
    """Return transformers' losses of masks, which take longer to build than to compute."""
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former import modeling_mask2former as parts

    config = Mask2FormerConfig(
        train_num_points=points,
        oversample_ratio=oversampled,
        importance_sample_ratio=uncertain,
    )
    return parts.Mask2FormerLoss(config, {})


def _pairs(answers: Tensor) -> Pairs:
    """Return the pairs of answers ``(B, K)``: the number of the query, -1 for none."""
    images, classes = (answers >= 0).nonzero(as_tuple=True)
    return Pairs(images, answers[images, classes], classes)


def _known(classes: Tensor) -> Pairs:
    """Return the pairs of queries that stand for classes ``(B, N)``, -1 for none."""
    images, queries = (classes >= 0).nonzero(as_tuple=True)
    return Pairs(images, queries, classes[images, queries])


def _boxes(said: MaskQueries) -> Tensor:
    if said.boxes is None:
        raise UsageError(Problem("E-MODEL", "loss", "the network gives no boxes", "boxes"))
    return said.boxes.float()


def _require_classes(output: RefinedQueries, classes: int) -> None:
    expected = classes + output.no_object
    found = output.layers[0].class_logits.shape[-1]
    if found != expected:
        meaning = f"{expected}: {classes} of segments"
        problem = f"the network gives {found} classes"
        meaning += ", and no object" if output.no_object else ""
        raise UsageError(Problem("E-MODEL", "loss", problem, meaning))
