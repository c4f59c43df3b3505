"""Scores slice by slice, the way many papers report them, and why they are not to be compared.

More than half of the slices of a scan show no organ. A slice that is empty on both sides has no
overlap; who counts it as 1, as smoothing both halves of the fraction does unasked, rewards a model
for the slices where there was nothing to find. The mean is given in three ways: such slices as 1,
as 0, and left out. Slices of one patient are alike, so a mean over slices also has no interval to
speak of, and a split by slices puts each patient on both sides.

The honest scores are those of `medseg.metrics.summary`: by organ and scan.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, Problem

Mask = NDArray[np.bool_]
Masks = Sequence[Mask] | NDArray[np.bool_]
WARNING = "slice-wise, empties count 1: not comparable with the scores above"
ALL = "all"


class SliceCounts(NamedTuple):
    """Pixels of the prediction, of the reference and of both, ``(C, K)``: by organ and slice."""

    pred: NDArray[np.int64]
    ref: NDArray[np.int64]
    both: NDArray[np.int64]

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice of each slice, in [0, 1]; NaN where it is empty on both sides."""
        return _share(2 * self.both, self.pred + self.ref)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each slice, likewise."""
        return _share(self.both, self.pred + self.ref - self.both)


class SliceScore(NamedTuple):
    """One organ over the slices of one scan.

    Attributes:
        scan_id: The scan.
        organ: The organ's name.
        n: Slices.
        n_empty: Slices where it is on neither side.
        dice_sum: Sum of Dice over the others.
        iou_sum: Sum of intersection over union over the others.
    """

    scan_id: str
    organ: str
    n: int
    n_empty: int
    dice_sum: float
    iou_sum: float


class Means(NamedTuple):
    """A mean over slices, in the three ways to count a slice that is empty on both sides.

    Attributes:
        one: It counts 1.
        zero: It counts 0.
        skipped: It is left out; NaN where every slice is.
    """

    one: float
    zero: float
    skipped: float


class SliceSummary(NamedTuple):
    """One organ over the slices of many scans; `ALL` stands for every organ's slices together."""

    organ: str
    n: int
    n_empty: int
    dice: Means
    iou: Means


def count_slices(pred_masks: Masks, ref_masks: Masks) -> SliceCounts:
    """Count the pixels of masks ``(C, I, J, K)`` slice by slice, along the last axis.

    Raises:
        GeometryError: The shapes differ.
    """
    rows = []
    for pred, ref in zip(pred_masks, ref_masks, strict=True):
        if pred.shape != ref.shape:
            raise GeometryError(Problem("E-GRID", "masks", f"shape {pred.shape}", f"{ref.shape}"))
        sides = np.asarray(pred, bool), np.asarray(ref, bool)
        both = np.logical_and(*sides)
        rows.append([np.count_nonzero(mask, axis=(0, 1)) for mask in (*sides, both)])
    pred_px, ref_px, both_px = np.moveaxis(np.array(rows, np.int64), 1, 0)
    return SliceCounts(pred_px, ref_px, both_px)


def slice_scores(
    pred_masks: Masks | None, ref_masks: Masks, *, organs: Sequence[str], scan_id: str
) -> list[SliceScore]:
    """Score each organ of a scan slice by slice.

    Args:
        pred_masks: ``(C, I, J, K)``, slices along K. None stands for a scan without a prediction:
            no slice of it counts as empty then, and every one counts 0.
        ref_masks: The same shape.
        organs: The names of the C channels.
        scan_id: The scan's name.

    Raises:
        GeometryError: The shapes differ.
    """
    counts = count_slices(ref_masks if pred_masks is None else pred_masks, ref_masks)
    found = pred_masks is not None
    return [
        SliceScore(
            scan_id,
            organ,
            dice.size,
            int(np.isnan(dice).sum()) * found,
            float(np.nansum(dice)) * found,
            float(np.nansum(iou)) * found,
        )
        for organ, dice, iou in zip(organs, counts.dice, counts.iou, strict=True)
    ]


def summarise_slices(scores: Sequence[SliceScore]) -> tuple[SliceSummary, ...]:
    """Return the means of each organ, in the order in which they first appear, then of `ALL`.

    No scores give no summaries.
    """
    organs = dict.fromkeys(score.organ for score in scores)
    groups = {organ: [score for score in scores if score.organ == organ] for organ in organs}
    if groups:
        groups[ALL] = list(scores)
    return tuple(_summary(organ, rows) for organ, rows in groups.items())


def _summary(organ: str, scores: Sequence[SliceScore]) -> SliceSummary:
    n, n_empty = sum(score.n for score in scores), sum(score.n_empty for score in scores)
    dice, iou = (math.fsum(sums) for sums in zip(*(score[4:] for score in scores), strict=True))
    return SliceSummary(organ, n, n_empty, _means(dice, n, n_empty), _means(iou, n, n_empty))


def _means(total: float, n: int, n_empty: int) -> Means:
    counted = n - n_empty
    return Means((total + n_empty) / n, total / n, total / counted if counted else math.nan)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    share = np.full(part.shape, math.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share
