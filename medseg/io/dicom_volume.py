"""Whether the planes of a DICOM series make a volume, and the grid that they lie on.

They do when they are alike, lie straight behind each other along their normal, and are equally far
apart. Anything else is refused: on a regular grid it would lie elsewhere than in the patient.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low

import numpy as np

from medseg.errors import Problem
from medseg.geometry import Grid
from medseg.io.dicom_headers import Numbers
from medseg.io.dicom_planes import TOLERANCE, Plane

# How far a plane may lie off its place on the grid: a part of the slices' distance, or so many mm.
_PART, _LEAST_MM = 0.01, 0.01
_SAME_PLACE_MM = 1e-3
_SPACING_TOLERANCE_MM = 1e-4
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ECHOES = "do they differ by echo, phase or contrast? Export each as a series"


def plane_name(plane: Plane) -> str:
    """Return what radiologists call a plane by the body axis that its normal is closest to.

    A plane more than 20 degrees off all of them is oblique.
    """
    normal = np.abs(_axes(plane)[:, 2])
    if normal.max() < np.cos(np.radians(20)):
        return "oblique"
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


def crosses(planes: Sequence[Plane]) -> bool:
    """Return whether planes cross each other as those of a localizer do.

    They do when no more than half of them are parallel.
    """
    normals = np.array([_axes(plane)[:, 2] for plane in planes]).reshape(-1, 3)
    parallel = np.abs(normals @ normals.T) > np.cos(np.radians(20))
    return len(planes) > 1 and 2 * int(parallel.sum(axis=1).max()) <= len(planes)


def ordered(planes: Sequence[Plane]) -> list[Plane]:
    """Return planes in the order of their position along the normal of the first; stable."""
    normal = _axes(planes[0])[:, 2]
    return sorted(planes, key=lambda plane: float(normal @ plane.position_mm))


def faults(planes: Sequence[Plane], subject: str) -> list[Problem]:
    """Return what keeps planes, in order, from being a volume; nothing of a sound one.

    E-DCM-MIXED, they differ in orientation or spacing; E-DCM-DUP, two lie at one place; E-DCM-GAP,
    their distances differ; E-DCM-TILT, they are shifted against each other, or are no rectangles;
    E-DCM-GEOM, a lone one tells no thickness.
    """
    unlike = _unlike(planes, subject)
    if unlike:
        return unlike
    lean = abs(float(planes[0].cosines[0] @ planes[0].cosines[1]))
    if lean > TOLERANCE:
        found = f"its rows and columns meet at {np.degrees(np.arccos(lean)):.2f} degrees"
        return [Problem("E-DCM-TILT", subject, found, "90 degrees")]
    if len(planes) == 1 and not planes[0].thickness_mm:
        found = "a lone slice, and no usable SliceThickness"
        return [Problem("E-DCM-GEOM", subject, found, "how thick it is")]
    problems, apart = _duplicates(planes, subject)
    return problems + (_uneven(apart, subject) if len(apart) > 1 else [])


def grid_of(planes: Sequence[Plane], size_px: tuple[int, int]) -> Grid:
    """Return the grid of sound planes in order, each of `size_px` columns and rows, in RAS+ mm.

    Its first voxel is the first plane's, and its slices are equally far apart: the mean distance.
    """
    axes, first = _axes(planes[0]), planes[0]
    between_mm = first.thickness_mm
    if len(planes) > 1:
        extent = planes[-1].position_mm - first.position_mm
        between_mm = float(axes[:, 2] @ extent) / (len(planes) - 1)
    between_rows_mm, between_columns_mm = first.spacing_mm
    lps = np.eye(4)
    lps[:3, :3] = axes * (between_columns_mm, between_rows_mm, between_mm)
    lps[:3, 3] = first.position_mm
    return Grid((*size_px, len(planes)), _LPS_TO_RAS @ lps)


def _axes(plane: Plane) -> Numbers:
    """Return the unit vectors of a row, a column and the normal, as columns ``(3, 3)``."""
    row, column = plane.cosines / np.linalg.norm(plane.cosines, axis=1, keepdims=True)
    column = column - (row @ column) * row
    column /= np.linalg.norm(column)
    return np.column_stack([row, column, np.cross(row, column)])


def _unlike(planes: Sequence[Plane], subject: str) -> list[Problem]:
    """Return what of the first plane's orientation and spacing others do not have."""
    first = planes[0]
    turned = [p for p in planes if np.abs(p.cosines - first.cosines).max() > TOLERANCE]
    scaled = [
        p for p in planes if np.abs(p.spacing_mm - first.spacing_mm).max() > _SPACING_TOLERANCE_MM
    ]
    names = ("orientation", "pixel spacing")
    fix = "is it several series? Export each on its own"
    return [
        Problem("E-DCM-MIXED", subject, f"{name} {_pair(first, others)}", f"one {name}", fix)
        for name, others in zip(names, (turned, scaled), strict=True)
        if others
    ]


