"""Masks of a scan: NIfTI files, or run-length rows and the slices that they are about.

A folder holds a label map a scan, ``<scan_id>.nii.gz``, or a mask an organ,
``<scan_id>_<organ>.nii.gz``, or both: then the masks win, for only they keep overlaps. Files of
probabilities, ``…_probs.nii.gz``, are passed over.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.data.manifest import Manifest
from medseg.data.readers import is_data_set, read_scans
from medseg.errors import DataError, Problem
from medseg.geometry import Grid, axis_maps, require_same_grid
from medseg.io.nifti import read_label_map
from medseg.io.nifti_names import stem_of, volumes_in
from medseg.io.rle import decode_slices
from medseg.labels import LabelSet
from medseg.scan import Scan

Mask = NDArray[np.bool_]


class PlacedMasks(NamedTuple):
    """One mask ``(I, J, K)`` an organ, in the order of the label set, and the grid of all."""

    masks: list[Mask]
    grid: Grid

    def onto(self, grid: Grid, *, subject: str) -> "PlacedMasks":
        """Return the masks with axes flipped and permuted so that they lie on `grid`.

        No voxel is interpolated: the grids must hold the same voxels, in whatever order.

        Raises:
            GeometryError: They do not, within 0.001 mm.
        """
        turned = self.grid.reoriented(grid.axis_codes)
        require_same_grid(grid, turned, subject=subject)
        axes = axis_maps(self.grid, turned)
        order = [axis.source_axis for axis in axes]
        runs = tuple(slice(None, None, int(np.sign(axis.scale))) for axis in axes)
        return PlacedMasks([mask.transpose(order)[runs] for mask in self.masks], grid)


@dataclass
class LabelFiles:
    """The NIfTI files of one scan: a label map, masks by organ, or both."""

    scan_id: str
    label_map: Path | None = None
    masks: dict[str, Path] = field(default_factory=dict)

    def read(self, labels: LabelSet) -> PlacedMasks:
        """Return the scan's masks.

        Raises:
            DataError: A file cannot be read, holds another code than the labels', or lies elsewhere
                than the others of the scan (E-GRID); or an organ has no file (E-MISSING).
        """
        found: dict[str, tuple[Mask, Grid]] = {}
        if self.label_map is not None:
            codes = {organ.code for organ in labels.organs}
            label_map, grid = _coded(self.label_map, codes)
            found = {o.name: (label_map == o.code, grid) for o in labels.organs}
        for organ, path in self.masks.items():
            mask, grid = _coded(path, {1})
            found[organ] = mask.astype(bool), grid
        missing = [name for name in labels.names if name not in found]
        if missing:
            fix = "write a label map, or a mask for every organ"
            raise DataError(
                Problem("E-MISSING", self.scan_id, f"no mask of {', '.join(missing)}", "", fix)
            )
        first = found[labels.names[0]][1]
        for name in labels.names:
            require_same_grid(first, found[name][1], subject=f"{self.scan_id}, {name}")
        return PlacedMasks([found[name][0] for name in labels.names], first)


class LabelRows(NamedTuple):
    """The run-length rows of one scan.

    Attributes:
        scan_id: The scan's name.
        scan: Its slices and rows; None where it is known by name alone.
        faults: What keeps its rows from being masks.
    """

    scan_id: str
    scan: Scan | None
    faults: tuple[Problem, ...] = ()

    def read(self, labels: LabelSet) -> PlacedMasks:
        """Return the scan's masks, overlaps kept.

        Raises:
            DataError: The faults; E-UNLABELLED, an organ without rows; or those of
                `medseg.io.rle`, each row named by its slice.
        """
        if self.scan is None or self.faults:
            raise DataError(*self.faults)
        rle, (width, height) = self.scan.rle or {}, self.scan.size_px
        missing = [name for name in labels.names if name not in rle]
        if missing:
            found = f"has no rows of {', '.join(missing)}"
            raise DataError(Problem("E-UNLABELLED", self.scan_id, found, "rows in train.csv"))
        slices = [f"{self.scan_id}_slice_{number:04d}" for number in self.scan.slice_numbers]
        by_organ = (
            decode_slices(
                rle[name], (height, width), subjects=[f"{each} {name}" for each in slices]
            )
            for name in labels.names
        )
        return PlacedMasks([mask.transpose(2, 1, 0) for mask in by_organ], self.scan.grid)


def find_label_files(folder: Path, labels: LabelSet) -> dict[str, LabelFiles]:
    """Return the label files in a folder by scan, in natural order.

    Raises:
        DataError: There is none (E-EMPTY), or two files claim one place (E-DUP).
    """
    found: dict[str, LabelFiles] = {}
    problems = []
    for path in volumes_in(folder):
        stem = stem_of(path)
        if stem.endswith("_probs"):
            continue
        # The longest, for one organ's name may end as another's does.
        fitting = [name for name in labels.names if stem.endswith(f"_{name}")]
        organ = max(fitting, key=len, default=None)
        scan_id = stem.removesuffix(f"_{organ}") if organ else stem
        files = found.setdefault(scan_id, LabelFiles(scan_id))
        before = files.masks.get(organ) if organ else files.label_map
        if before is not None:
            problems.append(Problem("E-DUP", str(path), f"{before.name} says the same", "one"))
        elif organ:
            files.masks[organ] = path
        else:
            files.label_map = path
    if not found:
        expected = "<scan>.nii.gz or <scan>_<organ>.nii.gz"
        problems.append(Problem("E-EMPTY", str(folder), "holds no label files", expected))
    if problems:
        raise DataError(*problems)
    return {scan_id: found[scan_id] for scan_id in sorted(found, key=natural)}


def find_references(root: Path, manifest: Manifest) -> Mapping[str, LabelFiles | Scan]:
    """Return what holds the reference masks of each scan, in natural order.

    Args:
        root: A folder of label files, or a data set as its manifest says.
        manifest: The facts of the data set; scans that it excludes are left out of the latter.

    Raises:
        DataError: As `find_label_files` or `medseg.data.readers.read_scans`.
    """
    if not is_data_set(root, manifest):
        return find_label_files(root, manifest.labels)
    return {scan.scan_id: scan for scan in read_scans(root, manifest)}


def read_reference(source: LabelFiles | Scan, labels: LabelSet) -> PlacedMasks:
    """Return the masks of a reference; those of a scan are its original, overlapping ones.

    Raises:
        DataError: As `LabelFiles.read` and `LabelRows.read`.
    """
    readable = source if isinstance(source, LabelFiles) else LabelRows(source.scan_id, source)
    return readable.read(labels)


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Return a key to sort names by: numbers count as such, so that case2 comes before case10."""
    return tuple(_parts(name))


