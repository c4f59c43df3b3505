"""Where voxels lie.

Arrays are indexed ``(i, j, k)``, with channels in front: ``(C, I, J, K)``. A *grid* is a shape and
an affine that maps ``(i, j, k)`` to millimetres in RAS+ (x grows to the patient's Right, y to the
front, z to the head). The *axis codes* name where each index grows to: an array indexed
(column, row, slice) of an axial series read from head to feet has the codes ``("L", "P", "I")``.

Two grids are *aligned* when their axes are parallel, so that one index of the one depends on one
index of the other alone; resampling between them is separable.
"""

from dataclasses import dataclass
from itertools import permutations
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.errors import GeometryError, Problem

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
Affine = NDArray[np.float64]

TOLERANCE_MM = 1e-3
_CODES = (("L", "R"), ("P", "A"), ("I", "S"))

# Cosines of axes at 45 degrees between two of the body's, as files tell them, agree to this. They
# are told apart by a body turned a little about all three of its axes.
_TIE = 1e-3
_TURN = np.linalg.qr(np.array([[1.0, -0.1, 0.06], [0.1, 1.0, -0.03], [-0.06, 0.03, 1.0]]))[0]


class AxisMap(NamedTuple):
    """How a target index runs through a source grid: source = scale * target + offset."""

    source_axis: int
    scale: float
    offset: float