def _pair(first: Plane, others: Sequence[Plane]) -> str:
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"of {first} is not that of {others[0]}{more}"


def _duplicates(planes: Sequence[Plane], subject: str) -> tuple[list[Problem], list[Plane]]:
    """Return a problem if planes lie at one place, and the planes, of several at one the first."""
    normal = _axes(planes[0])[:, 2]
    apart, twice = [planes[0]], []
    for plane in planes[1:]:
        if float(normal @ (plane.position_mm - apart[-1].position_mm)) < _SAME_PLACE_MM:
            twice.append((apart[-1], plane))
        else:
            apart.append(plane)
    if not twice:
        return [], apart
    more = f", and so do {len(twice) - 1} more" if len(twice) > 1 else ""
    found = f"{twice[0][0]} and {twice[0][1]} lie at one place{more}"
    return [Problem("E-DCM-DUP", subject, found, "one slice at a place", _ECHOES)], apart


def _uneven(planes: Sequence[Plane], subject: str) -> list[Problem]:
    """Return how planes lie off a regular stack: apart unevenly, or shifted sideways."""
    normal = _axes(planes[0])[:, 2]
    offsets = np.array([plane.position_mm - planes[0].position_mm for plane in planes])
    along = offsets @ normal
    sideways = offsets - along[:, None] * normal
    step_mm = along[-1] / (len(planes) - 1)
    allowed_mm = max(_LEAST_MM, _PART * step_mm)
    problems = []
    if np.abs(along - step_mm * np.arange(len(planes))).max() > allowed_mm:
        problems.append(_gap(planes, np.diff(along), subject))
    if np.linalg.norm(sideways, axis=1).max() > allowed_mm:
        shifts = np.linalg.norm(np.diff(sideways, axis=0), axis=1)
        angles = np.degrees(np.arctan2(shifts, np.diff(along)))
        worst = int(angles.argmax())
        found = (
            f"its slices are shifted against each other by {angles[worst]:.2f} degrees, "
            f"such as {planes[worst]} and {planes[worst + 1]}"
        )
        fix = "was the gantry tilted? Resample it to a straight stack first"
        problems.append(Problem("E-DCM-TILT", subject, found, "a straight stack", fix))
    return problems


def _gap(planes: Sequence[Plane], distances_mm: Numbers, subject: str) -> Problem:
    usual_mm = median_low(distances_mm.tolist())
    off = np.abs(distances_mm - usual_mm)
    allowed_mm = max(_LEAST_MM, _PART * usual_mm)
    wide = [k for k in range(len(off)) if off[k] > allowed_mm] or [int(off.argmax())]
    pairs = list(pairwise(planes))
    named = "; ".join(
        f"{pairs[k][0]} and {pairs[k][1]} lie {distances_mm[k]:.6g} mm apart" for k in wide[:3]
    )
    more = f"; and {len(wide) - 3} more pairs" if len(wide) > 3 else ""
    expected = f"{usual_mm:.6g} mm, as between most"
    fix = "is a slice missing? Copy the series again"
    return Problem("E-DCM-GAP", subject, f"{named}{more}", expected, fix)
