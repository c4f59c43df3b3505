"""How much two masks overlap, organ by organ and scan by scan, and what may be said of many.

An organ of a scan is in one of four states:

- ``ok``: predicted, and in the reference; Dice and IoU are in [0, 1], 0 where they do not touch;
- ``missed``: in the reference, but not predicted; both are 0;
- ``false_positive``: predicted, but not in the reference; both are 0;
- ``both_empty``: in neither; there is no overlap to measure, so both are NaN and in no mean.

A mean is only as good as what it leaves out, so none stands alone: the *found* mean is over ``ok``
and says how good outlines are where there are any; the *penalised* mean is over everything but
``both_empty`` and is the one to compare by, because losing a detection can never improve it.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, Problem

Status = Literal["ok", "both_empty", "missed", "false_positive"]
STATUSES: tuple[Status, ...] = ("ok", "both_empty", "missed", "false_positive")

Masks = Sequence[NDArray[np.bool_]] | NDArray[np.bool_]


class OverlapCounts(NamedTuple):
    """Voxels of a prediction, of its reference, and of both."""

    pred: int
    ref: int
    both: int

    @property
    def status(self) -> Status:
        """Which of the four states the pair is in."""
        if self.pred and self.ref:
            return "ok"
        if self.ref:
            return "missed"
        return "false_positive" if self.pred else "both_empty"

    @property
    def dice(self) -> float:
        """Twice the common voxels over the sum of voxels, in [0, 1]; NaN where both are empty."""
        return 2 * self.both / (self.pred + self.ref) if self.pred or self.ref else math.nan

    @property
    def iou(self) -> float:
        """Common voxels over all voxels, in [0, 1]; NaN where both are empty."""
        union = self.pred + self.ref - self.both
        return self.both / union if union else math.nan


class OrganScore(NamedTuple):
    """One organ of one scan.

    Attributes:
        scan_id: The scan, such as ``case123_day20``.
        organ: The organ's name.
        status: One of `STATUSES`.
        dice: In [0, 1]; NaN where both are empty.
        iou: In [0, 1]; NaN where both are empty.
        volume_pred_ml: Volume of the prediction; NaN where the scan has none at all.
        volume_ref_ml: Volume of the reference.
    """

    scan_id: str
    organ: str
    status: Status
    dice: float
    iou: float
    volume_pred_ml: float
    volume_ref_ml: float


class OrganSummary(NamedTuple):
    """One organ over many scans; every mean says over how many, and is NaN over none.

    Attributes:
        organ: The organ's name.
        n: Scans.
        n_ok: Scans where it was predicted and there.
        n_both_empty: Scans where it was neither.
        n_missed: Scans where it was there but not predicted, or where nothing was predicted at all.
        n_false_positive: Scans where it was predicted but not there.
        dice_found: Mean over the `n_ok` scans.
        iou_found: Mean over the `n_ok` scans.
        dice_penalised: Mean over the `n_penalised` scans that are not ``both_empty``.
        iou_penalised: Mean over the same scans.
        sensitivity: Share of the scans with the organ in which it was predicted.
        specificity: Share of the scans without the organ in which it was left out.
    """

    organ: str
    n: int
    n_ok: int
    n_both_empty: int
    n_missed: int
    n_false_positive: int
    dice_found: float
    iou_found: float
    dice_penalised: float
    iou_penalised: float
    sensitivity: float
    specificity: float

    @property
    def n_penalised(self) -> int:
        """Scans in the penalised means."""
        return self.n - self.n_both_empty


class Summary(NamedTuple):
    """Every organ over many scans."""

    n_scans: int
    organs: tuple[OrganSummary, ...]


def count_overlap(pred: NDArray[np.bool_], ref: NDArray[np.bool_]) -> OverlapCounts:
    """Count the voxels of two masks of one shape.

    Raises:
        GeometryError: The shapes differ.
    """
    if pred.shape != ref.shape:
        raise GeometryError(Problem("E-GRID", "masks", f"shape {pred.shape}", f"{ref.shape}"))
    pred, ref = pred.astype(bool, copy=False), ref.astype(bool, copy=False)
    both = int(np.count_nonzero(pred & ref))
    return OverlapCounts(int(np.count_nonzero(pred)), int(np.count_nonzero(ref)), both)


def score_scan(
    pred_masks: Masks | None,
    ref_masks: Masks,
    *,
    organs: Sequence[str],
    scan_id: str,
    voxel_ml: float,
) -> list[OrganScore]:
    """Score each organ of a scan.

    Args:
        pred_masks: ``(C, I, J, K)``, one mask an organ; they may overlap. None stands for a scan
            without a prediction: every organ is missed then, also one that the reference does not
            show, for a scan left out must not score better than any prediction of it.
        ref_masks: ``(C, I, J, K)`` of the same shape.
        organs: The names of the C channels.
        scan_id: The scan's name.
        voxel_ml: Volume of a voxel.

    Raises:
        GeometryError: The shapes differ.
    """
    scores = []
    preds = [None] * len(organs) if pred_masks is None else pred_masks
    for organ, pred, ref in zip(organs, preds, ref_masks, strict=True):
        if pred is None:
            ref_ml = int(np.count_nonzero(ref)) * voxel_ml
            scores.append(OrganScore(scan_id, organ, "missed", 0.0, 0.0, math.nan, ref_ml))
        else:
            n = count_overlap(pred, ref)
            volumes_ml = n.pred * voxel_ml, n.ref * voxel_ml
            scores.append(OrganScore(scan_id, organ, n.status, n.dice, n.iou, *volumes_ml))
    return scores


def summarise(scores: Sequence[OrganScore]) -> Summary:
    """Return the summary of scores, organs in the order in which they first appear."""
    organs = list(dict.fromkeys(score.organ for score in scores))
    by_organ = [[score for score in scores if score.organ == organ] for organ in organs]
    n_scans = len({score.scan_id for score in scores})
    return Summary(n_scans, tuple(_of_organ(rows) for rows in by_organ))


def _of_organ(scores: Sequence[OrganScore]) -> OrganSummary:
    n = {status: sum(score.status == status for score in scores) for status in STATUSES}
    found = [score for score in scores if score.status == "ok"]
    counted = [score for score in scores if score.status != "both_empty"]
    present = sum(score.volume_ref_ml > 0 for score in scores)
    return OrganSummary(
        organ=scores[0].organ,
        n=len(scores),
        n_ok=n["ok"],
        n_both_empty=n["both_empty"],
        n_missed=n["missed"],
        n_false_positive=n["false_positive"],
        dice_found=_mean([score.dice for score in found]),
        iou_found=_mean([score.iou for score in found]),
        dice_penalised=_mean([score.dice for score in counted]),
        iou_penalised=_mean([score.iou for score in counted]),
        sensitivity=_share(n["ok"], present),
        specificity=_share(n["both_empty"], len(scores) - present),
    )


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