@dataclass(frozen=True, eq=False)
class Grid:
    """A box of voxels in the patient: shape ``(I, J, K)`` and affine ``(4, 4)`` to RAS+ mm."""

    shape: Shape
    affine_ras_mm: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine_ras_mm, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(
                Problem("E-AFFINE", "grid", f"affine is {affine.tolist()}", "4 x 4 finite numbers")
            )
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError(
                Problem("E-AFFINE", "grid", "affine is singular", "three independent axes")
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine_ras_mm", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    def __str__(self) -> str:
        """Return shape, spacing, orientation and the first voxel's place, on one line.

        >>> print(lpi_grid((266, 266, 144), (1.5, 1.5, 3.0)))
        266 x 266 x 144 voxels of 1.5 x 1.5 x 3 mm, LPI from (0, 0, 0) mm
        """
        sides = " x ".join(map(str, self.shape))
        spacing = " x ".join(f"{side_mm:.6g}" for side_mm in self.spacing_mm)
        # Adding 0.0 leaves no minus before a zero.
        first = ", ".join(f"{mm + 0.0:.6g}" for mm in self.affine_ras_mm[:3, 3])
        return f"{sides} voxels of {spacing} mm, {''.join(self.axis_codes)} from ({first}) mm"

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel edge lengths along I, J and K."""
        i, j, k = np.linalg.norm(self.affine_ras_mm[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """Where i, j and k grow to: one of L/R, P/A, I/S each, by the closest body axis.

        Of two that are equally close, at 45 degrees, always the same one is taken for the same
        voxels, however they are ordered in memory.
        """
        i, j, k = (_CODES[world][int(sign > 0)] for world, sign in self._orientation())
        return i, j, k

    def to_ras_mm(self, ijk: ArrayLike) -> NDArray[np.float64]:
        """Return the RAS+ mm position of voxel indices ``(..., 3)``."""
        return np.asarray(ijk, float) @ self.affine_ras_mm[:3, :3].T + self.affine_ras_mm[:3, 3]

    def reoriented(self, codes: tuple[str, str, str]) -> "Grid":
        """Return the grid of the same voxels with axes flipped and permuted to `codes`."""
        orientation = self._orientation()
        affine = np.eye(4)
        corner = np.zeros(3)
        shape = []
        for target, code in enumerate(codes):
            world = next(w for w, pair in enumerate(_CODES) if code in pair)
            source = next(a for a, (w, _) in enumerate(orientation) if w == world)
            same = (orientation[source][1] > 0) == (code == _CODES[world][1])
            affine[:3, target] = self.affine_ras_mm[:3, source] * (1 if same else -1)
            corner[source] = 0 if same else self.shape[source] - 1
            shape.append(self.shape[source])
        affine[:3, 3] = self.to_ras_mm(corner)
        return Grid((shape[0], shape[1], shape[2]), affine)

    def resampled(self, spacing_mm: Spacing) -> "Grid":
        """Return the grid with the same axes and field of view at another spacing.

        The outer faces of the corner voxel stay where they are; the far side is rounded to a
        whole voxel. An axis whose spacing already agrees within 1e-4 mm is left alone.
        """
        have, want = np.array(self.spacing_mm), np.array(spacing_mm, float)
        want = np.where(np.abs(want - have) < 1e-4, have, want)
        factor = want / have
        shape = np.maximum(1, np.rint(np.array(self.shape) / factor)).astype(int)
        affine = self.affine_ras_mm.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = self.to_ras_mm((factor - 1) / 2)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def boxed(self, start: tuple[int, int, int], shape: Shape) -> "Grid":
        """Return the grid of the box that begins at voxel `start`; it may reach outside."""
        affine = self.affine_ras_mm.copy()
        affine[:3, 3] = self.to_ras_mm(start)
        return Grid(shape, affine)

    def _orientation(self) -> list[tuple[int, float]]:
        """For each array axis the closest world axis, each used once, and its sign.

        How the array's axes are ordered and which way they run makes no difference, not even to
        which of two equally close world axes is taken.
        """
        cosines = self.affine_ras_mm[:3, :3] / np.linalg.norm(self.affine_ras_mm[:3, :3], axis=0)
        close = {worlds: _closeness(cosines, worlds) for worlds in permutations(range(3))}
        least = max(close.values()) - _TIE
        turned = _TURN @ cosines
        best = max(
            (worlds for worlds in close if close[worlds] >= least),
            key=lambda worlds: _closeness(turned, worlds),
        )
        return [(world, float(cosines[world, axis])) for axis, world in enumerate(best)]


def _closeness(cosines: NDArray[np.float64], worlds: tuple[int, ...]) -> float:
    # Exact, so that the order of the terms does not count.
    return fsum(abs(float(cosines[world, axis])) for axis, world in enumerate(worlds))


def lpi_grid(shape: Shape, spacing_mm: Spacing) -> Grid:
    """Return the grid of slices stacked head to feet: (column, row, slice) grow to L, P, I.

    The first voxel is the origin: such slices carry no position in the room.

    >>> lpi_grid((266, 266, 144), (1.5, 1.5, 3.0)).axis_codes
    ('L', 'P', 'I')
    """
    return Grid(shape, np.diag([*(-s for s in spacing_mm), 1.0]))


def corner_shift_mm(a: Grid, b: Grid) -> float:
    """Return the largest distance in mm between equal corners of two grids of one shape.

    The difference of two affine maps is affine, so no voxel moves farther than a corner does.
    """
    last = np.array(a.shape) - 1
    corners = np.array(np.meshgrid(*((0, n) for n in last))).reshape(3, -1).T
    return float(np.linalg.norm(a.to_ras_mm(corners) - b.to_ras_mm(corners), axis=1).max())


def require_same_grid(
    a: Grid, b: Grid, *, subject: str, tolerance_mm: float = TOLERANCE_MM
) -> None:
    """Raise GeometryError unless both grids have one shape and lie within `tolerance_mm`."""
    if a.shape != b.shape:
        fix = "compare files of one grid"
        raise GeometryError(Problem("E-GRID", subject, f"has {b}", str(a), fix))
    shift = corner_shift_mm(a, b)
    if shift > tolerance_mm:
        found = f"lies {shift:.3f} mm off its reference: {b}"
        expected = f"{a}, to {tolerance_mm} mm"
        fix = "was it drawn on another series? Resample it onto the reference first"
        raise GeometryError(Problem("E-GRID", subject, found, expected, fix))


def axis_maps(source: Grid, target: Grid) -> tuple[AxisMap, AxisMap, AxisMap]:
    """Return for each target axis the source axis it runs along, with scale and offset in voxels.

    Raises:
        GeometryError: The grids are not aligned: a voxel step along one axis of the target moves
            more than 0.001 voxels across another axis of the source.
    """
    matrix = np.linalg.inv(source.affine_ras_mm) @ target.affine_ras_mm
    linear, offset = matrix[:3, :3], matrix[:3, 3]
    axes = [int(np.abs(linear[:, t]).argmax()) for t in range(3)]
    rest = linear.copy()
    rest[axes, range(3)] = 0
    if len(set(axes)) < 3 or np.abs(rest).max() * max(target.shape) > 1e-3 * max(target.shape):
        raise GeometryError(
            Problem(
                "E-AXES", "grids", "axes are not parallel", "aligned grids", "resample one first"
            )
        )
    i, j, k = (AxisMap(a, float(linear[a, t]), float(offset[a])) for t, a in enumerate(axes))
    return i, j, k
