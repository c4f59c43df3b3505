"""A tiny data set in Kaggle's layout, made to be broken by tests."""

import csv
import zlib
from pathlib import Path

import numpy as np

from medseg.io.png import write_slice

ORGANS = ("large_bowel", "small_bowel", "stomach")


def picture(size_px, number, *, seed=0):
    """Return a smooth picture that changes slowly from slice to slice, ``(H, W)`` uint16."""
    width, height = size_px
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    wave = np.sin(2 * np.pi * x + 0.2 * number + seed) + np.cos(2 * np.pi * y + 0.1 * number)
    return (1000 + 300 * wave).astype(np.uint16)


class KaggleLayout:
    """A root folder with ``train`` and the rows of ``train.csv``, which `save` writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows = []

    def add(
        self, scan_id, *, numbers=range(1, 7), size_px=(24, 16), spacing="1.50_1.50", seed=None
    ):
        """Write a scan; every third row of each slice shows a stomach of three pixels."""
        width, height = size_px
        folder = self.folder(scan_id)
        folder.mkdir(parents=True, exist_ok=True)
        seed = zlib.crc32(scan_id.encode()) if seed is None else seed
        for number in numbers:
            name = f"slice_{number:04d}_{width}_{height}_{spacing}.png"
            write_slice(folder / name, picture(size_px, number, seed=seed))
            for organ in ORGANS:
                rle = "2 3" if organ == "stomach" else ""
                self.rows.append([f"{scan_id}_slice_{number:04d}", organ, rle])
        return self

    def folder(self, scan_id):
        return self.root / "train" / scan_id.split("_")[0] / scan_id / "scans"

    def file(self, scan_id, number):
        (found,) = self.folder(scan_id).glob(f"slice_{number:04d}_*.png")
        return found

    def row(self, scan_id, number, organ):
        """Return the row of an organ on a slice, a list [id, class, segmentation] to change."""
        key = [f"{scan_id}_slice_{number:04d}", organ]
        return next(row for row in self.rows if row[:2] == key)

    def save(self):
        """Write ``train.csv`` and return the root."""
        with (self.root / "train.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id", "class", "segmentation"], *self.rows])
        return self.root
