"""The scores of one organ in one scan: every metric, and what it is where a mask is empty.

An organ is measured where both masks hold something. Where it is ``missed`` or a
``false_positive`` every share is 0 and every distance infinite; where it is in neither mask all are
NaN, and in no mean. Volumes are what they are. Means over scans, and what an infinite distance
counts there, are `medseg.metrics.summary`'s.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Grid
from medseg.metrics.overlap import OverlapCounts, Status, count_overlap
from medseg.metrics.surface import surface_distances

TOLERANCE_MM = 3.0

Mask = NDArray[np.bool_]
Masks = Sequence[Mask] | NDArray[np.bool_]


class Metric(NamedTuple):
    """A column of scores.

    Attributes:
        name: The column, with its unit.
        title: What tables and figures call it.
        unit: ``mm`` or ``ml``; empty for a share in [0, 1].
        better: Which way is better; of a signed error ``zero`` is.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower", "zero"]


METRICS = (
    Metric("dice", "Dice", "", "higher"),
    Metric("iou", "IoU", "", "higher"),
    Metric("precision", "Precision", "", "higher"),
    Metric("recall", "Recall", "", "higher"),
    Metric("nsd", "Surface Dice", "", "higher"),
    Metric("hd_mm", "Hausdorff", "mm", "lower"),
    Metric("hd95_mm", "HD95", "mm", "lower"),
    Metric("assd_mm", "ASSD", "mm", "lower"),
    Metric("centroid_shift_mm", "Centroid shift", "mm", "lower"),
    Metric("volume_error_ml", "Volume error", "ml", "zero"),
)


class OrganScore(NamedTuple):
    """One organ of one scan.

    Shares lie in [0, 1]: 0 where one mask is empty, NaN where both are. Distances are at least 0
    and below `diagonal_mm`: infinite where one mask is empty, NaN where both are. Surfaces are
    those of `medseg.metrics.surface`.

    Attributes:
        scan_id: The scan, such as ``case123_day20``.
        organ: The organ's name.
        status: One of `medseg.metrics.overlap.STATUSES`.
        dice: Share: twice the common volume over the sum of both volumes.
        iou: Share: the common volume over that of either mask or both.
        precision: Share of the prediction that is right.
        recall: Share of the reference that was found.
        nsd: Share of both surfaces that lies within `tolerance_mm` of the other: normalised
            surface Dice.
        hd_mm: Distance: the largest from either surface to the other.
        hd95_mm: Distance: the larger of the two directed 95th percentiles.
        assd_mm: Distance: the mean over both surfaces together.
        centroid_shift_mm: Distance between the centres of mass.
        volume_error_ml: Prediction less reference: 0 where both are empty, and where nothing was
            predicted at all less the reference's volume.
        volume_pred_ml: Volume of the prediction, 0 where empty; NaN where the scan has none at all.
        volume_ref_ml: Volume of the reference, 0 where empty.
        tolerance_mm: Of `nsd`.
        diagonal_mm: From corner to corner of the scan's grid: no distance in it is larger.
    """

    scan_id: str
    organ: str
    status: Status
    dice: float
    iou: float
    precision: float
    recall: float
    nsd: float
    hd_mm: float
    hd95_mm: float
    assd_mm: float
    centroid_shift_mm: float
    volume_error_ml: float
    volume_pred_ml: float
    volume_ref_ml: float
    tolerance_mm: float
    diagonal_mm: float


_SHARES = ("dice", "iou", "precision", "recall", "nsd")
_DISTANCES = ("hd_mm", "hd95_mm", "assd_mm", "centroid_shift_mm")


