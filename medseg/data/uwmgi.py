"""UW-Madison GI: from the folder of the competition to scans.

``ROOT/train/caseN/caseN_dayD/scans/slice_....png`` and ``ROOT/train.csv``; ROOT may be ``train``
itself. Names, headers, label table and run-length rows are checked; no pixel is decoded. The
distance between slices and the known bad scans come from the manifest.

Faults: those of `slice_folder`, `kaggle_csv` and `rle`, and E-ORPHAN for rows without image.
Warnings: W-EXCLUDED (known bad scan left out), W-NOROW (scan left out, as rows are missing).
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from medseg.data.findings import Findings, log_warnings
from medseg.data.kaggle_csv import Labels, Row, read_labels
from medseg.data.manifest import Manifest
from medseg.data.slice_folder import (
    SliceFolder,
    is_text,
    own_grid,
    ranges,
    read_slice_folder,
    unreadable,
)
from medseg.errors import DataError, Problem
from medseg.io import rle
from medseg.scan import Scan

_CASE = re.compile(r"case\d{1,9}", re.ASCII)
_SCAN = re.compile(r"(case\d{1,9})_day(\d{1,9})", re.ASCII)
_LAYOUT = "train/caseN/caseN_dayD/scans"


def survey(
    root: Path, manifest: Manifest, *, exclude: bool = True, labelled: bool = True
) -> Findings:
    """Return the scans of a data set in natural order of case and day, and every problem in it.

    Without ``train.csv`` the scans have no labels.

    Args:
        root: The folder with ``train`` and ``train.csv``, or ``train`` itself.
        manifest: The facts of the data set.
        exclude: Leave out the scans that the manifest knows to be bad.
        labelled: Read ``train.csv``, and leave out scans without rows; else no scan has labels.
    """
    problems: list[Problem] = []
    train, table = _locate(Path(root), problems)
    organs = manifest.labels.names
    labels = read_labels(table, organs) if table and labelled else None
    problems += labels.problems if labels else []
    scans: list[Scan] = []
    folders: dict[str, SliceFolder] = {}
    seen = set()
    for folder, scan_id in _scan_folders(train, problems) if train else ():
        seen.add(scan_id)
        if exclude and scan_id in manifest.excluded:
            text = manifest.excluded[scan_id]
            problems.append(Problem("W-EXCLUDED", scan_id, text, level="warning"))
            continue
        folders[scan_id] = read_slice_folder(folder / "scans", scan_id)
        scan, faults = _read_scan(scan_id, folders[scan_id], manifest, labels)
        problems += faults
        scans += [scan] if scan else []
    problems += _orphans(labels, seen)
    if not (scans or any(problem.level == "error" for problem in problems)):
        problems.append(Problem("E-EMPTY", str(root), "no scan to use", f"{_LAYOUT}/slice_….png"))
    return Findings(tuple(scans), tuple(problems), folders)


def read_scan_folder(path: Path, manifest: Manifest) -> Scan:
    """Return one scan, without labels, from ``.../caseN_dayD`` or the folder ``scans`` in it.

    Raises:
        DataError: The folder's name is no scan's, or anything is wrong with its slices.
    """
    # A relative path such as "." has no name of its own.
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    folder, name = (
        (path, whole.parent.name) if whole.name == "scans" else (path / "scans", whole.name)
    )
    if not _SCAN.fullmatch(name):
        raise DataError(
            Problem("E-NAME", str(path), "is no scan's folder", "caseN_dayD, such as case123_day20")
        )
    scan, problems = _read_scan(name, read_slice_folder(folder, name), manifest, None)
    if scan is None:
        raise DataError(*problems)
    log_warnings(problems)
    return scan


def _locate(root: Path, problems: list[Problem]) -> tuple[Path | None, Path | None]:
    """Return the folder of cases, and the label table or None."""
    if not root.is_dir():
        found = "is no folder" if root.exists() else "does not exist"
        problems.append(Problem("E-IO", str(root), found, f"a folder with {_LAYOUT}"))
        return None, None
    train = root / "train" if (root / "train").is_dir() else root
    tables = [root / "train.csv", train / "train.csv"]
    if root.absolute().name == "train":
        tables.append(root.absolute().parent / "train.csv")
    return train, next((table for table in tables if table.exists()), None)


def _scan_folders(train: Path, problems: list[Problem]) -> Iterator[tuple[Path, str]]:
    """Yield each scan's folder and id in natural order; what fits no name is a problem."""
    for case in _folders(train, _CASE, "caseN, such as case123", problems):
        pattern = re.compile(rf"{case.name}_day\d{{1,9}}", re.ASCII)
        for day in _folders(case, pattern, f"{case.name}_dayD", problems):
            yield day, day.name