def unmatched(references: Collection[str], predictions: Collection[str]) -> list[Problem]:
    """Return a warning for each scan that only one side has, by its id."""
    missed = "has no prediction; every organ counts as missed"
    unused = "is predicted, but is no scan of the reference; not scored"
    lost = [scan_id for scan_id in references if scan_id not in predictions]
    surplus = [scan_id for scan_id in predictions if scan_id not in references]
    return [
        *(Problem("W-MISSING", scan_id, missed, level="warning") for scan_id in lost),
        *(Problem("W-SURPLUS", scan_id, unused, level="warning") for scan_id in surplus),
    ]


def _coded(path: Path, codes: set[int]) -> tuple[NDArray[np.uint8], Grid]:
    label_map, grid = read_label_map(path)
    known = {0, *codes}
    # Where codes have no gaps the highest tells, ten times as fast as listing them.
    if len(known) > max(known) and int(label_map.max(initial=0)) in known:
        return label_map, grid
    unknown = sorted({int(code) for code in np.unique(label_map)} - known)
    if unknown:
        expected = f"0 and {', '.join(map(str, sorted(codes)))}"
        fix = "was it made with another set of labels?"
        raise DataError(Problem("E-LABEL", str(path), f"holds codes {unknown}", expected, fix))
    return label_map, grid


def _parts(name: str) -> Iterator[tuple[str, int]]:
    # A table's name may have thousands of digits, of which Python makes no number.
    for word, digits in re.findall(r"(\D*)(\d{0,18})", name):
        yield word, int(digits or -1)
