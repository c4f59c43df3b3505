"""What a model was trained on, in numbers, and whether a scan is anything like it.

The numbers are of the scans' own grids, turned as the network sees them: columns grow to the left,
rows to the back, slices to the feet. A sagittal series is so judged by what its slices become.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medseg.data.manifest import Manifest
from medseg.errors import Problem
from medseg.geometry import Grid
from medseg.scan import Scan

SEEN = ("L", "P", "I")

# Training itself scales and turns by less than FAR, so up to there nothing is new to a network.
FAR = 1.5
# Slices this many times coarser hold nothing of what was learnt. Finer ones are resampled: there
# it takes more before the numbers themselves are in doubt, such as centimetres taken for mm.
TOO_COARSE, TOO_FINE = 4.0, 10.0
TILTED_DEG = 20.0
# An organ takes a third and more of the slices that it was learnt on.
TOO_SMALL, TOO_LARGE = 3.0, 4.0


class _Measure(NamedTuple):
    """One thing to measure: its name in words, its unit, and the factors of no return."""

    words: str
    unit: str
    below: float
    above: float


_MEASURES = {
    "slices": _Measure("slices", "", np.inf, np.inf),
    "size_px": _Measure("sides of a slice", " px", np.inf, np.inf),
    "field_of_view_mm": _Measure("field of view", " mm", TOO_SMALL, TOO_LARGE),
    "in_plane_mm": _Measure("spacing in a slice", " mm", TOO_FINE, TOO_COARSE),
    "between_slices_mm": _Measure("spacing between slices", " mm", TOO_FINE, TOO_COARSE),
}
# Pixels count where there is no scale; where there is one, slices are resampled to the trained one.
_WITHOUT_SCALE, _WITH_SCALE = {"slices", "size_px"}, {*_MEASURES} - {"size_px"}


def ranges_of(
    scans: Iterable[Scan], manifest: Manifest, *, neighbours: int = 1, stride: int = 1
) -> dict[str, Any]:
    """Return what training scans measure, as plain JSON; nothing of no scans.

    Args:
        scans: Of the training side alone.
        manifest: Of their data set: whether the spacing is known, and the modality.
        neighbours: Slices that the network sees at once.
        stride: Distance between them, in slices.

    Returns:
        How many ``scans``, ``scaled`` (whether the spacing is known), ``modality`` (empty where it
        is not), ``context`` (slices from the first to the last that the network sees at once),
        ``tilt_deg`` (the largest angle between an axis and that of the body), and the least and
        the largest of ``slices``, ``size_px``, ``field_of_view_mm``, ``in_plane_mm`` (columns and
        rows together) and ``between_slices_mm``.
    """
    seen = tuple(scans)
    if not seen:
        return {}
    measured = [_measured(scan.grid) for scan in seen]
    spans = {
        name: [min(low for low, _ in sides), max(high for _, high in sides)]
        for name in _MEASURES
        for sides in [[scan[name] for scan in measured]]
    }
    return {
        "scans": len(measured),
        "scaled": manifest.spacing_known,
        "modality": manifest.modality or "",
        "context": (neighbours - 1) * stride + 1,
        "tilt_deg": max(_tilt_deg(scan.grid) for scan in seen),
        **spans,
    }


def unusual(
    grid: Grid, ranges: Mapping[str, Any], *, scan_id: str, modality: str = ""
) -> list[Problem]:
    """Return how a scan is unlike those that a model was trained on.

    Args:
        grid: The scan's own.
        ranges: As `ranges_of` returns them; empty ones judge nothing.
        scan_id: The subject of the problems.
        modality: Of the scan; empty where it is not known.

    Returns:
        W-RANGE for each number more than 1.5 times outside and a tilt 20 degrees beyond; and
        E-RANGE, level ``error``, where a prediction makes no sense: another modality, a single
        slice for a network that looks at several, a spacing 4 times as coarse or 10 times as fine,
        a field of view of less than a third or more than four times what was ever seen.
    """
    if not ranges:
        return []
    judged = _WITH_SCALE if ranges["scaled"] else _WITHOUT_SCALE
    measured = _measured(grid)
    problems = list(_of_another_kind(grid, ranges, scan_id=scan_id, modality=modality))
    for name in _MEASURES:
        if name in judged:
            problems += _outside(name, measured[name], ranges, scan_id=scan_id)
    return problems


def _measured(grid: Grid) -> dict[str, tuple[float, float]]:
    """Return the least and the largest of each measure of one scan."""
    seen = grid.reoriented(SEEN)
    columns, rows, slices = seen.shape
    i_mm, j_mm, k_mm = map(_rounded, seen.spacing_mm)
    sides_mm = _rounded(columns * i_mm), _rounded(rows * j_mm)
    return {
        "slices": (slices, slices),
        "size_px": (min(columns, rows), max(columns, rows)),
        "field_of_view_mm": (min(sides_mm), max(sides_mm)),
        "in_plane_mm": (min(i_mm, j_mm), max(i_mm, j_mm)),
        "between_slices_mm": (k_mm, k_mm),
    }


def _tilt_deg(grid: Grid) -> float:
    """Return the largest angle between an axis and the body's axis that it is taken for."""
    seen = grid.reoriented(SEEN)
    cosines = np.abs(np.diag(seen.affine_ras_mm)[:3] / seen.spacing_mm)
    return round(float(np.degrees(np.arccos(cosines.clip(0, 1)).max())), 1)


def _of_another_kind(
    grid: Grid, ranges: Mapping[str, Any], *, scan_id: str, modality: str
) -> Iterator[Problem]:
    trained = ranges["modality"]
    if modality and trained and modality != trained:
        fix = "use a model that was trained on such images"
        yield Problem("E-RANGE", scan_id, f"is of modality {modality}", trained, fix)
    slices = grid.reoriented(SEEN).shape[2]
    if slices == 1 and ranges["context"] > 1:
        found = f"has one slice, and the network looks at {ranges['context']} at once"
        yield Problem("E-RANGE", scan_id, found, "a volume", "use a 2D model")
    tilt_deg, most_deg = _tilt_deg(grid), ranges.get("tilt_deg", 0.0)
    if tilt_deg > most_deg + TILTED_DEG:
        found = f"is tilted against the body by {tilt_deg:g} degrees"
        trained = f"up to {most_deg:g} in the {ranges['scans']} training scans"
        fix = "look at the result closely"
        yield Problem("W-RANGE", scan_id, found, trained, fix, level="warning")


def _outside(
    name: str, sides: tuple[float, float], ranges: Mapping[str, Any], *, scan_id: str
) -> Iterator[Problem]:
    """Yield at most one problem: how far one measure of a scan is from the trained ones."""
    low, high = ranges[name]
    below, above = low / sides[0], sides[1] / high
    if max(below, above) <= FAR:
        return
    words, unit, least, most = _MEASURES[name]
    found = f"{words} {_span(sides)}{unit}"
    trained = f"{_span((low, high))}{unit} in the {ranges['scans']} training scans"
    if below > least or above > most:
        fix = "is its spacing right? If it is, this model is of no use for it"
        yield Problem("E-RANGE", scan_id, found, trained, fix)
    else:
        fix = "look at the result closely"
        yield Problem("W-RANGE", scan_id, found, trained, fix, level="warning")


def _rounded(number: float) -> float:
    # To digits, not places, so that nothing becomes 0.
    return float(f"{number:.6g}")


def _span(sides: Sequence[float]) -> str:
    low, high = (f"{side:.4g}" for side in sides)
    return low if low == high else f"{low} to {high}"
