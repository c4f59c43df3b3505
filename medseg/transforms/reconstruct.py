"""From slices to volumes: images and masks on the grid of their scan.

A volume lies in memory slice after slice, as it was read and as it will be trained on; it is
seen as ``(C, I, J, K)``, that is (column, row, slice).
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.geometry import Grid, require_same_grid
from medseg.io import rle
from medseg.io.images import AS_IT_IS, read_source
from medseg.io.nifti import read_label_map
from medseg.io.voxels import read_voxels
from medseg.scan import Scan, Series
from medseg.transforms.placed import Item, grid_of, on_grid


class ReadVolumed(MapTransform):  # type: ignore[misc]
    """Read images into MetaTensors ``(C, I, J, K)`` float32 on the scan's own grid.

    An item's entry is a `Scan`, whose slices are stacked head to feet, or what `read_source` reads,
    of any orientation; then ``frame`` tells what the files say of their affine and ``warnings``
    what they were read in spite of. ``source`` keeps what the image was read from. A MetaTensor was
    read before, and stays.

    Raises:
        DataError: Slices are missing, damaged or of another size; all of a scan at once.
    """

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its images read."""
        item = dict(data)
        for key in self.key_iterator(item):
            source = item[key]
            if not isinstance(source, MetaTensor):
                item["source"] = source
            if isinstance(source, Scan):
                item[key] = _stacked(source)
            elif not isinstance(source, MetaTensor):
                source = source if isinstance(source, Series) else Path(source)
                image = read_source(source, item.get("reading", AS_IT_IS))
                # Slices first in memory, as for PNG: first index fastest.
                item[key] = on_grid(torch.from_numpy(image.voxels)[None], image.grid)
                item["frame"], item["warnings"] = image.frame, image.warnings
        return item


class ReadMasksd(MapTransform):  # type: ignore[misc]
    """Read masks into MetaTensors ``(C, I, J, K)`` uint8 of 0 and 1, a channel an organ.

    An item's entry is a labelled `Scan`, or the path of a NIfTI label map. An organ that is
    nowhere gives zeros.

    Args:
        keys: Entries to read.
        organs: The organs' names in channel order.
        codes: Their integers in a NIfTI label map; 1, 2, 3, … when not given.
        image_key: An image already read, whose grid the masks must share; not needed.
        allow_missing_keys: Whether items without labels pass.

    Raises:
        DataError: The scan has no labels, an organ is not among them, a run length is wrong, or
            the masks lie on another grid than the image; all of a scan at once.
    """

    def __init__(
        self,
        keys: KeysCollection,
        organs: Sequence[str],
        *,
        codes: Sequence[int] = (),
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.organs = tuple(organs)
        self.codes = tuple(codes) or tuple(range(1, len(self.organs) + 1))
        self.image_key = image_key

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its masks read."""
        item = dict(data)
        for key in self.key_iterator(item):
            source = item[key]
            masks, grid = (
                (_decoded(source, self.organs), source.grid)
                if isinstance(source, Scan)
                else _of_label_map(Path(source), self.codes)
            )
            image = item.get(self.image_key)
            if isinstance(image, MetaTensor):
                subject = source.scan_id if isinstance(source, Scan) else str(source)
                require_same_grid(grid_of(image), grid, subject=subject)
            item[key] = on_grid(torch.from_numpy(masks), grid)
        return item


def _stacked(scan: Scan) -> MetaTensor:
    voxels = torch.from_numpy(read_voxels(scan))  # (C, K, J, I)
    return on_grid(voxels.permute(0, 3, 2, 1), scan.grid)


def _decoded(scan: Scan, organs: Collection[str]) -> NDArray[np.uint8]:
    """Return the masks ``(C, I, J, K)`` of a labelled scan, slices first in memory."""
    if scan.rle is None:
        raise DataError(Problem("E-UNLABELLED", scan.scan_id, "has no labels", "run-length rows"))
    width, height = scan.size_px
    subjects = [file.stem for file in scan.slice_files] or [
        f"{scan.scan_id} slice {number}" for number in scan.slice_numbers
    ]
    missing = [organ for organ in organs if organ not in scan.rle]
    rows = [row for organ in organs for row in scan.rle.get(organ, ())]
    problems = [
        Problem("E-CLASS", scan.scan_id, f"has no rows for {organ}", ", ".join(scan.rle))
        for organ in missing
    ]
    # All organs in one go: the array that comes back is the one that is kept.
    names = [f"{each} {organ}" for organ in organs for each in subjects if organ in scan.rle]
    if problems:
        raise DataError(*problems, *rle.problems(rows, (height, width), subjects=names))
    masks = rle.decode_slices(rows, (height, width), subjects=names).view(np.uint8)
    return masks.reshape(len(organs), len(subjects), height, width).transpose(0, 3, 2, 1)


def _of_label_map(path: Path, codes: Sequence[int]) -> tuple[NDArray[np.uint8], Grid]:
    label_map, grid = read_label_map(path)
    masks = np.empty((len(codes), *label_map.shape[::-1]), np.uint8)
    for channel, code in enumerate(codes):
        np.equal(label_map.T, code, out=masks[channel], casting="unsafe")
    return masks.transpose(0, 3, 2, 1), grid
