"""Hollow organs as tubes: a centre line with a radius at every point, cut by a slice."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from medseg.data.phantom.canvas import Box, Floats

FAR_MM = 6.0  # a cut's field is right up to this distance outside the tube


class Tube(NamedTuple):
    """A tube along `points_mm` ``(N, 3)`` (x, y, z), with a radius, an arc length, and its filling.

    Attributes:
        points_mm: Centre line.
        radius_mm: Half the width at each point, ``(N,)``.
        arc_mm: Length from the start, ``(N,)``.
        gas: Share of the width that gas fills, from the front (patients lie on their back),
            ``(N,)``.
        tone: Signal of what else is inside, ``(N,)``.
    """

    points_mm: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    arc_mm: NDArray[np.float64]
    gas: NDArray[np.float64]
    tone: NDArray[np.float64]


class Cut(NamedTuple):
    """A tube where a slice cuts it: a window, its field in mm, and the nearest centre point."""

    box: Box
    field_mm: Floats
    nearest: NDArray[np.int32]


def along(nodes: NDArray[np.float64], *, step_mm: float) -> NDArray[np.float64]:
    """Return rows of `nodes` ``(N, 3 + M)`` every `step_mm` along their smooth line ``(K, 3 + M)``.

    The first three columns are x, y, z; all columns are interpolated without overshoot.
    """
    chords = np.linalg.norm(np.diff(nodes[:, :3], axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(chords)])
    count = max(2, round(at[-1] / step_mm))
    return np.asarray(PchipInterpolator(at, nodes, axis=0)(np.linspace(0, at[-1], count)))


def arc_mm(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of a line up to each of its points, ``(N,)``."""
    steps = np.linalg.norm(np.diff(points_mm, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def cut(tube: Tube, columns_mm: Floats, rows_mm: Floats, z_mm: float) -> Cut | None:
    """Return the cut of a tube by a slice, or None where the slice misses it.

    Args:
        tube: In the same frame as the slice.
        columns_mm: Position of each column, ascending, ``(W,)``.
        rows_mm: Position of each row, ascending, ``(H,)``.
        z_mm: Position of the slice.
    """
    height = np.abs(tube.points_mm[:, 2] - z_mm)
    touched = np.flatnonzero(height < tube.radius_mm + FAR_MM)
    if not len(touched):
        return None
    x, y = tube.points_mm[touched, 0], tube.points_mm[touched, 1]
    reach = np.sqrt((tube.radius_mm[touched] + FAR_MM) ** 2 - height[touched] ** 2)
    left, right = np.searchsorted(columns_mm, (x - reach, x + reach))
    top, bottom = np.searchsorted(rows_mm, (y - reach, y + reach))
    if right.max() <= left.min() or bottom.max() <= top.min():
        return None  # outside the picture
    corner = int(top.min()), int(left.min())
    box = slice(corner[0], int(bottom.max())), slice(corner[1], int(right.max()))
    field = np.full((box[0].stop - box[0].start, box[1].stop - box[1].start), FAR_MM, np.float32)
    nearest = np.full(field.shape, touched[0], np.int32)
    square_x = (columns_mm[None, box[1]] - x[:, None].astype(np.float32)) ** 2
    square_y = (rows_mm[None, box[0]] - y[:, None].astype(np.float32)) ** 2
    square_y += (height[touched, None] ** 2).astype(np.float32)
    radii = tube.radius_mm[touched].astype(np.float32)
    windows = zip(
        (top - corner[0]).tolist(),
        (bottom - corner[0]).tolist(),
        (left - corner[1]).tolist(),
        (right - corner[1]).tolist(),
        strict=True,
    )
    for n, (first, last, start, stop) in enumerate(windows):
        distance = np.sqrt(square_y[n, first:last, None] + square_x[n, None, start:stop])
        distance -= radii[n]
        window = field[first:last, start:stop]
        closer = distance < window
        np.copyto(window, distance, where=closer)
        np.copyto(nearest[first:last, start:stop], np.int32(touched[n]), where=closer)
    return Cut(box, field, nearest)
