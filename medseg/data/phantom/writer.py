"""A stand-in for the UW-Madison GI data set: random patients, laid out as Kaggle does.

``OUT/train/case7/case7_day0/scans/slice_0001_266_266_1.50_1.50.png`` and ``OUT/train.csv``. Every
scan is drawn from its own generator, so one seed gives the same bytes whatever does the work.
``OUT/PHANTOM.txt`` keeps anybody, and the report of a run, from taking them for patients.
"""

import csv
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.render import ORGANS, Frame, draw_patient, render
from medseg.errors import Problem, UsageError
from medseg.io.png import write_slice
from medseg.io.rle import encode

SLICE_MM = 3.0
_MARK = "PHANTOM.txt"
_MARK_TEXT = "Made by medseg. No patient was scanned: these bodies are computed.\n"
_PARTIAL = ".phantom.part"  # scans lie here until all are done; a later call clears it
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


class _Task(NamedTuple):
    """One scan to write."""

    folder: Path
    scan_id: str
    seeds: tuple[list[int], list[int]]
    frame: Frame
    peak: float


def write_phantom(
    out: Path,
    *,
    patients: int = 6,
    days: int = 2,
    seed: int = 0,
    tiny: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write random patients in the layout of the UW-Madison GI data set and return `out`.

    Args:
        out: Folder to fill; made where absent, and refused where it already holds a data set.
        patients: Number of patients, at least 1.
        days: Scans of each patient, at least 1.
        seed: The same seed gives the same bytes; 0 or more.
        tiny: Write dolls for tests: whole bodies with every organ, shrunk to 16 or 20 slices of
            at most 96 x 80 pixels; a scan takes about 0.1 s.
        progress: Called after each scan with the number of scans done and of all.

    Raises:
        UsageError: A number is out of range, or `out` already holds ``train`` or ``train.csv``.
    """
    _require_sound(out, patients=patients, days=days, seed=seed)
    tasks = _tasks(out, patients=patients, days=days, seed=seed, tiny=tiny)
    rows: list[tuple[str, str, str]] = []
    partial = out / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    with ThreadPoolExecutor(_workers()) as pool:
        for done, scan_rows in enumerate(pool.map(_write_scan, tasks), 1):
            rows += scan_rows
            if progress is not None:
                progress(done, len(tasks))
    with (partial / "train.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("id", "class", "segmentation"))
        table.writerows(rows)
    (partial / _MARK).write_text(_MARK_TEXT, encoding="utf-8")
    for name in (_MARK, "train", "train.csv"):
        (partial / name).rename(out / name)
    partial.rmdir()
    return out


def is_phantom(root: Path) -> bool:
    """Whether a data folder says of itself that `write_phantom` made it."""
    return (root / _MARK).is_file()


def _workers() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


def _require_sound(out: Path, *, patients: int, days: int, seed: int) -> None:
    problems = [
        Problem("E-PHANTOM", name, str(value), f"{least} to {most}")
        for name, value, least, most in (
            ("patients", patients, 1, 900),
            ("days", days, 1, 26),
            ("seed", seed, 0, 2**63 - 1),
        )
        if not least <= value <= most
    ]
    problems += [
        Problem("E-EXISTS", str(out / name), "already there", "", "choose an empty folder")
        for name in ("train", "train.csv")
        if (out / name).exists()
    ]
    if problems:
        raise UsageError(*problems)


def _tasks(out: Path, *, patients: int, days: int, seed: int, tiny: bool) -> list[_Task]:
    """Draw names, days, sizes and scales of all scans."""
    rng = np.random.default_rng([seed, 0])
    # Real patients are numbered below 200, some of them known bad; names must not be mistaken.
    cases = np.sort(rng.choice(np.arange(201, 1200), patients, replace=False))
    # Scales are spread evenly over what scanners gave, 384 to 11,206, and dealt at random.
    peaks = np.geomspace(520, 10500, patients * days)[rng.permutation(patients * days)]
    kinds = _DOLLS if tiny else _KINDS
    tasks = []
    for p, case in enumerate(cases.tolist()):
        later = np.sort(rng.choice(np.arange(15, 41), days - 1, replace=False))
        shift = rng.uniform(-10, 12)
        for d, day in enumerate([0, *later.tolist()]):
            n = p * days + d
            frame = _frame(kinds[n % len(kinds)], shift + rng.uniform(-4, 4), tiny=tiny)
            scan_id = f"case{case}_day{day}"
            folder = out / _PARTIAL / "train" / f"case{case}" / scan_id / "scans"
            seeds = [seed, 1, case], [seed, 2, case, day]
            tasks.append(_Task(folder, scan_id, seeds, frame, float(peaks[n])))
    return tasks


def _frame(kind: tuple[tuple[int, int], int, float], shift_mm: float, *, tiny: bool) -> Frame:
    size, slices, spacing = kind
    if tiny:
        return Frame(size, slices, spacing, _DOLL_FIELD_MM / slices, _DOLL_PIXEL_MM, _DOLL_FIRST_MM)
    first = _COARSE_FIRST_MM if slices * SLICE_MM < FIELD_MM else shift_mm
    return Frame(size, slices, spacing, SLICE_MM, spacing, first)


def _write_scan(task: _Task) -> list[tuple[str, str, str]]:
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
