"""Scans to measure on: bodies with Rician noise, as hard to compress as real slices."""

from pathlib import Path

import numpy as np

from medseg.io.png import write_slice
from medseg.io.rle import encode
from medseg.scan import Scan

ORGANS = ("large_bowel", "small_bowel", "stomach")


def write_scan(
    folder: Path,
    *,
    number: int = 0,
    slices: int = 144,
    size_px: tuple[int, int] = (266, 266),
    spacing_mm: float = 1.5,
) -> Scan:
    """Write a scan's PNG slices and return it with run-length labels of three organs.

    Args:
        folder: Where a folder for the scan is made.
        number: The patient; it seeds the noise.
        slices: How many; the organs are in the second quarter of them.
        size_px: Columns and rows.
        spacing_mm: Within the slice; between slices it is 3 mm.
    """
    rng = np.random.default_rng(number)
    width, height = size_px
    j, i = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    body = ((i / 0.9) ** 2 + (j / 0.65) ** 2 < 1).astype(np.float32)
    organs = [((i - x) ** 2 + (j - 0.1) ** 2 < 0.06) for x in (-0.4, 0.0, 0.4)]
    own = folder / f"case{number}" / f"case{number}_day0" / "scans"
    own.mkdir(parents=True)
    files = []
    for k in range(slices):
        tissue = body * (220 + 60 * np.sin(7 * i + k / 9) * np.cos(5 * j)) + 90 * sum(organs)
        noise = rng.normal(0, 6, (2, height, width))
        pixels = np.hypot(tissue + noise[0], noise[1]).astype(np.uint16)
        name = f"slice_{k + 1:04d}_{width}_{height}_{spacing_mm:.2f}_{spacing_mm:.2f}.png"
        write_slice(own / name, pixels)
        files.append(own / name)
    rows = {
        name: tuple(encode(mask) if slices // 4 < k < slices // 2 else "" for k in range(slices))
        for name, mask in zip(ORGANS, organs, strict=True)
    }
    return Scan(
        scan_id=f"case{number}_day0",
        slice_files=tuple(files),
        slice_numbers=tuple(range(1, slices + 1)),
        size_px=size_px,
        spacing_mm=(spacing_mm, spacing_mm, 3.0),
        rle=rows,
    )
