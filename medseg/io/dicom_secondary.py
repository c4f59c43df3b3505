"""A volume without DICOM behind it as a DICOM series, for tests and demonstrations.

The files are MR Image Storage (PS3.3 A.4), which viewers stack and lay segmentations over, with
ImageType DERIVED, SECONDARY: no scanner made them, and they say so. They belong to a patient that
there is not. Slices stay slices; columns and rows are turned as a radiologist looks at them.

Whole numbers that fit into 16 bits are kept as they are, with a rescale intercept if they need one.
Other values are scaled to 65536 steps between the lowest and the highest, so that each is off by at
most half of the rescale slope.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import format_number_as_ds

from medseg.errors import DataError, GeometryError, Problem, ResourceError, UsageError
from medseg.geometry import TOLERANCE_MM, Grid, axis_maps, corner_shift_mm
from medseg.io.atomic import sync_folder
from medseg.io.dicom_written import add_equipment, date_and_time, new_uid, save

# By the axis that slices are stacked along, x, y or z: where columns, rows and slices grow to when
# a slice is looked at as usual; right-handed, so that slices grow along their normal.
_USUAL = (("P", "I", "R"), ("L", "I", "P"), ("L", "P", "S"))
_WORLD = ("LR", "PA", "IS")
_STEPS = 65535


class Secondary(NamedTuple):
    """What was written: files along the slices' normal, their grid, and how far values are off."""

    files: tuple[Path, ...]
    grid: Grid
    error: float


class _Stored(NamedTuple):
    """Values in 16 bits: a value is slope times what is stored plus intercept."""

    values: NDArray[np.uint16] | NDArray[np.int16]
    slope: str = "1"
    intercept: str = "0"


def write_secondary(folder: Path, voxels: NDArray[np.number], grid: Grid) -> Secondary:
    """Write voxels ``(I, J, K)`` as a series of a file a slice, all of it or nothing.

    Args:
        folder: Where to write ``0001.dcm`` and so on; made if need be, and empty.
        voxels: Finite numbers.
        grid: Where they lie; its axes perpendicular.

    Raises:
        UsageError: E-EXISTS, the folder holds something.
        GeometryError: E-GRID, the shapes differ; E-AFFINE, the grid is sheared, which DICOM cannot
            tell.
        DataError: E-VALUES, a voxel is not finite.
        ResourceError: The disk is full or the folder cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        fix = "choose another with -o"
        raise UsageError(Problem("E-EXISTS", str(folder), "holds files", "an empty folder", fix))
    if voxels.shape != grid.shape:
        raise GeometryError(
            Problem("E-GRID", str(folder), f"voxels {voxels.shape}", f"{grid.shape}")
        )
    if not np.isfinite(voxels).all():
        raise DataError(Problem("E-VALUES", str(folder), "voxels are not finite", "numbers"))
    usual = _turned(_rigid(grid, folder))
    turned = _voxels_on(usual, voxels, grid)
    stored = _stored(turned)
    names = [f"{k:04}.dcm" for k in range(1, usual.shape[2] + 1)]
    with _all_or_nothing(folder) as whole:
        series = _series(usual, stored)
        for k, name in enumerate(names):
            save(whole / name, _slice(series, usual, stored, k=k))
    return Secondary(tuple(folder / name for name in names), usual, _error(stored, turned))


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder whose files move to `folder` when the block ends without an error."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".tmp-", dir=folder) as temporary:
            yield Path(temporary)
            for path in Path(temporary).iterdir():
                path.replace(folder / path.name)
            sync_folder(folder)
    except OSError as error:
        fix = "check its rights"
        raise ResourceError(Problem("E-IO", str(folder), str(error.strerror), fix=fix)) from error


def _rigid(grid: Grid, folder: Path) -> Grid:
    """Return the nearest grid of perpendicular axes, which is all that DICOM's cosines can tell."""
    spacing = np.array(grid.spacing_mm)
    left, _, right = np.linalg.svd(grid.affine_ras_mm[:3, :3] / spacing)
    affine = grid.affine_ras_mm.copy()
    affine[:3, :3] = left @ right * spacing
    rigid = Grid(grid.shape, affine)
    shift_mm = corner_shift_mm(grid, rigid)
    if shift_mm > TOLERANCE_MM:
        found = f"its grid is sheared: perpendicular axes are {shift_mm:.3f} mm off"
        fix = "resample it onto a grid with perpendicular axes"
        raise GeometryError(
            Problem("E-AFFINE", str(folder), found, f"at most {TOLERANCE_MM} mm", fix)
        )
    return rigid


def _turned(grid: Grid) -> Grid:
    stacked = next(world for world, pair in enumerate(_WORLD) if grid.axis_codes[2] in pair)
    return grid.reoriented(_USUAL[stacked])


