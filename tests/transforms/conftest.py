"""Tiny scans on the disk."""

import numpy as np
import pytest

from medseg.io.png import write_slice
from medseg.io.rle import encode
from medseg.scan import Scan


@pytest.fixture
def scan_of(tmp_path):
    """Return a function that writes a volume (K, J, I) as a scan, with masks by organ name."""

    def write(volume, *, masks=None, spacing_mm=(1.5, 1.5, 3.0), case_id="case1"):
        folder = tmp_path / case_id
        folder.mkdir()
        count, height, width = volume.shape
        files = []
        for k, pixels in enumerate(volume):
            files.append(folder / f"slice_{k + 1:04d}_{width}_{height}_1.50_1.50.png")
            write_slice(files[-1], pixels.astype(np.uint16))
        return Scan(
            case_id=case_id,
            day=0,
            slice_files=tuple(files),
            slice_numbers=tuple(range(1, count + 1)),
            size_px=(width, height),
            spacing_mm=spacing_mm,
            rle=None
            if masks is None
            else {name: tuple(map(encode, mask)) for name, mask in masks.items()},
        )

    return write
