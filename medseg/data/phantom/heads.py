"""A stand-in for the LGG data set: random heads, laid out as Kaggle does.

``OUT/kaggle_3m/TCGA_PH_0417_20010305/TCGA_PH_0417_20010305_1.tif``, ``…_1_mask.tif`` beside it, and
``OUT/kaggle_3m/data.csv``. In every sixth patient FLAIR stands in for a sequence that was not
taken, as it does in the data set. No tissue bank has the code PH.
"""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg.data.phantom.brain import draw_head, render
from medseg.data.phantom.twin import Order, Twin
from medseg.io.pictures import write_picture

FOLDER = "kaggle_3m"
_COLUMNS = [
    "Patient",
    *(f"{what}Cluster" for what in ("RNASeq", "Methylation", "miRNA", "CN")),
    *(f"{what}Cluster" for what in ("RPPA", "Oncosign", "COC")),
    "histological_type",
    "neoplasm_histologic_grade",
    "tumor_tissue_site",
    "laterality",
    "tumor_location",
    "gender",
    "age_at_initial_pathologic",
    "race",
    "ethnicity",
    "death01",
]


class _Task(NamedTuple):
    """One patient to write."""

    folder: Path
    seed: list[int]
    slices: int
    side_px: int
    missing: int | None


def _tasks(out: Path, order: Order) -> list[Callable[[], str]]:
    rng = np.random.default_rng([order.seed, 0])
    patients = order.counts["patients"]
    numbers = np.sort(rng.choice(np.arange(1, 10000), patients, replace=False)).tolist()
    tasks = []
    for n, number in enumerate(numbers):
        year, month, day = rng.integers((1995, 1, 1), (2010, 13, 29)).tolist()
        name = f"TCGA_PH_{number:04d}_{year}{month:02d}{day:02d}"
        slices, side_px = (10, 64) if order.tiny else (int(rng.integers(20, 29)), 256)
        missing = (0, 2)[n // 6 % 2] if n % 6 == 5 else None
        folder = out / FOLDER / name
        tasks.append(_Task(folder, [order.seed, 1, number], slices, side_px, missing))
    return [partial(_write_head, task) for task in tasks]


def _write_head(task: _Task) -> str:
    """Write the slices of one patient and return its name."""
    rng = np.random.default_rng(task.seed)
    head = draw_head(rng, missing=task.missing)
    task.folder.mkdir(parents=True)
    drawn = render(head, rng, slices=task.slices, side_px=task.side_px)
    for n, (pixels, mask) in enumerate(drawn, 1):
        name = f"{task.folder.name}_{n}"
        write_picture(task.folder / f"{name}.tif", pixels)
        write_picture(task.folder / f"{name}_mask.tif", mask * np.uint8(255))
    return task.folder.name


def _write_table(out: Path, names: Sequence[str]) -> None:
    """Write the table of patients; of computed ones there is nothing to tell."""
    with (out / FOLDER / "data.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        for name in names:
            table.writerow([name.rsplit("_", 1)[0], *[""] * (len(_COLUMNS) - 1)])


LGG = Twin(
    counts={"patients": (15, 5000)},
    entries=lambda _: (FOLDER,),
    tasks=_tasks,
    finish=_write_table,
)
