"""How far the outlines of two masks lie apart, in millimetres.

The boundary of a mask is its voxels with a face on the outside, the edge of the array included;
distances go from centre to centre of such voxels, exactly. Each direction is measured once, and
all metrics are read off the same two lists:

- Hausdorff distance: the larger of the two maxima; HD95 the larger of the two 95th percentiles,
  interpolated linearly as NumPy does;
- average symmetric surface distance: the mean over both lists together;
- normalised surface Dice: the share of both lists together that is within the tolerance.

MONAI and Metrics Reloaded have the same rules. Nikolov et al., JMIR 23 (2021) e26151, for the last.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import GeometryError, Problem
from medseg.geometry import Spacing

Mask = NDArray[np.bool_]


class SurfaceDistances(NamedTuple):
    """Distances from each boundary voxel of one mask to the nearest of the other.

    Where one mask is empty the other's distances are infinite, and where both are there are none.

    Attributes:
        pred_to_ref_mm: From the prediction's boundary, in no order that means anything.
        ref_to_pred_mm: From the reference's.
    """

    pred_to_ref_mm: NDArray[np.float64]
    ref_to_pred_mm: NDArray[np.float64]

    def hausdorff_mm(self, percentile: float = 100.0) -> float:
        """Return the larger of the two directed percentiles.

        Infinite where one mask is empty, NaN where both are.
        """
        return max((_percentile(d, percentile) for d in self if d.size), default=math.nan)

    def average_mm(self) -> float:
        """Return the mean of both directions together; inf for one empty mask, NaN for two."""
        return float(self._all_mm().mean()) if self._all_mm().size else math.nan

    def surface_dice(self, tolerance_mm: float) -> float:
        """Return the share within `tolerance_mm`, in [0, 1]; 0 for one empty mask, NaN for two."""
        distances = self._all_mm()
        return float(np.mean(distances <= tolerance_mm)) if distances.size else math.nan

    def _all_mm(self) -> NDArray[np.float64]:
        return np.concatenate(self)


def surface_distances(pred: Mask, ref: Mask, *, spacing_mm: Spacing) -> SurfaceDistances:
    """Measure both directions.

    Args:
        pred: ``(I, J, K)``.
        ref: The same shape.
        spacing_mm: Distance between voxels along I, J and K.

    Raises:
        GeometryError: The shapes differ.
    """
    if pred.shape != ref.shape:
        raise GeometryError(Problem("E-GRID", "masks", f"shape {pred.shape}", f"{ref.shape}"))
    box = ndimage.find_objects((pred | ref).astype(np.uint8))
    if not box:
        return SurfaceDistances(np.empty(0), np.empty(0))
    ours, theirs = _boundary(pred[box[0]]), _boundary(ref[box[0]])
    return SurfaceDistances(
        _directed_mm(ours, theirs, spacing_mm), _directed_mm(theirs, ours, spacing_mm)
    )


def _boundary(mask: Mask) -> Mask:
    edge: Mask = mask & ~ndimage.binary_erosion(mask)
    return edge


def _directed_mm(source: Mask, target: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    if not target.any():
        return np.full(np.count_nonzero(source), math.inf)
    away_mm: NDArray[np.float64] = ndimage.distance_transform_edt(~target, sampling=spacing_mm)
    return away_mm[source]


def _percentile(distances_mm: NDArray[np.float64], percentile: float) -> float:
    # Between two infinities NumPy would interpolate, which makes NaN.
    return math.inf if np.isinf(distances_mm[0]) else float(np.percentile(distances_mm, percentile))
