"""Hausdorff distances as others define them: of whole masks, of outlines, of voxels' corners.

medseg's own is in `medseg.metrics.surface`, between the centres of boundary voxels in millimetres.
These are what competitions and their participants compute, exactly, by Euclidean transforms of
the box that holds both masks.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Spacing

Mask = NDArray[np.bool_]


def of_voxels_in_unit_cube(pred: Mask, ref: Mask) -> float:
    """Return the distance between all voxels of masks ``(I, J, K)``, as a share of the largest.

    Positions are divided by the masks' shape, so that all lie in a unit cube, and the larger of the
    two directed distances by the cube's diagonal. 1 where one mask is empty, NaN where both are.
    """
    if not (pred.any() and ref.any()):
        return _of_nothing(pred, ref)
    i, j, k = ref.shape
    step = (1 / i, 1 / j, 1 / k)
    pred, ref = _cropped(pred, ref)
    return max(farthest(pred, ref, step), farthest(ref, pred, step)) / math.sqrt(3)


def of_outlines_one_way(pred: Mask, ref: Mask) -> float:
    """Return the distance from one outline to the other and not back, over the array's diagonal.

    Both in voxels, as if those were cubes. 1 where one mask is empty, NaN where both are.
    """
    if not (pred.any() and ref.any()):
        return _of_nothing(pred, ref)
    ours, theirs = (mask & ~ndimage.binary_erosion(mask) for mask in _cropped(pred, ref))
    return farthest(ours, theirs, (1.0, 1.0, 1.0)) / math.hypot(*ref.shape)


def of_corners_mm(pred: Mask, ref: Mask, spacing_mm: Spacing) -> float:
    """Return the distance in mm between the surfaces of masks that are not empty.

    A surface is the corners of voxels at which some of the eight that meet are inside and some are
    not: the points between which DeepMind's surface-distance measures.
    """
    ours, theirs = (_mixed_corners(mask) for mask in _cropped(pred, ref))
    return max(farthest(ours, theirs, spacing_mm), farthest(theirs, ours, spacing_mm))


def farthest(source: Mask, target: Mask, step: Spacing) -> float:
    """Return the largest distance from a voxel of `source` to the nearest of `target`, not empty.

    The farthest voxel may lie deep inside the source, as where the target is a shell around it, so
    all are looked at, not its outline alone.

    Args:
        source: ``(I, J, K)``; 0 where it is empty.
        target: The same shape.
        step: Distance between voxels along I, J and K.
    """
    beyond = source & ~target
    if not beyond.any():
        return 0.0
    return float(ndimage.distance_transform_edt(~target, sampling=step)[beyond].max())


def _of_nothing(pred: Mask, ref: Mask) -> float:
    return 1.0 if pred.any() or ref.any() else math.nan


def _mixed_corners(mask: Mask) -> Mask:
    """Return ``(I + 1, J + 1, K + 1)``: corners where inside and outside meet."""
    padded = np.pad(mask, 1)
    return _of_eight(np.logical_or, padded) & ~_of_eight(np.logical_and, padded)


def _of_eight(both: Callable[[Mask, Mask], Mask], mask: Mask) -> Mask:
    mask = both(mask[1:], mask[:-1])
    mask = both(mask[:, 1:], mask[:, :-1])
    return both(mask[:, :, 1:], mask[:, :, :-1])


def _cropped(pred: Mask, ref: Mask) -> tuple[Mask, Mask]:
    """Return both in the box of what either holds, which must be something."""
    (box,) = ndimage.find_objects((pred | ref).view(np.uint8))
    return pred[box], ref[box]
