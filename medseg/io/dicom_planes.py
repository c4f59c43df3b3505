"""Where each image of a DICOM file lies in the patient: a plain file, or a frame of many.

Source: PS3.3 C.7.6.2 (Image Plane), C.7.6.16 (Multi-frame Functional Groups).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from medseg.errors import Problem
from medseg.io.dicom_headers import Header, Numbers, numbers

# Of direction cosines, which are often written to a few digits only.
TOLERANCE = 1e-3
_SANE_SPACING_MM = (1e-3, 100.0)
_FARTHEST_MM = 1e5


class Plane(NamedTuple):
    """One image and where it lies, LPS.

    Attributes:
        path: The file.
        frame: Which frame of it, counted from 1; 0 for a plain image.
        position_mm: Of the centre of the first voxel, ``(3,)``.
        cosines: Directions of a row and of a column, ``(2, 3)``.
        spacing_mm: Between rows, and between columns: DICOM's order.
        thickness_mm: Between slices, as far as it is told; 0 where it is not.
    """

    path: Path
    frame: int
    position_mm: Numbers
    cosines: Numbers
    spacing_mm: Numbers
    thickness_mm: float

    def __str__(self) -> str:
        return f"{self.path.name} frame {self.frame}" if self.frame else self.path.name


def planes_of(header: Header) -> tuple[list[Plane], list[Problem]]:
    """Return the planes of a file, and what keeps the others from being one.

    Problems carry E-DCM-GEOM for elements of place that are missing or impossible, E-DCM-TRUNC for
    frames that the header announces and does not describe, E-DCM-MIXED for several stacks.
    """
    found: list[Plane] = []
    lacking: dict[str, list[int]] = {}
    frames, problems = _frames(header)
    for number, (position, orientation, measures) in frames.items():
        plane = Plane(
            header.path,
            number,
            _number_row(position, "ImagePositionPatient", 3),
            _number_row(orientation, "ImageOrientationPatient", 6).reshape(2, 3),
            _number_row(measures, "PixelSpacing", 2),
            _thickness_mm(measures),
        )
        lack = _impossible(plane)
        if lack:
            lacking.setdefault(lack, []).append(number)
        else:
            found.append(plane)
    for lack, numbers_ in lacking.items():
        where = f" in {len(numbers_)} frames, the first {numbers_[0]}" if numbers_[0] else ""
        problems.append(
            Problem("E-DCM-GEOM", str(header.path), f"{lack}{where}", "where its voxels lie")
        )
    return found, problems


_Places = tuple[Dataset, Dataset, Dataset]


def _frames(header: Header) -> tuple[dict[int, _Places], list[Problem]]:
    """Return by frame what holds its position, its orientation and its pixels' measures."""
    dataset, subject = header.dataset, str(header.path)
    if not header.is_multi_frame:
        return {0: (dataset, dataset, dataset)}, []
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    problems = []
    if len(groups) != header.n_frames:
        found = f"describes {len(groups)} of {header.n_frames} frames"
        problems.append(Problem("E-DCM-TRUNC", subject, found, "each frame's functional groups"))
    stacks = {str(_group("FrameContentSequence", g, shared).get("StackID")) for g in groups}
    if len(stacks) > 1:
        found, fix = f"holds {len(stacks)} stacks", "export each as a series"
        problems.append(Problem("E-DCM-MIXED", subject, found, "one", fix))
    return {
        number: (
            _group("PlanePositionSequence", group, shared),
            _group("PlaneOrientationSequence", group, shared),
            _group("PixelMeasuresSequence", group, shared),
        )
        for number, group in enumerate(groups, 1)
    }, problems


def _group(keyword: str, frame: Dataset, shared: Dataset) -> Dataset:
    """Return a frame's functional group, its own or that of all; empty where there is none."""
    items: list[Dataset] = frame.get(keyword) or shared.get(keyword) or [Dataset()]
    return items[0]


def _number_row(dataset: Dataset, keyword: str, count: int) -> Numbers:
    row = numbers(dataset, keyword, count)
    return np.full(count, np.nan) if row is None else row


def _thickness_mm(dataset: Dataset) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        row = numbers(dataset, keyword, 1)
        if row is not None and _is_sane(row):
            return float(row[0])
    return 0.0


def _impossible(plane: Plane) -> str:
    """Return what is missing of a plane's place or cannot be; nothing of a sound one."""
    # Comparisons with NaN, which stands for what is missing, are false.
    if not (np.abs(plane.position_mm) < _FARTHEST_MM).all():
        return "no usable ImagePositionPatient"
    lengths = np.linalg.norm(plane.cosines, axis=1)
    if not (np.abs(lengths - 1) <= TOLERANCE).all():
        return "no usable ImageOrientationPatient"
    return "" if _is_sane(plane.spacing_mm) else "no usable PixelSpacing"


def _is_sane(spacing_mm: Numbers) -> bool:
    low, high = _SANE_SPACING_MM
    return bool((spacing_mm >= low).all() and (spacing_mm <= high).all())
