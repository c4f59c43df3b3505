"""The volumes of the viewer: scans and masks as NIfTI files, made when the page asks for them.

All volumes of a case lie on one grid, the scan's own: that of its image, or without one of its
masks. What was made last is kept.
"""

import tempfile
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.data.label_files import PlacedMasks, read_reference
from medseg.errors import DataError, Problem
from medseg.geometry import Grid
from medseg.io.nifti import read_image, write_image, write_mask
from medseg.io.voxels import read_voxels
from medseg.labels import LabelSet
from medseg.report.surfaces import as_mz3, surface
from medseg.report.viewer_cases import Case
from medseg.scan import Scan

Kind = Literal["truth", "pred"]

# A case of three organs is one image, six masks and six surfaces.
_KEPT_FILES = 48
_KEPT_CASES = 3


class Volumes:
    """The files of some cases, each by the number of its case; safe to be shared by threads.

    Args:
        cases: What may be asked for.
        labels: The organs of the masks.
    """

    def __init__(self, cases: Sequence[Case], labels: LabelSet) -> None:
        self._cases = cases
        self._labels = labels
        self._lock = threading.Lock()
        self._image = lru_cache(_KEPT_CASES)(self._read_image)
        self._masks = lru_cache(2 * _KEPT_CASES)(self._read_masks)
        self._file = lru_cache(_KEPT_FILES)(self._make)

    def image(self, number: int) -> bytes:
        """Return a scan as ``.nii.gz``; without an image an empty one on the grid of its masks.

        Raises:
            DataError: It cannot be read.
        """
        with self._lock:
            return self._file(number, "image", "")

    def mask(self, number: int, kind: Kind, organ: str) -> bytes:
        """Return the mask of an organ as ``.nii.gz`` of 0 and 1 on the grid of the scan.

        Raises:
            DataError: It cannot be read or does not lie on the scan's grid; E-MISSING, there is
                none.
        """
        with self._lock:
            return self._file(number, kind, organ)

    def surface(self, number: int, kind: Kind, organ: str) -> bytes:
        """Return the surface of an organ as MZ3, in RAS+ mm; an empty mask has no triangle.

        Raises:
            DataError: As `mask`.
        """
        with self._lock:
            return self._file(number, f"{kind}-surface", organ)

    def _make(self, number: int, kind: str, organ: str) -> bytes:
        if kind == "image":
            return _as_nifti(*self._image(number))
        placed = self._masks(number, kind.removesuffix("-surface"))
        mask = placed.masks[self._labels.channel(organ)]
        if kind.endswith("-surface"):
            return as_mz3(*surface(mask, placed.grid))
        return _as_nifti(mask, placed.grid)

    def _read_image(self, number: int) -> tuple[NDArray[Any], Grid]:
        case = self._cases[number]
        match case.image:
            case Scan():
                return _narrowed(_stacked(case.image)), case.image.grid
            case Path():
                image = read_image(case.image)
                return _narrowed(image.voxels), image.grid
        grid = self._read(case, "pred" if case.pred else "truth").grid
        return np.zeros(grid.shape, np.uint8), grid

    def _read_masks(self, number: int, kind: str) -> PlacedMasks:
        _, grid = self._image(number)
        case = self._cases[number]
        return self._read(case, kind).onto(grid, subject=f"{case.scan_id}, {kind}")

    def _read(self, case: Case, kind: str) -> PlacedMasks:
        source = case.pred if kind == "pred" else case.truth
        if source is None:
            raise DataError(Problem("E-MISSING", case.scan_id, f"has no {kind}"))
        return read_reference(source, self._labels)


def _as_nifti(voxels: NDArray[Any], grid: Grid) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        if voxels.dtype == bool:
            write_mask(path, voxels, grid)
        else:
            write_image(path, voxels, grid)
        return path.read_bytes()


def _stacked(scan: Scan) -> NDArray[np.float32]:
    """Return the first channel ``(I, J, K)`` of a scan exactly as stored."""
    first: NDArray[np.float32] = read_voxels(scan)[0]
    return first.transpose(2, 1, 0)


def _narrowed(voxels: NDArray[np.float32]) -> NDArray[Any]:
    """Return the same numbers in half the bytes where they are whole and small."""
    lowest, highest = voxels.min(initial=0), voxels.max(initial=0)
    narrow: type[np.integer[Any]] = np.uint16 if highest >= 1 << 15 else np.int16
    if lowest < np.iinfo(narrow).min or highest > np.iinfo(narrow).max:
        return voxels
    whole = voxels.astype(narrow)
    return whole if np.array_equal(whole, voxels) else voxels
