"""A scan or a DICOM series: images of one patient on one day, before anything is decoded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import Problem
from medseg.geometry import Grid, lpi_grid


@dataclass(frozen=True)
class Scan:
    """One scan as its files tell it: a file a slice, or a whole volume in each file.

    Attributes:
        scan_id: The scan's name, such as ``case123_day20``.
        slice_files: Image files in anatomical order, head to feet; none for a volume.
        slice_numbers: The number of each slice, ascending.
        size_px: Columns (width) and rows (height) of every slice.
        spacing_mm: Distance between columns, between rows, and between slices.
        channels: Values of a voxel: 1 for grey slices, 3 for RGB ones.
        rle: Run-length rows by organ, one string a slice, empty where the organ is absent;
            None when the scan has no labels.
        volume_files: NIfTI files of one grid, a channel each; none for a scan of slices.
        own_grid: Where a volume lies, or slices from feet to head; None for slices head to feet.
    """

    scan_id: str
    slice_files: tuple[Path, ...]
    slice_numbers: tuple[int, ...]
    size_px: tuple[int, int]
    spacing_mm: tuple[float, float, float]
    channels: int = 1
    rle: Mapping[str, tuple[str, ...]] | None = None
    volume_files: tuple[Path, ...] = ()
    own_grid: Grid | None = None

    @property
    def case_id(self) -> str:
        """The patient, such as ``case123``. All days of a patient share it."""
        return case_id_of(self.scan_id)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the images, slices or volumes."""
        return self.volume_files or self.slice_files

    @property
    def grid(self) -> Grid:
        """The scan's own grid: (column, row, slice) of slices grow to the left, back and feet."""
        shape = (*self.size_px, len(self.slice_numbers))
        return self.own_grid or lpi_grid(shape, self.spacing_mm)


@dataclass(frozen=True)
class Series:
    """A DICOM series that makes one volume, checked, its slices in the order of their position.

    Nothing here is a text that a scanner or a person wrote: that may name a patient.

    Attributes:
        scan_id: What its outputs are called, from the names of folders.
        files: A file a slice along K, or the one multi-frame file.
        grid: (column, row, slice): K grows along the slices' normal, the cross product of a row's
            and a column's direction.
        frames: Of a multi-frame file the frame of each slice along K, counted from 1; else none.
        modality: ``MR``, ``CT``, …
        warnings: What was met and lived with while it was looked through.
    """

    scan_id: str
    files: tuple[Path, ...]
    grid: Grid
    frames: tuple[int, ...] = ()
    modality: str = ""
    warnings: tuple[Problem, ...] = ()

    @property
    def case_id(self) -> str:
        """The patient, as far as the name tells."""
        return case_id_of(self.scan_id)


def case_id_of(scan_id: str) -> str:
    """Return the patient of a scan: its name without ``_day`` and a number, or a date of 8 digits.

    A name with neither is the patient's.

    >>> case_id_of("case123_day20")
    'case123'
    >>> case_id_of("TCGA_CS_4941_19960909")
    'TCGA_CS_4941'
    """
    return re.sub(r"_(day\d+|\d{8})$", "", scan_id)
