"""Images and masks wherever they lie, named by a CSV table.

The table is the file in the data folder that the manifest's ``layout.images`` names. Its columns
are ``image`` and ``mask``, paths from the table's folder or absolute, and, if scans share patients,
``patient``; several channels are several columns ``image_0``, ``image_1``, … A file is NIfTI, or a
picture in PNG or TIFF, which is a scan of one slice; the mask of a picture holds the organs' codes,
or, of one organ, whatever `read_mask` takes. A row without mask is a scan without labels.

A patient with one scan gives it its name; of several the scans are ``PATIENT_day1``,
``PATIENT_day2``, … in the table's order. Without patients a scan has its image's name, and those
before ``_day`` and a number are one patient's.

Faults: E-IO, E-EMPTY, E-COLUMNS, E-NAME, E-DUP, E-MISSING, and those of `volumes` and
`medseg.io.pictures`. Warnings: W-EXCLUDED, W-UNLABELLED.
"""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg.data.findings import Findings
from medseg.data.manifest import Manifest
from medseg.data.volumes import volume
from medseg.errors import DataError, MedsegError, Problem
from medseg.io.nifti_names import SUFFIXES, stem_of
from medseg.io.pictures import read_mask, read_picture, read_picture_header
from medseg.io.rle import encode
from medseg.scan import Scan

Fields = Mapping[str, str]
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)


class Row(NamedTuple):
    """One scan of the table: its line there, name, image files and mask, if it has one."""

    line: int
    scan_id: str
    images: tuple[Path, ...]
    mask: Path | None


def survey(
    root: Path, manifest: Manifest, *, exclude: bool = True, labelled: bool = True
) -> Findings:
    """Return the scans of a table in its order, and every problem in it."""
    table = root / manifest.layout.images
    problems: list[Problem] = []
    scans: list[Scan] = []
    try:
        rows = read_table(table)
    except DataError as error:
        return Findings((), error.problems, {})
    for row in rows:
        if exclude and row.scan_id in manifest.excluded:
            text = manifest.excluded[row.scan_id]
            problems.append(Problem("W-EXCLUDED", row.scan_id, text, level="warning"))
        elif labelled and row.mask is None:
            found = "has no mask; left out of training and evaluation"
            problems.append(Problem("W-UNLABELLED", row.scan_id, found, level="warning"))
        else:
            try:
                scans.append(_scan(row if labelled else row._replace(mask=None), manifest))
            except MedsegError as error:
                problems += error.problems
    return Findings(tuple(scans), tuple(problems), {})


def read_table(table: Path) -> list[Row]:
    """Return the rows of a table.

    Raises:
        DataError: The table cannot be read, lacks columns or rows, or a file is missing or named
            twice; all faults are told.
    """
    rows, columns = _read(table)
    problems = [
        Problem("E-MISSING", f"{table.name}:{line}", f"{_short(path)} does not exist", "a file")
        for line, row in rows
        for path in (*_paths(row, columns, table), *_mask(row, table))
        if not _is_file(path)
    ]
    names = _names([row for _, row in rows], columns, table)
    first: dict[str, int] = {}
    for n, name in enumerate(names):
        first.setdefault(name, n)
    problems += [
        Problem("E-DUP", f"{table.name}:{line}", f"a second scan named {_short(name)}", *_ONE)
        for n, ((line, _), name) in enumerate(zip(rows, names, strict=True))
        if first[name] < n
    ]
    problems += [
        Problem("E-NAME", f"{table.name}:{line}", f"{_short(name)!r} names a scan", *_LETTERS)
        for (line, _), name in zip(rows, names, strict=True)
        if not _NAME.fullmatch(name)
    ]
    if not rows:
        problems.append(Problem("E-EMPTY", str(table), "has no rows", "a row a scan"))
    if problems:
        raise DataError(*problems)
    return [
        Row(line, name, _paths(row, columns, table), next(iter(_mask(row, table)), None))
        for (line, row), name in zip(rows, names, strict=True)
    ]