def _voxels_on(target: Grid, voxels: NDArray[np.number], grid: Grid) -> NDArray[np.number]:
    """Return the same voxels with axes turned to another grid of the same box."""
    maps = axis_maps(grid, target)
    turned = voxels.transpose([each.source_axis for each in maps])
    return turned[tuple(slice(None, None, -1 if each.scale < 0 else 1) for each in maps)]


def _stored(voxels: NDArray[np.number]) -> _Stored:
    low, high = float(voxels.min()), float(voxels.max())
    whole = np.array_equal(voxels, np.rint(voxels))
    if whole and low >= 0 and high <= 65535:
        return _Stored(voxels.astype(np.uint16))
    if whole and low >= -32768 and high <= 32767:
        return _Stored(voxels.astype(np.int16))
    # What is stored is worked out with the numbers that the file's 16 characters hold.
    intercept = format_number_as_ds(low)
    exact = (whole and high - low <= _STEPS) or low == high
    slope = "1" if exact else format_number_as_ds((high - low) / _STEPS)
    steps = np.rint((voxels.astype(np.float64) - float(intercept)) / float(slope))
    return _Stored(steps.clip(0, _STEPS).astype(np.uint16), slope, intercept)


def _error(stored: _Stored, voxels: NDArray[np.number]) -> float:
    told = stored.values * float(stored.slope) + float(stored.intercept)
    return float(np.abs(told - voxels).max())


def _series(grid: Grid, stored: _Stored) -> Dataset:
    """Return what all slices share."""
    dataset = Dataset()
    date, time = date_and_time(datetime.now())
    dataset.SOPClassUID = MRImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
    dataset.FrameOfReferenceUID = new_uid()
    for name in ("StudyDate", "SeriesDate", "ContentDate"):
        setattr(dataset, name, date)
    for name in ("StudyTime", "SeriesTime", "ContentTime"):
        setattr(dataset, name, time)
    for name, value in _FACTS.items():
        setattr(dataset, name, value)
    dataset.PatientID = f"MEDSEG-{str(dataset.StudyInstanceUID)[-8:]}"
    add_equipment(dataset)
    _place(dataset, grid)
    _describe_pixels(dataset, grid, stored)
    return dataset


# Type 1 and 2 elements of the modules of PS3.3 A.4; empty is what is not known or not so.
_FACTS = {
    "Modality": "MR",
    "PatientName": "medseg^demonstration",
    "PatientBirthDate": None,
    "PatientSex": None,
    "AccessionNumber": None,
    "ReferringPhysicianName": None,
    "StudyID": "1",
    "StudyDescription": "medseg demonstration",
    "SeriesDescription": "Volume without DICOM origin",
    "SeriesNumber": 1,
    "AcquisitionNumber": None,
    "Laterality": None,
    "PatientPosition": None,
    "PositionReferenceIndicator": None,
    "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
    "DerivationDescription": "Made by medseg from a volume; for tests and demonstrations only",
    "BurnedInAnnotation": "NO",
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": None,
    "MRAcquisitionType": None,
    "RepetitionTime": None,
    "EchoTime": None,
    "EchoTrainLength": None,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
}


def _place(dataset: Dataset, grid: Grid) -> None:
    columns_mm, rows_mm, slices_mm = map(format_number_as_ds, grid.spacing_mm)
    cosines_lps = np.diag([-1, -1, 1]) @ grid.affine_ras_mm[:3, :2] / grid.spacing_mm[:2]
    dataset.ImageOrientationPatient = [format_number_as_ds(c) for c in cosines_lps.T.ravel()]
    dataset.PixelSpacing = [rows_mm, columns_mm]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = slices_mm


def _describe_pixels(dataset: Dataset, grid: Grid, stored: _Stored) -> None:
    dataset.Columns, dataset.Rows = grid.shape[:2]
    dataset.PixelRepresentation = int(stored.values.dtype == np.int16)
    if (stored.slope, stored.intercept) != ("1", "0"):
        dataset.RescaleSlope, dataset.RescaleIntercept = stored.slope, stored.intercept
        dataset.RescaleType = "US"
    low, high = np.percentile(stored.values, (1, 99)) * float(stored.slope)
    # The only kind whose window may be narrower than 1.
    dataset.VOILUTFunction = "LINEAR_EXACT"
    dataset.WindowCenter = format_number_as_ds((low + high) / 2 + float(stored.intercept))
    dataset.WindowWidth = format_number_as_ds(max(high - low, float(stored.slope)))


def _slice(series: Dataset, grid: Grid, stored: _Stored, *, k: int) -> Dataset:
    dataset = Dataset()
    dataset.update(series)
    dataset.SOPInstanceUID = new_uid()
    dataset.InstanceNumber = k + 1
    place_lps_mm = grid.to_ras_mm((0, 0, k)) * (-1, -1, 1)
    dataset.ImagePositionPatient = [format_number_as_ds(mm) for mm in place_lps_mm]
    dataset.PixelData = stored.values[:, :, k].T.astype("<" + stored.values.dtype.str[1:]).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset
