"""The two sides of a comparison: whatever holds the masks of scans.

Either side may be

- a folder of NIfTI: label maps ``<scan_id>.nii.gz``, masks ``<scan_id>_<organ>.nii.gz``, or both;
- a run's folder, whose ``predictions/`` is such a folder;
- the folder of a data set, laid out as its manifest says;
- a table of run-length rows, a CSV file with the columns id, class and segmentation or predicted;
  the slices that its rows are about are those of a data set.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from medseg.data.findings import log_warnings
from medseg.data.kaggle_csv import COLUMNS, SUBMITTED, Row, read_labels
from medseg.data.label_files import LabelFiles, LabelRows, find_label_files, natural
from medseg.data.manifest import Manifest
from medseg.data.readers import is_data_set, read_scans
from medseg.data.slice_folder import ranges
from medseg.data.splits import read_splits
from medseg.errors import DataError, Problem, UsageError
from medseg.scan import Scan

Side = Mapping[str, LabelFiles | LabelRows]


def find_sides(
    predictions: Path, reference: Path, manifest: Manifest, *, data: Path | None = None
) -> tuple[Side, Side]:
    """Return what holds the masks of each scan, on both sides, in natural order.

    Nothing but names and tables is read; faults of one scan are kept for when it is.

    Args:
        predictions: See above.
        reference: See above; of a data set, scans that the manifest excludes are left out.
        manifest: The facts of the data set.
        data: The data set that tables are about; None takes the side that is one.

    Raises:
        DataError: A side holds nothing (E-EMPTY), is of another kind (E-FORMAT), or is faulty as
            a whole, as `find_label_files`, `read_scans` and `read_labels` say.
        UsageError: A table has no data set to be about (E-DATA).
    """
    scans_of = lru_cache(partial(read_scans, manifest=manifest))
    roots = [data, *(side for side in (reference, predictions) if is_data_set(side, manifest))]
    about = next((root for root in roots if root), None)

    def found(side: Path) -> Side:
        if side.is_file():
            return _table(side, manifest, lambda: scans_of(about) if about else None)
        if is_data_set(side, manifest):
            return {scan.scan_id: LabelRows(scan.scan_id, scan) for scan in scans_of(side)}
        # `medseg.runs` knows more of runs, and lies above.
        folder = side / "predictions" if (side / "config.json").is_file() else side
        try:
            return find_label_files(folder, manifest.labels)
        except DataError:
            _refuse_dicom(folder)
            raise

    return found(predictions), found(reference)


def held_out(side: Path) -> frozenset[str] | None:
    """Return the scans that a run neither learnt from nor was chosen by; None of what is no run.

    Raises:
        DataError: Its split cannot be read, or its configuration does not tell its fold.
    """
    config, splits = side / "config.json", side / "splits.json"
    if not (config.is_file() and splits.is_file()):
        return None
    try:
        fold = int(json.loads(config.read_text(encoding="utf-8"))["fold"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError, OverflowError) as error:
        found = f"does not tell its fold: {type(error).__name__}"
        fix = "name its folder predictions/, to score all scans in it"
        raise DataError(Problem("E-RUN", str(config), found, '"fold": 0', fix)) from error
    return frozenset(read_splits(splits).fold(fold).test)


def _refuse_dicom(folder: Path) -> None:
    if next(folder.rglob("*.dcm"), None):
        found = "holds DICOM, which cannot be compared yet"
        expected = "NIfTI, a table of run-length rows, a data set or a run"
        fix = "export its segmentations as NIfTI, a mask an organ"
        raise DataError(Problem("E-FORMAT", str(folder), found, expected, fix)) from None


def _table(
    table: Path, manifest: Manifest, scans_of_data: Callable[[], Iterable[Scan] | None]
) -> Side:
    if table.suffix.lower() != ".csv":
        fix = "name the folder that it lies in"
        raise DataError(Problem("E-FORMAT", str(table), "is no table", "a CSV or a folder", fix))
    labels = read_labels(table, manifest.labels.names, forms=(COLUMNS, SUBMITTED))
    if any(problem.level == "error" for problem in labels.problems):
        raise DataError(*labels.problems)
    log_warnings(labels.problems)
    scans = scans_of_data()
    if scans is None:
        found = "run-length rows do not say what size their slices are"
        fix = "give the folder of the data set with --data"
        raise UsageError(Problem("E-DATA", str(table), found, "slices", fix))
    known = {scan.scan_id: scan for scan in scans}
    return {
        scan_id: _rows(scan_id, known.get(scan_id), rows=labels.scans[scan_id], manifest=manifest)
        for scan_id in sorted(labels.scans.keys() - manifest.excluded.keys(), key=natural)
    }


def _rows(
    scan_id: str,
    scan: Scan | None,
    *,
    rows: Mapping[tuple[int, str], Row],
    manifest: Manifest,
) -> LabelRows:
    """Return the rows of a scan; those of a table where some lack, or are too many, are faulty."""
    if scan is None:
        fix = "is --data the right data set?"
        found = f"has {len(rows)} rows, but no slices"
        return LabelRows(scan_id, None, (Problem("E-ORPHAN", scan_id, found, "slices", fix),))
    organs, numbers = manifest.labels.names, set(scan.slice_numbers)
    faults = []
    if lost := sorted(n for n in numbers if any((n, organ) not in rows for organ in organs)):
        found = f"{len(lost)} of {len(numbers)} slices lack rows: {ranges(lost)}"
        expected = "a row for each organ and slice, empty where the organ is absent"
        faults.append(Problem("E-NOROW", scan_id, found, expected))
    if surplus := sorted({n for n, _ in rows} - numbers):
        found = f"rows for {len(surplus)} slices that the scan has not: {ranges(surplus)}"
        faults.append(Problem("E-ORPHAN", scan_id, found, "a slice for each id"))
    if faults:
        return LabelRows(scan_id, scan, tuple(faults))
    rle = {organ: tuple(rows[n, organ].rle for n in scan.slice_numbers) for organ in organs}
    return LabelRows(scan_id, replace(scan, rle=rle))
