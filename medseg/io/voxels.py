"""The voxels of a scan, whatever files they are in."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.geometry import require_same_grid
from medseg.io.nifti import read_image
from medseg.io.pictures import read_picture
from medseg.io.png import read_slice
from medseg.scan import Scan

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def read_voxels(scan: Scan) -> NDArray[np.float32]:
    """Return the values of a scan as stored, ``(C, K, J, I)``: slices as they are numbered.

    Raises:
        DataError: Slices or volumes are missing, damaged, or of another size or number of channels
            than the scan says; all of a scan at once.
    """
    return _of_volumes(scan) if scan.volume_files else _of_slices(scan)


def read_pixels(path: Path, *, channels: int = 1) -> Pixels:
    """Return one slice as stored, ``(channels, H, W)``.

    Raises:
        DataError: As `read_slice` for grey PNG and `read_picture` for all else; E-CHANNELS.
    """
    if channels == 1 and path.suffix.lower() == ".png":
        return read_slice(path)[None]
    pixels = read_picture(path)
    if pixels.shape[2] != channels:
        found = f"{pixels.shape[2]} channels"
        raise DataError(Problem("E-CHANNELS", str(path), found, f"{channels}"))
    return pixels.transpose(2, 0, 1)


def _of_slices(scan: Scan) -> NDArray[np.float32]:
    width, height = scan.size_px
    volume = np.empty((scan.channels, len(scan.slice_files), height, width), np.float32)
    problems: list[Problem] = []
    for k, path in enumerate(scan.slice_files):
        try:
            pixels = read_pixels(path, channels=scan.channels)
        except DataError as error:
            problems.extend(error.problems)
            continue
        if pixels.shape[1:] == (height, width):
            volume[:, k] = pixels
        else:
            found = f"{pixels.shape[2]} x {pixels.shape[1]} pixels"
            problems.append(Problem("E-SIZE", str(path), found, f"{width} x {height}"))
    if not scan.slice_files:
        problems.append(Problem("E-EMPTY", scan.scan_id, "no slices", "at least one"))
    if problems:
        raise DataError(*problems)
    return volume


def _of_volumes(scan: Scan) -> NDArray[np.float32]:
    channels = []
    for path in scan.volume_files:
        image = read_image(path)
        require_same_grid(scan.grid, image.grid, subject=str(path))
        channels.append(image.voxels.T)  # (K, J, I), as it lies in memory
    return np.stack(channels)
