"""The loops over voxels behind surface distances; all arrays are contiguous, masks hold 0 and 1."""

import math

import numpy as np
from numpy.typing import NDArray

from medseg.kernel import kernel

# Squared millimetres of 0, 1, 2 ... steps along each of three axes.
Squares = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@kernel
def mark_boundary(mask: NDArray[np.uint8], boundary: NDArray[np.uint8]) -> None:
    """Mark the voxels of a mask that have a face on the outside.

    Args:
        mask: ``(I + 2, J + 2, K + 2)``, zeros all around.
        boundary: To fill, ``(I, J, K)``.
    """
    for i in range(boundary.shape[0]):
        for j in range(boundary.shape[1]):
            row, edge = mask[i + 1, j + 1], boundary[i, j]
            left, right = mask[i, j + 1], mask[i + 2, j + 1]
            front, back = mask[i + 1, j], mask[i + 1, j + 2]
            for k in range(edge.size):
                inside = left[k + 1] & right[k + 1] & front[k + 1] & back[k + 1]
                edge[k] = row[k + 1] & ~(inside & row[k] & row[k + 2])


@kernel
def count_steps(boundary: NDArray[np.uint8], steps: NDArray[np.uint32]) -> None:
    """Count the voxels to the nearest of a boundary along the first axis.

    Args:
        boundary: ``(I, J, K)``.
        steps: To fill, likewise; I where nothing of the boundary lies along the axis.
    """
    size = len(boundary)
    marked, counts = boundary.reshape(size, -1), steps.reshape(size, -1)
    for n in range(counts.shape[1]):
        counts[0, n] = 0 if marked[0, n] else size
    for i in range(1, size):
        before, here, mark = counts[i - 1], counts[i], marked[i]
        for n in range(here.size):
            here[n] = 0 if mark[n] else min(before[n] + 1, size)
    for i in range(size - 2, -1, -1):
        after, here = counts[i + 1], counts[i]
        for n in range(here.size):
            here[n] = min(here[n], after[n] + 1)


@kernel
def measure(
    source: NDArray[np.uint8],
    steps: NDArray[np.uint32],
    squares_mm2: Squares,
    distances_mm: NDArray[np.float64],
) -> None:
    """Measure from each voxel of one boundary to the nearest of another, exactly.

    Each search goes outwards and ends where all that is left lies farther than what was found:
    near the other boundary after a few steps, and after I + J + K where it is far.

    Args:
        source: The boundary to measure from, ``(I, J, K)``.
        steps: From `count_steps` of the other.
        squares_mm2: Of as many steps as there are along an axis, and infinity.
        distances_mm: To fill, one for each voxel of `source`.
    """
    size_i, size_j, size_k = source.shape
    # Squared distances within the planes across the last axis, of one place in all of them.
    unknown = np.full(size_k, math.inf)
    for j in range(size_j):
        for k in range(size_k):
            if steps[0, j, k] < size_i:
                unknown[k] = -1.0
    known = np.empty(size_k)
    found = 0
    for i in range(size_i):
        for j in range(size_j):
            known[:] = unknown
            for k in range(size_k):
                if source[i, j, k]:
                    nearest_mm2 = _nearest_mm2(steps[i], j, k, known, squares_mm2)
                    distances_mm[found] = math.sqrt(nearest_mm2)
                    found += 1


@kernel
def _nearest_mm2(
    steps: NDArray[np.uint32],
    j: int,
    k: int,
    known_mm2: NDArray[np.float64],
    squares_mm2: Squares,
) -> float:
    squares_k = squares_mm2[2]
    best = math.inf
    for away in range(max(k + 1, known_mm2.size - k)):
        if squares_k[away] >= best:
            break
        for at in (k - away, k + away):
            if 0 <= at < known_mm2.size:
                if known_mm2[at] < 0:
                    known_mm2[at] = _in_plane_mm2(steps[:, at], j, squares_mm2)
                best = min(best, known_mm2[at] + squares_k[away])
    return best


@kernel
def _in_plane_mm2(steps: NDArray[np.uint32], j: int, squares_mm2: Squares) -> float:
    squares_i, squares_j = squares_mm2[0], squares_mm2[1]
    best = math.inf
    for away in range(max(j + 1, steps.size - j)):
        if squares_j[away] >= best:
            break
        for at in (j - away, j + away):
            if 0 <= at < steps.size:
                best = min(best, squares_i[steps[at]] + squares_j[away])
    return best
