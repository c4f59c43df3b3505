"""What the labels of a data set say about its organs: where they lie, how large they are, overlaps.

Computed from run-length rows alone; no picture is opened. An organ's *range* is its first and last
labelled slice; a *gap* is an unlabelled slice within it; slices overlap where any pixel belongs to
two organs.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.io.rle import decode_slices
from medseg.scan import Scan


class OrganStatistics(NamedTuple):
    """One organ in one scan. Areas are of the slices that hold it; without any, all is 0.

    Attributes:
        scan_id: The scan.
        organ: The organ's name.
        first: Number of the first labelled slice.
        last: Number of the last one.
        slices: How many slices hold the organ.
        gaps: How many slices between the first and the last do not.
        mean_mm2: Mean area.
        min_mm2: Smallest area.
        max_mm2: Largest area.
    """

    scan_id: str
    organ: str
    first: int
    last: int
    slices: int
    gaps: int
    mean_mm2: float
    min_mm2: float
    max_mm2: float


class ScanStatistics(NamedTuple):
    """One scan over all organs.

    Attributes:
        scan_id: The scan.
        slices: Number of slices.
        empty: How many hold no organ.
        overlapping: How many hold a pixel of two organs.
        max_overlap_px: The largest number of such pixels in a slice.
    """

    scan_id: str
    slices: int
    empty: int
    overlapping: int
    max_overlap_px: int


def organ_statistics(scans: Iterable[Scan]) -> list[OrganStatistics]:
    """Return a row for every organ of every labelled scan; an unlabelled scan gives none."""
    return [_organ(scan, organ) for scan in scans for organ in scan.rle or {}]


def scan_statistics(scans: Iterable[Scan]) -> list[ScanStatistics]:
    """Return a row for every labelled scan; an unlabelled scan gives none."""
    return [_scan(scan) for scan in scans if scan.rle]


def _organ(scan: Scan, organ: str) -> OrganStatistics:
    columns, rows = scan.size_px
    area_px = decode_slices((scan.rle or {})[organ], (rows, columns)).sum((1, 2))
    present = np.flatnonzero(area_px)
    if not len(present):
        return OrganStatistics(scan.scan_id, organ, 0, 0, 0, 0, 0.0, 0.0, 0.0)
    area_mm2 = area_px[present] * (scan.spacing_mm[0] * scan.spacing_mm[1])
    return OrganStatistics(
        scan_id=scan.scan_id,
        organ=organ,
        first=scan.slice_numbers[present[0]],
        last=scan.slice_numbers[present[-1]],
        slices=len(present),
        gaps=int(present[-1] - present[0] + 1 - len(present)),
        mean_mm2=float(area_mm2.mean()),
        min_mm2=float(area_mm2.min()),
        max_mm2=float(area_mm2.max()),
    )


def _scan(scan: Scan) -> ScanStatistics:
    columns, rows = scan.size_px
    organs = [decode_slices(texts, (rows, columns)) for texts in (scan.rle or {}).values()]
    # (S, H, W): how many organs each pixel belongs to
    layers: NDArray[np.uint8] = np.sum(organs, axis=0, dtype=np.uint8)
    overlap_px = (layers > 1).sum((1, 2))
    return ScanStatistics(
        scan_id=scan.scan_id,
        slices=len(scan.slice_numbers),
        empty=int((~layers.any((1, 2))).sum()),
        overlapping=int((overlap_px > 0).sum()),
        max_overlap_px=int(overlap_px.max()),
    )
