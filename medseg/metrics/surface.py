"""How far the outlines of two masks lie apart, in millimetres.

The boundary of a mask is its voxels with a face on the outside, the edge of the array included;
distances go from centre to centre of such voxels, exactly. Each direction is measured once, and
all metrics are read off the same two lists:

- Hausdorff distance: the larger of the two maxima; HD95 the larger of the two 95th percentiles,
  interpolated linearly as NumPy does;
- average symmetric surface distance: the mean over both lists together;
- normalised surface Dice: the share of both lists together that is within the tolerance.

MONAI and Metrics Reloaded have the same rules. Nikolov et al., JMIR 23 (2021) e26151, for the last.
``docs/metrics.md`` sets them beside those of other programs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, Problem
from medseg.geometry import Spacing
from medseg.metrics.surface_kernels import count_steps, mark_boundary, measure

Mask = NDArray[np.bool_]

# Three voxels of 1.1 mm are 3.3000000000000003 mm, which is within 3.3 mm all the same.
_ROUNDING_MM = 1e-6


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
        return (
            float(np.mean(distances <= tolerance_mm + _ROUNDING_MM)) if distances.size else math.nan
        )

    def _all_mm(self) -> NDArray[np.float64]:
        return np.concatenate(self)


def surface_distances(pred: Mask, ref: Mask, *, spacing_mm: Spacing) -> SurfaceDistances:
    """Measure both directions, within the box that holds both masks.

    Beside the two lists that takes six bytes for each voxel of the box. Masks that lie in memory
    alike are fastest, whatever the order of their axes.

    Args:
        pred: ``(I, J, K)``; what is not 0 is inside.
        ref: The same shape.
        spacing_mm: Distance between voxels along I, J and K.

    Raises:
        GeometryError: The shapes differ or have no three axes, or a spacing is no length.
    """
    if pred.shape != ref.shape or pred.ndim != 3:
        raise GeometryError(Problem("E-GRID", "masks", f"shape {pred.shape}", f"{ref.shape}"))
    lengths_mm = np.array(spacing_mm, np.float64)
    if lengths_mm.shape != (3,) or not (np.isfinite(lengths_mm) & (lengths_mm > 0)).all():
        raise GeometryError(Problem("E-SPACING", "masks", f"{spacing_mm} mm", "three lengths"))
    # Neither metrics nor boundaries change with the order of axes, but the speed of loops does.
    order = np.argsort([-abs(stride) for stride in ref.strides], kind="stable")
    ours, theirs = _boundaries(pred.transpose(order), ref.transpose(order))
    return SurfaceDistances(
        _directed_mm(ours, theirs, lengths_mm[order]), _directed_mm(theirs, ours, lengths_mm[order])
    )


def _boundaries(*masks: Mask) -> list[NDArray[np.uint8]]:
    """Return the boundary of each mask within the box that holds all of them."""
    box = _box(masks)
    shape = tuple(side.stop - side.start for side in box)
    boundaries = []
    for mask in masks:
        # Beyond the edge of the array is outside.
        framed = np.zeros([size + 2 for size in shape], np.uint8)
        np.not_equal(mask[box], 0, out=framed[1:-1, 1:-1, 1:-1].view(bool))
        boundaries.append(np.empty(shape, np.uint8))
        mark_boundary(framed, boundaries[-1])
    return boundaries


def _box(masks: Sequence[Mask]) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds all masks; one without voxels where they are empty."""
    columns = np.any([mask.any(axis=0) for mask in masks], axis=0)
    j, k = _span(columns.any(axis=1)), _span(columns.any(axis=0))
    return _span(np.any([mask[:, j, k].any(axis=(1, 2)) for mask in masks], axis=0)), j, k


def _span(held: NDArray[np.bool_]) -> slice:
    found = np.flatnonzero(held)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)


def _directed_mm(
    source: NDArray[np.uint8], target: NDArray[np.uint8], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    distances_mm = np.full(np.count_nonzero(source), math.inf)
    if target.any():
        steps = np.empty(target.shape, np.uint32)
        count_steps(target, steps)
        i, j, k = (
            np.append((np.arange(size) * length_mm) ** 2, math.inf)
            for size, length_mm in zip(target.shape, spacing_mm, strict=True)
        )
        measure(source, steps, (i, j, k), distances_mm)
    return distances_mm


def _percentile(distances_mm: NDArray[np.float64], percentile: float) -> float:
    # Between two infinities NumPy would interpolate, which makes NaN.
    return math.inf if np.isinf(distances_mm[0]) else float(np.percentile(distances_mm, percentile))
