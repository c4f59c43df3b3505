import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from real_ranges import (
    REAL,
    REAL_EMPTY_SHARE,
    REAL_EXTREME_MM2,
    REAL_MEAN_MM2,
    REAL_OVERLAP_SHARE,
)

from medseg.data.statistics import organ_statistics, scan_statistics
from medseg.scan import Scan


def scan(rle, *, size_px=(4, 3), spacing_mm=1.5, case="case1", first=1):
    """Return a scan without pictures: statistics open none."""
    count = len(next(iter(rle.values())))
    return Scan(
        scan_id=f"{case}_day0",
        slice_files=tuple(Path(f"{n}.png") for n in range(count)),
        slice_numbers=tuple(range(first, first + count)),
        size_px=size_px,
        spacing_mm=(spacing_mm, spacing_mm, 3.0),
        rle=rle,
    )


def test_an_organ_is_measured_in_slices_and_square_millimetres():
    # 2, 4 and 1 pixels of 1.5 mm x 1.5 mm = 4.5, 9 and 2.25 mm2; slice 5 is a gap.
    rows = ("", "1 2", "1 4", "", "12 1", "")
    (row,) = organ_statistics([scan({"stomach": rows}, first=2)])
    assert row == ("case1_day0", "stomach", 3, 6, 3, 1, pytest.approx(5.25), 2.25, 9.0)


def test_an_organ_that_no_slice_shows_is_all_zero():
    (row,) = organ_statistics([scan({"stomach": ("", "")})])
    assert row[2:] == (0, 0, 0, 0, 0.0, 0.0, 0.0)


def test_a_scan_without_labels_has_no_statistics():
    unlabelled = Scan("case1_day0", (Path("1.png"),), (1,), (4, 3), (1.5, 1.5, 3.0))
    assert organ_statistics([unlabelled]) == []
    assert scan_statistics([unlabelled]) == []


def test_overlaps_are_counted_by_slice_and_pixel():
    # Slice 1 is empty; slice 2 shares pixels 2 and 3; slice 3 holds both organs apart.
    (row,) = scan_statistics([scan({"a": ("", "1 3", "1 2"), "b": ("", "2 5", "3 2")})])
    assert row == ("case1_day0", 3, 1, 1, 2)


def real_scans(shared_data):
    """Return the 13 scans of the samples that are labelled from end to end."""
    files = (shared_data / "uwmgi_labels" / "filenames.txt").read_text(encoding="utf-8").split()
    root = shared_data / "uwmgi_scan"
    files += [str(path.relative_to(root)) for path in root.rglob("case6_day20/scans/*.png")]
    rows = {}
    for folder in ("uwmgi_labels", "uwmgi_scan"):
        with (shared_data / folder / "train.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows[row["id"], row["class"]] = row["segmentation"]
    slices = defaultdict(dict)
    for path in map(Path, files):
        _, number, width, height, *_ = path.stem.split("_")
        slices[path.parts[2]][int(number)] = (int(width), int(height))
    for scan_id, sizes in slices.items():
        size_px = next(iter(sizes.values()))
        # The label folder names labelled slices only; each scan has 144.
        rle = {
            organ: tuple(rows.get((f"{scan_id}_slice_{n:04d}", organ), "") for n in range(1, 145))
            for organ in REAL
        }
        yield scan(rle, size_px=size_px, case=scan_id)


def test_the_real_scans_give_these_ranges(shared_data):
    scans = list(real_scans(shared_data))
    assert len(scans) == 13
    organs = organ_statistics(scans)
    assert {row.gaps for row in organs} == {0}
    for organ, ranges in REAL.items():
        own = [row for row in organs if row.organ == organ]
        for name, (low, high) in ranges.items():
            values = [getattr(row, name) for row in own]
            assert (min(values), max(values)) == (low, high), (organ, name)
        means = [row.mean_mm2 for row in own]
        assert (min(means), max(means)) == pytest.approx(REAL_MEAN_MM2[organ], abs=1)
        extremes = min(row.min_mm2 for row in own), max(row.max_mm2 for row in own)
        assert extremes == pytest.approx(REAL_EXTREME_MM2[organ], abs=1)
    whole = scan_statistics(scans)
    empty = [row.empty / row.slices for row in whole]
    overlap = [row.overlapping / (row.slices - row.empty) for row in whole]
    assert (min(empty), max(empty)) == pytest.approx(REAL_EMPTY_SHARE, abs=1e-3)
    assert (min(overlap), max(overlap)) == pytest.approx(REAL_OVERLAP_SHARE, abs=1e-3)
    assert np.mean(overlap) == pytest.approx(0.34, abs=0.03)
