"""A scan: the slices of one patient on one day, before anything is decoded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.geometry import Grid, lpi_grid


@dataclass(frozen=True)
class Scan:
    """One scan as its files tell it.

    Attributes:
        case_id: The patient, such as ``case123``. All days of a patient share it.
        day: The treatment day.
        slice_files: Image files in anatomical order, head to feet.
        slice_numbers: The number in each file's name, ascending.
        size_px: Columns (width) and rows (height) of every slice.
        spacing_mm: Distance between columns, between rows, and between slices.
        rle: Run-length rows by organ, one string a slice, empty where the organ is absent;
            None when the scan has no labels.
    """

    case_id: str
    day: int
    slice_files: tuple[Path, ...]
    slice_numbers: tuple[int, ...]
    size_px: tuple[int, int]
    spacing_mm: tuple[float, float, float]
    rle: Mapping[str, tuple[str, ...]] | None = None

    @property
    def scan_id(self) -> str:
        """The scan's name, such as ``case123_day20``."""
        return f"{self.case_id}_day{self.day}"

    @property
    def grid(self) -> Grid:
        """The scan's own grid: (column, row, slice) grow to the patient's left, back and feet."""
        return lpi_grid((*self.size_px, len(self.slice_files)), self.spacing_mm)


def case_id_of(scan_id: str) -> str:
    """Return the patient of a scan: what comes before ``_day``, or all of it where that is absent.

    >>> case_id_of("case123_day20")
    'case123'
    """
    return re.sub(r"_day\d+$", "", scan_id)
