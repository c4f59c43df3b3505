"""Where a DICOM SEG puts its voxels, read with pydicom alone: a second look at what was written."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset


def places_in_seg(path: Path) -> dict[int, tuple[float, ...]]:
    """Return where the centre of each segment lies, in mm RAS, by its number.

    By the position of each frame, the orientation and the spacing (PS3.3 C.7.6.2.1.1), a frame at
    a time. A segment without voxels has no place and is left out.
    """
    seg = pydicom.dcmread(path)
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    places: dict[int, list[np.ndarray]] = {}
    for frame, mask in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if mask.any():
            places.setdefault(number, []).append(_lps_mm(frame, shared, mask))
    return {
        number: tuple(np.vstack(rows).mean(axis=0) * (-1, -1, 1)) for number, rows in places.items()
    }


def _lps_mm(frame: Dataset, shared: Dataset, mask: np.ndarray) -> np.ndarray:
    """Return where the pixels of a frame lie, ``(pixels, 3)``."""
    origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
    cosines = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    along_row, along_column = np.array(cosines, float).reshape(2, 3)
    rows_mm, columns_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    row, column = np.nonzero(mask)
    right = np.outer(column * columns_mm, along_row)
    return np.asarray(origin + right + np.outer(row * rows_mm, along_column))
