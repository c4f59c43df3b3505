"""Smooth fields over a slice, from a few control points: uniform cubic B-splines.

A field stays between the least and the greatest of its control points, and its curvature has no
jumps (Lee, Wolberg & Shin 1997, IEEE TVCG 3(3)). The second control point lies on the slice's first
edge: one more lies before it, and two beyond the last.
"""

from collections.abc import Iterable
from functools import lru_cache, reduce
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def control_shape(size: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Return the rows and columns of control points that a slice needs.

    Args:
        size: Rows and columns of the slice.
        spacing: Pixels between control points, along rows and columns of the grid.

    >>> control_shape((288, 200), (32, 200))
    (12, 4)
    """
    return ceil(size[0] / spacing[0]) + 3, ceil(size[1] / spacing[1]) + 3


@lru_cache(maxsize=32)
def taps(length: int, spacing: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the first control point that reaches each pixel, and the weights of it and three more.

    Args:
        length: Pixels of a row or column.
        spacing: Pixels between control points.

    Returns:
        Indices ``(length,)``, and weights ``(4, length)`` with a sum of 1.
    """
    at = (np.arange(length) + 0.5) / spacing
    first = np.floor(at).astype(np.int64)
    t = at - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    return first, (weights / 6).astype(np.float32)


def enlarged(points: Tensor, size: tuple[int, int], spacing: tuple[float, float]) -> Tensor:
    """Return fields ``(*, H, W)`` from control points ``(*, rows, columns)``.

    Args:
        points: Values at the control points, as many as `control_shape` says.
        size: Rows and columns of the slice, H and W.
        spacing: Pixels between control points, along rows and columns.
    """
    (row, row_weights), (column, column_weights) = (
        _placed_taps(length, step, points.device)
        for length, step in zip(size, spacing, strict=True)
    )
    # Sums of four in a fixed order, not a matrix product: the same in every batch.
    wide = _summed(points[..., column + tap] * column_weights[tap] for tap in range(4))
    return _summed(wide[..., row + tap, :] * row_weights[tap, :, None] for tap in range(4))


def _summed(parts: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, parts)


@lru_cache(maxsize=32)
def _placed_taps(length: int, spacing: float, device: torch.device) -> tuple[Tensor, Tensor]:
    first, weights = (torch.from_numpy(array) for array in taps(length, spacing))
    return first.to(device), weights.to(device)