def _folders(
    parent: Path, pattern: re.Pattern[str], expected: str, problems: list[Problem]
) -> list[Path]:
    found = []
    try:
        entries = list(os.scandir(parent))
    except OSError as error:
        problems.append(unreadable(parent, error))
        return []
    for entry in sorted(entries, key=lambda entry: entry.name):
        path = parent / entry.name
        if not is_text(entry.name):
            problems.append(Problem("E-IO", str(path), "name is no UTF-8 text", expected))
        elif pattern.fullmatch(entry.name):
            found.append(path)
        elif not entry.name.startswith((".", "__")) and path.is_dir():
            problems.append(Problem("E-NAME", str(path), "is no such folder's name", expected))
    return sorted(found, key=lambda path: int(re.findall(r"\d+", path.name)[-1]))


def _read_scan(
    scan_id: str, slices: SliceFolder, manifest: Manifest, labels: Labels | None
) -> tuple[Scan | None, list[Problem]]:
    """Return a scan, or None when it cannot be used, and its problems."""
    problems = list(slices.problems)
    rows = None
    if labels is not None and slices.names:
        rows = labels.scans.get(scan_id, {})
        problems += _label_faults(scan_id, slices, rows)
        missing = _missing_rows(slices, rows, manifest.labels.names)
        # Rows that the table lost to a fault of its own are told there.
        if missing and not any(problem.level == "error" for problem in labels.problems):
            text = f"{len(missing)} of {len(slices.names)} slices lack rows; scan left out"
            what = "a row for each organ and slice, empty where the organ is absent"
            problems.append(Problem("W-NOROW", scan_id, text, what, level="warning"))
        if missing:
            return None, problems
    if any(problem.level == "error" for problem in problems):
        return None, problems
    return _scan(scan_id, slices, manifest, rows), problems


def _scan(
    scan_id: str,
    slices: SliceFolder,
    manifest: Manifest,
    rows: Mapping[tuple[int, str], Row] | None,
) -> Scan:
    name = slices.names[0]
    x_mm, y_mm = name.spacing_mm or (0.0, 0.0)  # None is a fault, and never comes here
    by_organ = None
    if rows is not None:
        by_organ = {
            organ: tuple(_clean(rows[number, organ].rle) for number in slices.numbers)
            for organ in manifest.labels.names
        }
    spacing_mm = (x_mm, y_mm, manifest.spacing_z_mm or 0.0)
    return Scan(
        scan_id=scan_id,
        slice_files=slices.files,
        slice_numbers=slices.numbers,
        size_px=name.size_px,
        spacing_mm=spacing_mm,
        rle=by_organ,
        own_grid=own_grid((*name.size_px, len(slices.files)), spacing_mm, manifest.axis_codes),
    )


def _clean(text: str) -> str:
    return "" if rle.is_empty(text) else text


def _missing_rows(
    slices: SliceFolder, rows: Mapping[tuple[int, str], Row], organs: tuple[str, ...]
) -> list[int]:
    return [n for n in slices.numbers if any((n, organ) not in rows for organ in organs)]


def _label_faults(
    scan_id: str, slices: SliceFolder, rows: Mapping[tuple[int, str], Row]
) -> list[Problem]:
    """Return the faults of a scan's rows: runs that are wrong, and rows without a slice."""
    known = set(slices.numbers)
    problems = []
    orphans = sorted({number for number, _ in rows if number not in known})
    if orphans:
        found = f"rows for {len(orphans)} slices without image: {ranges(orphans)}"
        fix = "restore the images or remove the rows"
        problems.append(Problem("E-ORPHAN", scan_id, found, "an image for each id", fix))
    width, height = slices.names[0].size_px
    texts = [row.rle for row in rows.values()]
    subjects = [
        f"train.csv:{row.line}: {scan_id}_slice_{number:04d} {organ}"
        for (number, organ), row in rows.items()
    ]
    return problems + rle.problems(texts, (height, width), subjects=subjects)


def _orphans(labels: Labels | None, seen: set[str]) -> list[Problem]:
    """Return a problem for each scan that has rows and no folder."""
    if labels is None:
        return []
    return [
        Problem(
            "E-ORPHAN",
            scan_id,
            f"{len(rows)} rows without images",
            f"{_LAYOUT} for each id",
            "restore the images or remove the rows",
        )
        for scan_id, rows in labels.scans.items()
        if scan_id not in seen
    ]
