"""Smooth fields over a slice, from a few control points: uniform cubic B-splines.

A field stays between the least and the greatest of its control points, and its curvature has no
jumps (Lee, Wolberg & Shin 1997, IEEE TVCG 3(3)).
"""

from functools import lru_cache
from math import ceil

import numpy as np
import torch
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


def enlarged(points: Tensor, size: tuple[int, int], spacing: tuple[float, float]) -> Tensor:
    """Return fields ``(*, H, W)`` from control points ``(*, rows, columns)``.

    The second control point lies on the slice's first edge: one more lies before it, and two
    beyond the last.

    Args:
        points: Values at the control points, as many as `control_shape` says.
        size: Rows and columns of the slice, H and W.
        spacing: Pixels between control points, along rows and columns.
    """
    (rows, row_weights), (columns, column_weights) = (
        _taps(length, step, points.device) for length, step in zip(size, spacing, strict=True)
    )
    # Sums of four in a fixed order, not a matrix product: the same in every batch.
    wide = sum(points[..., columns[tap]] * column_weights[tap] for tap in range(4))
    return sum(wide[..., rows[tap], :] * row_weights[tap][:, None] for tap in range(4))


@lru_cache(maxsize=32)
def _taps(length: int, spacing: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the four control points that reach each pixel, and their weights: ``(4, length)``."""
    at = (np.arange(length) + 0.5) / spacing
    first = np.floor(at)
    t = at - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    index = torch.from_numpy(first.astype(np.int64) + np.arange(4)[:, None])
    return index.to(device), torch.from_numpy((weights / 6).astype(np.float32)).to(device)