_ONE = ("one", "name the patients in a column 'patient', or rename a file")
_LETTERS = ("letters, digits, _.-",)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, or a folder that may not be entered
        return False


def _short(told: object) -> str:
    text = str(told)
    return text if len(text) <= 500 else f"{text[:500]}…"


def _read(table: Path) -> tuple[list[tuple[int, Fields]], list[str]]:
    """Return the table's rows with their lines, and its columns of images."""
    rows: list[tuple[int, Fields]] = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows += [(reader.line_num, row) for row in reader]
            header = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise DataError(Problem("E-IO", str(table), found, "a CSV file in UTF-8")) from error
    images = [name for name in header if name == "image" or re.fullmatch(r"image_\d+", name)]
    if not images or "mask" not in header:
        found = f"has the columns {', '.join(header) or 'none'}"
        expected = "image (or image_0, image_1, …), mask and, if you have it, patient"
        raise DataError(Problem("E-COLUMNS", str(table), found, expected))
    return rows, images


def _paths(row: Fields, columns: Sequence[str], table: Path) -> tuple[Path, ...]:
    return tuple(table.parent / (row[column] or "").strip() for column in columns)


def _mask(row: Fields, table: Path) -> list[Path]:
    text = (row["mask"] or "").strip()
    return [table.parent / text] if text else []


def _names(rows: Sequence[Fields], columns: Sequence[str], table: Path) -> list[str]:
    patients = [(row.get("patient") or "").strip() for row in rows]
    counts, seen = Counter(patients), Counter[str]()
    names = []
    for row, patient in zip(rows, patients, strict=True):
        seen[patient] += 1
        if not patient:
            image = _paths(row, columns, table)[0]
            names.append(stem_of(image) if image.name.endswith(SUFFIXES) else image.stem)
        else:
            names.append(patient if counts[patient] == 1 else f"{patient}_day{seen[patient]}")
    return names


def _scan(row: Row, manifest: Manifest) -> Scan:
    if row.images[0].name.endswith(SUFFIXES):
        return volume(row.scan_id, row.images, row.mask, manifest)
    if len(row.images) > 1:
        found, expected = f"has {len(row.images)} pictures", "one picture, grey or RGB"
        raise DataError(Problem("E-CHANNELS", row.scan_id, found, expected))
    if manifest.spacing_mm is None:
        fix = "give spacing_mm and axis_codes in the manifest"
        raise DataError(Problem("E-SPACING", row.scan_id, "pictures carry no spacing", fix=fix))
    header = read_picture_header(row.images[0])
    size = header.width_px, header.height_px
    return Scan(
        scan_id=row.scan_id,
        slice_files=row.images,
        slice_numbers=(1,),
        size_px=size,
        spacing_mm=manifest.spacing_mm,
        channels=len(manifest.channels),
        rle=None if row.mask is None else _rows(row.mask, size, manifest),
    )


def _rows(mask: Path, size_px: tuple[int, int], manifest: Manifest) -> dict[str, tuple[str]]:
    organs = manifest.labels.organs
    if len(organs) == 1:
        found = {organs[0].name: read_mask(mask, threshold=manifest.layout.mask_threshold)}
    else:
        codes = read_picture(mask)[..., 0]
        known = {0, *(organ.code for organ in organs)}
        if unknown := sorted(set(np.unique(codes).tolist()) - known):
            expected = f"0 and {', '.join(str(organ.code) for organ in organs)}"
            raise DataError(Problem("E-LABEL", str(mask), f"holds values {unknown[:8]}", expected))
        found = {organ.name: codes == organ.code for organ in organs}
    height, width = next(iter(found.values())).shape
    if (width, height) != size_px:
        text = f"{width} x {height} pixels"
        raise DataError(Problem("E-SIZE", str(mask), text, f"{size_px[0]} x {size_px[1]}"))
    return {name: (encode(each),) for name, each in found.items()}
