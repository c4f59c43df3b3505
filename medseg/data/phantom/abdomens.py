"""A stand-in for the UW-Madison GI data set: random patients, laid out as Kaggle does.

``OUT/train/case7/case7_day0/scans/slice_0001_266_266_1.50_1.50.png`` and ``OUT/train.csv``. Every
scan is drawn from its own generator, so one seed gives the same bytes whatever does the work.
"""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.render import ORGANS, Frame, draw_patient, render
from medseg.data.phantom.twin import Order, Twin
from medseg.io.png import write_slice
from medseg.io.rle import encode

SLICE_MM = 3.0
FIELD_MM = 432.0  # what 144 slices see of a body

# Below this nobody has drawn large bowel, small bowel, stomach: 23, 56 and 64 px of 1.5 mm.
_LEAST_MM2 = (52.0, 126.0, 144.0)

_COMMON = ((266, 266), 144, 1.5)
_WIDE = ((360, 310), 144, 1.5)
_COARSE = ((276, 276), 80, 1.63)
# Of the 274 real scans 180 are common, 78 wide and 15 coarse; days of one patient may differ.
_KINDS = (_COMMON, _WIDE, _COARSE, *3 * (_COMMON,), _WIDE, _WIDE, _COMMON, _COMMON)
_DOLLS = (((80, 80), 20, 1.5), ((80, 80), 20, 1.5), ((96, 80), 20, 1.5), ((72, 72), 16, 1.63))
_DOLL_PIXEL_MM = 4.6
_DOLL_FIRST_MM, _DOLL_FIELD_MM = 92.0, 265.0
# An 80-slice scan sees 240 mm: from just above the stomach to just below the bowel.
_COARSE_FIRST_MM = 116.0


Rows = list[tuple[str, str, str]]


class _Task(NamedTuple):
    """One scan to write."""

    folder: Path
    scan_id: str
    seeds: tuple[list[int], list[int]]
    frame: Frame
    peak: float


def _tasks(out: Path, order: Order) -> list[Callable[[], Rows]]:
    """Draw names, days, sizes and scales of all scans."""
    patients, days, seed = order.counts["patients"], order.counts["days"], order.seed
    rng = np.random.default_rng([seed, 0])
    # Real patients are numbered below 200, some of them known bad; names must not be mistaken.
    cases = np.sort(rng.choice(np.arange(201, 1200), patients, replace=False))
    # Scales are spread evenly over what scanners gave, 384 to 11,206, and dealt at random.
    peaks = np.geomspace(520, 10500, patients * days)[rng.permutation(patients * days)]
    kinds = _DOLLS if order.tiny else _KINDS
    tasks: list[Callable[[], Rows]] = []
    for p, case in enumerate(cases.tolist()):
        later = np.sort(rng.choice(np.arange(15, 41), days - 1, replace=False))
        shift = rng.uniform(-10, 12)
        for d, day in enumerate([0, *later.tolist()]):
            n = p * days + d
            frame = _frame(kinds[n % len(kinds)], shift + rng.uniform(-4, 4), tiny=order.tiny)
            scan_id = f"case{case}_day{day}"
            folder = out / "train" / f"case{case}" / scan_id / "scans"
            seeds = [seed, 1, case], [seed, 2, case, day]
            task = _Task(folder, scan_id, seeds, frame, float(peaks[n]))
            tasks.append(partial(_write_scan, task))
    return tasks


def _frame(kind: tuple[tuple[int, int], int, float], shift_mm: float, *, tiny: bool) -> Frame:
    size, slices, spacing = kind
    if tiny:
        return Frame(size, slices, spacing, _DOLL_FIELD_MM / slices, _DOLL_PIXEL_MM, _DOLL_FIRST_MM)
    first = _COARSE_FIRST_MM if slices * SLICE_MM < FIELD_MM else shift_mm
    return Frame(size, slices, spacing, SLICE_MM, spacing, first)


def _write_scan(task: _Task) -> Rows:
    """Write the slices of one scan and return its rows of ``train.csv``."""
    patient = draw_patient(np.random.default_rng(task.seeds[0]))
    rng = np.random.default_rng(task.seeds[1])
    (width, height), spacing = task.frame.size_px, task.frame.spacing_mm
    task.folder.mkdir(parents=True)
    rle: list[list[str]] = []
    area_px: list[NDArray[np.int64]] = []
    pictures = render(patient, task.frame, peak=task.peak, rng=rng)
    for n, (pixels, masks) in enumerate(pictures, 1):
        name = f"slice_{n:04d}_{width}_{height}_{spacing:.2f}_{spacing:.2f}.png"
        write_slice(task.folder / name, pixels)
        rle.append([encode(mask) for mask in masks])
        area_px.append(masks.sum((1, 2)))
    drawn = np.array(area_px) * task.frame.pixel_mm**2 >= _LEAST_MM2
    kept = np.stack([_longest_run(column) for column in drawn.T], axis=1)
    return [
        (f"{task.scan_id}_slice_{n:04d}", organ, text if keep else "")
        for n, (texts, keeps) in enumerate(zip(rle, kept, strict=True), 1)
        for organ, text, keep in zip(ORGANS, texts, keeps, strict=True)
    ]


def _longest_run(drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the longest run of True: an organ is drawn from its first slice to its last, no gaps."""
    edges = np.flatnonzero(np.diff(drawn, prepend=False, append=False))
    kept = np.zeros_like(drawn)
    if len(edges):
        runs = edges.reshape(-1, 2)
        start, stop = runs[(runs[:, 1] - runs[:, 0]).argmax()]
        kept[start:stop] = True
    return kept


def _write_table(out: Path, scans: Sequence[Rows]) -> None:
    with (out / "train.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("id", "class", "segmentation"))
        for rows in scans:
            table.writerows(rows)


UWMGI = Twin(
    counts={"patients": (6, 900), "days": (2, 26)},
    entries=lambda _: ("train", "train.csv"),
    tasks=_tasks,
    finish=_write_table,
)
