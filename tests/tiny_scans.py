"""Scans of a few pixels, written to the disk for a test."""

import numpy as np

from medseg.io.png import write_slice
from medseg.io.rle import encode
from medseg.scan import Scan


def write_scan(folder, volume, *, masks=None, spacing_mm=(1.5, 1.5, 3.0), case_id="case1"):
    """Write a volume (K, J, I) of grey values as a scan, with masks (K, J, I) by organ."""
    (folder / case_id).mkdir(parents=True)
    count, height, width = volume.shape
    files = []
    for k, pixels in enumerate(volume):
        files.append(folder / case_id / f"slice_{k + 1:04d}_{width}_{height}_1.50_1.50.png")
        write_slice(files[-1], pixels.astype(np.uint16))
    rows = {name: tuple(map(encode, mask)) for name, mask in (masks or {}).items()}
    return Scan(
        scan_id=f"{case_id}_day0",
        slice_files=tuple(files),
        slice_numbers=tuple(range(1, count + 1)),
        size_px=(width, height),
        spacing_mm=spacing_mm,
        rle=None if masks is None else rows,
    )


def item_of(scan):
    """Return the MONAI item of a scan."""
    item = {"scan_id": scan.scan_id, "case_id": scan.case_id, "image": scan}
    return item if scan.rle is None else {**item, "label": scan}


def write_small_scan(folder, case_id="case1", *, seed=0):
    """Write a scan of three slices, ten rows and eight columns, with the organs a and b."""
    volume = np.random.default_rng(seed).integers(0, 900, (3, 10, 8))
    masks = {"a": np.zeros((3, 10, 8), bool), "b": np.zeros((3, 10, 8), bool)}
    masks["a"][1, 0, 2:4] = True
    masks["b"][1, 0, 3:5] = True
    masks["a"][2, 9, 7] = True
    return write_scan(folder, volume, masks=masks, case_id=case_id)
