"""To DICOM: a volume of another format as a series of slices, for tests and demonstrations."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.data.studies import inference_items
from medseg.errors import Problem, UsageError
from medseg.geometry import Grid
from medseg.io.dicom_secondary import Secondary, write_secondary
from medseg.io.images import read_source
from medseg.io.voxels import read_voxels
from medseg.scan import Scan, Series


def to_dicom(volume: Path, folder: Path, *, manifest: str) -> Secondary:
    """Write a volume as a DICOM series into a folder that is empty or not there.

    Args:
        volume: A file, or the folder of a scan's slices.
        folder: Where to write.
        manifest: The data set whose rules a folder of slices follows.

    Raises:
        UsageError: There is not one volume of one grey value a voxel, or the folder holds files.
        DataError: The volume is faulty.
        ResourceError: The disk is full or the folder cannot be written.
    """
    items = inference_items(volume, manifest=manifest)
    if len(items) != 1:
        found, fix = f"holds {len(items)} scans", "name one of them"
        raise UsageError(Problem("E-INPUT", str(volume), found, "one volume", fix))
    voxels, grid = _read(items[0]["image"], volume)
    return write_secondary(folder, voxels, grid)


def _read(image: Path | Scan | Series, volume: Path) -> tuple[NDArray[np.float32], Grid]:
    """Return the voxels ``(I, J, K)`` of an image, and where they lie."""
    if isinstance(image, Series):
        raise UsageError(Problem("E-INPUT", str(volume), "is DICOM already", "another format"))
    if isinstance(image, Path):
        read = read_source(image)
        return read.voxels, read.grid
    if image.channels != 1:
        found = f"has {image.channels} values a voxel"
        raise UsageError(Problem("E-INPUT", str(volume), found, "one grey value"))
    return read_voxels(image)[0].T, image.grid
