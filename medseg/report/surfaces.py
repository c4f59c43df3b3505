"""Surfaces of masks: naive surface nets, and the file that the viewer reads them from.

Every cell of eight neighbouring voxel centres that holds both sides has one vertex, at the middle
of the edges that the surface crosses; every pair of neighbouring voxels on different sides is one
quadrilateral between four such vertices (Gibson, "Constrained elastic surface nets", MICCAI 1998).
The vertices are then pulled towards their neighbours and, a little more, pushed back, none out of
its cell: that takes the stairs away and leaves the volume as it is (Taubin, "A signal processing
approach to fair surface design", SIGGRAPH 1995).
"""

import struct
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Grid

Vertices = NDArray[np.float64]
Triangles = NDArray[np.int64]

_CORNERS = np.array(list(product((0, 1), repeat=3)))
_EDGES = [(a, b) for a in range(8) for b in range(a) if abs(_CORNERS[a] - _CORNERS[b]).sum() == 1]
_PULL, _PUSH, _ROUNDS = 0.5, -0.53, 8


def surface(mask: NDArray[np.bool_], grid: Grid) -> tuple[Vertices, Triangles]:
    """Return the closed surface of a mask ``(I, J, K)``.

    Returns:
        Vertices ``(V, 3)`` in RAS+ mm, and triangles ``(F, 3)`` of their numbers, counter-clockwise
        as seen from outside. An empty mask has neither.
    """
    if not mask.any():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    found = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    start = np.array([line[0] for line in found])
    box = tuple(slice(line[0], line[-1] + 1) for line in found)
    inside = np.pad(mask[box], 1)
    cells, corners = _cells(inside)
    quads = _quads(inside, cells)
    vertices = _relaxed(cells, corners, quads)
    triangles = np.concatenate((quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]))
    if np.linalg.det(grid.affine_ras_mm[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    return grid.to_ras_mm(vertices + start - 1), triangles


def as_mz3(vertices: Vertices, triangles: Triangles) -> bytes:
    """Return a surface as an MZ3 file, uncompressed (Surfice, "MZ3 format")."""
    header = struct.pack("<HHIII", 0x5A4D, 3, len(triangles), len(vertices), 0)
    return header + triangles.astype("<i4").tobytes() + vertices.astype("<f4").tobytes()


def _cells(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the cells ``(N, 3)`` that hold both sides, and which of their corners are inside."""
    shape = np.array(inside.shape) - 1
    views = [
        inside[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))]
        for corner in _CORNERS
    ]
    count = sum(view.view(np.uint8) for view in views)
    cells = np.argwhere((count > 0) & (count < 8))
    at = tuple(cells.T)
    return cells, np.stack([view[at] for view in views], axis=1)


def _quads(inside: NDArray[np.bool_], cells: NDArray[np.int64]) -> Triangles:
    """Return a quadrilateral for each pair of neighbours on different sides, seen from outside."""
    number = np.full(inside.shape, -1, np.int64)
    number[tuple(cells.T)] = np.arange(len(cells))
    found = []
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        step = np.diff(inside.view(np.int8), axis=axis)
        at = np.argwhere(step)
        ring = []
        for back in ((1, 1), (0, 1), (0, 0), (1, 0)):
            cell = at.copy()
            cell[:, one] -= back[0]
            cell[:, two] -= back[1]
            ring.append(number[tuple(cell.T)])
        quads = np.stack(ring, axis=1)
        entering = step[tuple(at.T)] > 0
        quads[entering] = quads[entering, ::-1]
        found.append(quads)
    return np.concatenate(found)


def _relaxed(
    cells: NDArray[np.int64], corners: NDArray[np.bool_], quads: Triangles
) -> NDArray[np.float64]:
    """Return the vertices ``(N, 3)`` in voxels, each in its own cell."""
    total, crossed = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
    for a, b in _EDGES:
        crosses = (corners[:, a] != corners[:, b])[:, None]
        total += crosses * (_CORNERS[a] + _CORNERS[b]) / 2
        crossed += crosses
    vertices = cells + total / crossed
    one, two = quads.ravel(), np.roll(quads, -1, axis=1).ravel()
    ends, others = np.concatenate((one, two)), np.concatenate((two, one))
    neighbours = np.bincount(ends, minlength=len(cells))[:, None]
    for share in (_PULL, _PUSH) * _ROUNDS:
        middle = _summed(vertices[others], ends, len(cells)) / neighbours
        vertices = np.clip(vertices + share * (middle - vertices), cells, cells + 1)
    return vertices


def _summed(values: NDArray[Any], at: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.stack([np.bincount(at, column, n) for column in values.T], axis=1)