def score_scan(
    pred_masks: Masks | None,
    ref_masks: Masks,
    *,
    organs: Sequence[str],
    scan_id: str,
    grid: Grid,
    tolerance_mm: float = TOLERANCE_MM,
) -> list[OrganScore]:
    """Score each organ of a scan.

    Args:
        pred_masks: ``(C, I, J, K)``, one mask an organ; they may overlap. None stands for a scan
            without a prediction: every organ is missed then, also one that the reference does not
            show, for a scan left out must not score better than any prediction of it.
        ref_masks: ``(C, I, J, K)`` of the same shape.
        organs: The names of the C channels.
        scan_id: The scan's name.
        grid: The grid of all masks.
        tolerance_mm: Of the normalised surface Dice.

    Raises:
        GeometryError: The shapes differ.
    """
    preds = [None] * len(organs) if pred_masks is None else pred_masks
    scores = []
    for organ, pred, ref in zip(organs, preds, ref_masks, strict=True):
        measured = _measured(pred, np.asarray(ref, bool), grid, tolerance_mm)
        measured |= {"tolerance_mm": tolerance_mm, "diagonal_mm": diagonal_mm(grid)}
        scores.append(OrganScore(scan_id=scan_id, organ=organ, **measured))
    return scores


def diagonal_mm(grid: Grid) -> float:
    """Return the distance from corner to corner of a grid, voxels' outer faces included."""
    extent_mm = np.multiply(grid.shape, grid.spacing_mm)
    return float(np.linalg.norm(extent_mm))


def _measured(pred: Mask | None, ref: Mask, grid: Grid, tolerance_mm: float) -> dict[str, Any]:
    given = np.zeros_like(ref) if pred is None else np.asarray(pred, bool)
    counts = count_overlap(given, ref)
    status: Status = "missed" if pred is None else counts.status
    voxel_ml = abs(float(np.linalg.det(grid.affine_ras_mm[:3, :3]))) / 1000
    volumes = {
        "volume_error_ml": (counts.pred - counts.ref) * voxel_ml,
        "volume_pred_ml": math.nan if pred is None else counts.pred * voxel_ml,
        "volume_ref_ml": counts.ref * voxel_ml,
    }
    if status == "ok":
        measured = _of_overlap(counts) | _of_surface(given, ref, grid, tolerance_mm)
    else:
        measured = _unmeasured(status)
    return {"status": status, **measured, **volumes}


def _unmeasured(status: Status) -> dict[str, float]:
    share, distance_mm = (math.nan, math.nan) if status == "both_empty" else (0.0, math.inf)
    return {**dict.fromkeys(_SHARES, share), **dict.fromkeys(_DISTANCES, distance_mm)}


def _of_overlap(counts: OverlapCounts) -> dict[str, float]:
    return {name: getattr(counts, name) for name in ("dice", "iou", "precision", "recall")}


def _of_surface(pred: Mask, ref: Mask, grid: Grid, tolerance_mm: float) -> dict[str, float]:
    measured = surface_distances(pred, ref, spacing_mm=grid.spacing_mm)
    centres_mm = [grid.to_ras_mm(_centroid(mask)) for mask in (pred, ref)]
    return {
        "nsd": measured.surface_dice(tolerance_mm),
        "hd_mm": measured.hausdorff_mm(),
        "hd95_mm": measured.hausdorff_mm(95),
        "assd_mm": measured.average_mm(),
        "centroid_shift_mm": float(np.linalg.norm(centres_mm[0] - centres_mm[1])),
    }


def _centroid(mask: Mask) -> NDArray[np.float64]:
    """Return the mean index of a mask that is not empty."""
    # Cut to the organ first: most of a scan is not, and sums are ten times as slow as `any`.
    centre = np.zeros(3)
    for axis in (2, 1, 0):
        held = np.flatnonzero(mask.any(axis=_others(axis)))
        centre[axis] = held[0]
        mask = mask.swapaxes(0, axis)[held[0] : held[-1] + 1].swapaxes(0, axis)
    for axis in range(3):
        along = mask.sum(axis=_others(axis))
        centre[axis] += np.average(np.arange(along.size), weights=along)
    return centre


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)
