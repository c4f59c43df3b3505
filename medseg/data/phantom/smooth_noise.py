"""Smooth random fields over millimetres, for anatomy that is never quite round.

White noise on a cubic lattice, joined by uniform cubic B-splines: smooth to the second derivative,
local, and the same number at the same place however it is asked for. Lattices wrap around, so a
small one fills any volume. No matrix product is used, so the values do not depend on threads.
"""

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# Standard deviation of a cubic B-spline sum of unit noise along one axis, averaged over a cell.
_AXIS_DEVIATION = 0.692


class SmoothNoise:
    """A random field of mean 0 whose waves are about `cell_mm` long."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        cell_mm: tuple[float, float, float],
        cells: int = 24,
        deviation: float = 1.0,
    ) -> None:
        self._cell_mm = cell_mm  # along x, y, z
        self._lattice = rng.standard_normal((cells, cells, cells), np.float32)  # (z, y, x)
        self._lattice *= np.float32(deviation / _AXIS_DEVIATION**3)

    def plus(self, other: "SmoothNoise") -> "SmoothNoise":
        """Return the sum of two fields on the same lattice."""
        total = copy(self)
        total._lattice = self._lattice + other._lattice
        return total

    def plane(self, x_mm: Floats, y_mm: Floats, z_mm: float) -> Floats:
        """Return the field on the columns `x_mm` ``(W,)`` and rows `y_mm` ``(H,)``: ``(H, W)``."""
        (nodes,), (weights,) = self._taps(np.array([z_mm], np.float32), 2)
        sheet = np.zeros(self._lattice.shape[1:], np.float32)
        for node, weight in zip(nodes, weights, strict=True):
            sheet += weight * self._lattice[node]
        rows = _gathered(sheet, *self._taps(y_mm, 1))
        # Turned round, so that whole rows are gathered for the columns too.
        field = _gathered(np.ascontiguousarray(rows.T), *self._taps(x_mm, 0))
        return np.ascontiguousarray(field.T)

    def at(self, points_mm: NDArray[np.floating]) -> Floats:
        """Return the field at points ``(N, 3)`` (x, y, z): ``(N,)``."""
        taps = [self._taps(points_mm[:, axis].astype(np.float32), axis) for axis in range(3)]
        (x, wx), (y, wy), (z, wz) = taps
        total = np.zeros(len(points_mm), np.float32)
        for a in range(4):
            for b in range(4):
                along_x = (wx * self._lattice[z[:, a], y[:, b]][np.arange(len(x))[:, None], x]).sum(
                    1
                )
                total += wz[:, a] * wy[:, b] * along_x
        return total

    def _taps(self, at_mm: Floats, axis: int) -> tuple[NDArray[np.intp], Floats]:
        """Return for each position its four lattice nodes and their B-spline weights."""
        position = at_mm / np.float32(self._cell_mm[axis])
        node = np.floor(position)
        t = (position - node).astype(np.float32)
        u = 1 - t
        weights = np.stack(
            [
                u**3 / 6,
                (3 * t**3 - 6 * t**2 + 4) / 6,
                (3 * u**3 - 6 * u**2 + 4) / 6,
                t**3 / 6,
            ],
            axis=1,
        )
        nodes = (node.astype(np.intp)[:, None] + np.arange(-1, 3)) % self._lattice.shape[0]
        return nodes, weights


def _gathered(lines: Floats, nodes: NDArray[np.intp], weights: Floats) -> Floats:
    """Return weighted sums of four of the `lines` for each row of `nodes` and `weights`."""
    total = weights[:, 0, None] * lines[nodes[:, 0]]
    for tap in range(1, 4):
        total += weights[:, tap, None] * lines[nodes[:, tap]]
    return total
