"""Folders of small masks to compare, and what came of it."""

import numpy as np

from medseg.data.manifest import read_manifest
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_mask
from medseg.io.rle import decode_slices

MANIFEST = read_manifest("uwmgi")
LABELS = MANIFEST.labels
SHAPE = (10, 8, 6)
GRID = lpi_grid(SHAPE, (1.5, 1.5, 3.0))


def box(i, n):
    """A bar of `n` voxels along I from `i`."""
    mask = np.zeros(SHAPE, bool)
    mask[i : i + n, 3, 2] = True
    return mask


EMPTY = box(0, 0)


def write_masks(folder, scan_id, *, grid=GRID, **masks):
    """Write a mask an organ; those that are not given are empty."""
    folder.mkdir(exist_ok=True)
    for organ in LABELS.names:
        write_mask(folder / f"{scan_id}_{organ}.nii.gz", masks.get(organ, EMPTY), grid)


def decoded(scan, organ):
    """Return an organ's mask ``(I, J, K)`` of a scan's run-length rows."""
    width, height = scan.size_px
    return decode_slices(scan.rle[organ], (height, width)).transpose(2, 1, 0)


def codes(problems):
    """Return code and file name, or scan, of each problem."""
    return [(problem.code, problem.subject.split("/")[-1]) for problem in problems]


def organ_of(evaluation, name="stomach"):
    """Return the summary of an organ."""
    return next(organ for organ in evaluation.summary.organs if organ.organ == name)
