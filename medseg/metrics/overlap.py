"""How much two masks overlap, by counting voxels.

A pair of masks is in one of four states:

- ``ok``: predicted, and in the reference;
- ``missed``: in the reference, but not predicted;
- ``false_positive``: predicted, but not in the reference;
- ``both_empty``: in neither; there is no overlap to measure.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, Problem

Status = Literal["ok", "both_empty", "missed", "false_positive"]
STATUSES: tuple[Status, ...] = ("ok", "both_empty", "missed", "false_positive")


class OverlapCounts(NamedTuple):
    """Voxels of a prediction, of its reference, and of both.

    The shares below are 0 where only one of the masks is empty, precision and recall too: a mask
    that is not there is worst in every respect. They are NaN where both are.
    """

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
        return self._share(2 * self.both, self.pred + self.ref)

    @property
    def iou(self) -> float:
        """Common voxels over all voxels, in [0, 1]; NaN where both are empty."""
        return self._share(self.both, self.pred + self.ref - self.both)

    @property
    def precision(self) -> float:
        """Common voxels over those predicted, in [0, 1]; NaN where both are empty."""
        return self._share(self.both, self.pred)

    @property
    def recall(self) -> float:
        """Common voxels over those of the reference, in [0, 1]; NaN where both are empty."""
        return self._share(self.both, self.ref)

    def _share(self, part: int, whole: int) -> float:
        if self.status == "both_empty":
            return math.nan
        return part / whole if whole else 0.0


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
