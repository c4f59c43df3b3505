"""The voxels of a DICOM series, as the scanner measured them.

A stored number becomes a value by the Modality LUT: slope and intercept of each slice, or its table
(PS3.3 C.11.1). What only says how to show it, window, VOI LUT and MONOCHROME1, is left alone. Bits
beyond those that are said to be stored are dropped: overlays were once kept there (PS3.5 8.1.2).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array

from medseg.errors import DataError, Problem
from medseg.io.dicom_codestream import require_claims
from medseg.io.dicom_files import COPY_AGAIN, Held
from medseg.io.dicom_headers import numbers
from medseg.io.dicom_written import silenced
from medseg.io.nifti import Frame, Image
from medseg.scan import Series

_SCANNER = Frame(1, "medseg")
Pixels = NDArray[np.generic]


def read_series(series: Series) -> Image:
    """Read the voxels of a series that `find_series` gave, on its grid.

    Returns:
        Values ``(I, J, K)``, first index fastest, slices along K in the series' order; its own
        warnings go along.

    Raises:
        DataError: E-DCM-TRUNC, pixels that do not decode; E-TOO-LARGE, compressed pixels of
            another size than the header says; E-DCM-CHANGED, another file than when the series was
            found; E-DCM-PIXELS, values that are not finite. All files with faults are told.
    """
    voxels = np.empty(series.grid.shape, np.float32, order="F")
    # What lies at each k: plain files one after another, or the frames of one file.
    places = [[frame - 1 for frame in series.frames]] if series.frames else [[0]] * voxels.shape[2]
    problems: list[Problem] = []
    done = 0
    with silenced():
        for path, frames in zip(series.files, places, strict=True):
            room = voxels[:, :, done : done + len(frames)]
            done += len(frames)
            try:
                _fill(room, path, frames)
            except DataError as error:
                problems += error.problems
    if problems:
        raise DataError(*problems)
    return Image(voxels, series.grid, _SCANNER, series.warnings)


def _fill(room: NDArray[np.float32], path: Path, frames: Sequence[int]) -> None:
    """Put the values of a file's frames, counted from 0, into ``(I, J, frames)`` in that order."""
    pixels, header = _decoded(path)
    columns, rows = room.shape[:2]
    if pixels.size != rows * columns * len(frames) or pixels.shape[-2:] != (rows, columns):
        found, fix = "is not what it was when its series was found", "begin again"
        raise DataError(Problem("E-DCM-CHANGED", str(path), found, f"{len(frames)} frames", fix))
    stored = pixels.reshape(len(frames), rows, columns)
    for k, frame in enumerate(frames):
        try:
            with np.errstate(over="ignore"):
                room[:, :, k] = _values(stored[frame], _rescaling(header, frame)).T
        except (ValueError, TypeError, LookupError):
            found = "its numbers cannot be rescaled"
            expected = "a slope and an intercept, or a table"
            raise DataError(Problem("E-DCM-PIXELS", str(path), found, expected)) from None
    if not np.isfinite(room).all():
        raise DataError(Problem("E-DCM-PIXELS", str(path), "values are not finite", "numbers"))


def _decoded(path: Path) -> tuple[Pixels, Dataset]:
    """Return the stored numbers ``([frames,] rows, columns)``, and the header they came with.

    Raises:
        DataError: E-DCM-TRUNC, E-TOO-LARGE.
    """
    try:
        with Held(path) as stream:
            dataset = dcmread(stream)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            require_claims(dataset, path)
        return pixel_array(dataset, raw=True, view_only=True), dataset
    except DataError:
        raise
    # Decoders raise whatever the bytes that they misunderstand lead to; pydicom may quote them.
    except Exception as error:
        found = f"its pixels do not decode ({type(error).__name__})"
        problem = Problem("E-DCM-TRUNC", str(path), found, "whole pixels", COPY_AGAIN)
        raise DataError(problem) from None


def _values(stored: Pixels, rescaling: Dataset) -> Pixels:
    """Return what stored numbers stand for; themselves where nothing says otherwise.

    Raises:
        ValueError: The numbers to rescale by are incomplete, or are none.
    """
    if rescaling.get("ModalityLUTSequence"):
        values: Pixels = apply_modality_lut(stored, rescaling)
        return values
    if "RescaleSlope" not in rescaling and "RescaleIntercept" not in rescaling:
        return stored
    slope = numbers(rescaling, "RescaleSlope", 1)
    intercept = numbers(rescaling, "RescaleIntercept", 1)
    if slope is None or intercept is None:
        raise ValueError("a slope and an intercept are needed")
    return np.asarray(stored, np.float64) * slope + intercept


def _rescaling(header: Dataset, number: int) -> Dataset:
    """Return what holds a frame's Modality LUT: the header, or one of its functional groups."""
    for keyword, index in (
        ("PerFrameFunctionalGroupsSequence", number),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        groups = header.get(keyword)
        found = groups[index].get("PixelValueTransformationSequence") if groups else None
        if found:
            rescaling: Dataset = found[0]
            return rescaling
    return header
