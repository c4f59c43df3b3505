"""LGG brain MRI: from the folder of the Kaggle data set to scans, one a patient.

``ROOT/kaggle_3m/TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_7.tif`` and ``…_7_mask.tif``; ROOT may
be ``kaggle_3m`` or one patient's folder. Red, green and blue are three MR sequences. Numbers order
the slices and may begin anywhere, but none may be missing: pictures stacked across a gap would
shorten the patient. ``data.csv`` is only compared with the folders.

Faults: E-IO, E-NAME, E-EMPTY, E-DUP, E-GAP, E-ORPHAN (a mask without picture), E-TOO-LARGE, and
those of `drawn`. Warnings: W-DUP, W-IGNORED, W-SHORT, W-EXCLUDED, W-TABLE, and W-UNLABELLED.
"""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medseg.data.drawn import Drawn, Survey, organ_of, survey_drawn
from medseg.data.findings import Findings
from medseg.data.label_files import natural
from medseg.data.manifest import Manifest
from medseg.data.slice_folder import (
    MAX_SLICES,
    SliceFolder,
    SliceName,
    gaps,
    is_text,
    unreadable,
    without_copies,
)
from medseg.errors import Problem
from medseg.scan import case_id_of

FOLDER = "kaggle_3m"
_SCAN = re.compile(r"TCGA_[A-Z0-9]{2}_[A-Z0-9]{4}_\d{8}", re.ASCII)
_EXAMPLE = "such as TCGA_CS_4941_19960909"
_PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


class _Named(NamedTuple):
    """The slices of a folder, ascending, and what is wrong with their names."""

    slices: list[Drawn]
    problems: list[Problem]


def survey(
    root: Path, manifest: Manifest, *, exclude: bool = True, labelled: bool = True
) -> Findings:
    """Return the scans of a folder in natural order, and every problem in it."""
    organ_of(manifest)
    problems: list[Problem] = []
    inside = root / FOLDER if (root / FOLDER).is_dir() else root
    found = _scan_folders(inside, problems)
    files = {
        path.name: _named(path)
        for path in found
        if not (exclude and _left_out(path.name, manifest, problems))
    }
    # Without a single mask the folder is one to predict on, not one that lost its labels.
    labelled = labelled and any(each.mask for named in files.values() for each in named.slices)
    results = {name: _survey(name, named, manifest, labelled) for name, named in files.items()}
    problems += [problem for each in results.values() for problem in each.folder.problems]
    problems += _table_warnings(inside / "data.csv", [path.name for path in found])
    scans = tuple(each.scan for each in results.values() if each.scan)
    if not (scans or any(problem.level == "error" for problem in problems)):
        expected = f"{FOLDER}/TCGA_…/TCGA_…_1.tif"
        problems.append(Problem("E-EMPTY", str(root), "no scan to use", expected))
    return Findings(scans, tuple(problems), {name: each.folder for name, each in results.items()})


def _scan_folders(inside: Path, problems: list[Problem]) -> list[Path]:
    """Return the patients' folders in natural order; what fits no name is a problem."""
    if _SCAN.fullmatch(inside.absolute().name):
        return [inside.absolute()]
    found = []
    for path in _entries(inside, problems):
        if not is_text(path.name):
            problems.append(Problem("E-IO", str(path), "name is no UTF-8 text", _EXAMPLE))
        elif _SCAN.fullmatch(path.name):
            found.append(path)
        elif path.is_dir() and not path.name.startswith((".", "__")):
            problems.append(Problem("E-NAME", str(path), "is no patient's folder", _EXAMPLE))
    return sorted(found, key=lambda path: natural(path.name))


def _entries(folder: Path, problems: list[Problem]) -> list[Path]:
    try:
        return sorted(folder / entry.name for entry in os.scandir(folder))
    except OSError as error:
        problems.append(unreadable(folder, error))
        return []


def _left_out(scan_id: str, manifest: Manifest, problems: list[Problem]) -> bool:
    if scan_id not in manifest.excluded:
        return False
    problems.append(Problem("W-EXCLUDED", scan_id, manifest.excluded[scan_id], level="warning"))
    return True


def _named(folder: Path) -> _Named:
    """Return the slices of a folder; what is none of them is a problem."""
    problems: list[Problem] = []
    pattern = re.compile(rf"{folder.name}_(\d{{1,9}})(_mask)?\.tiff?", re.ASCII | re.IGNORECASE)
    pictures: list[tuple[Path, SliceName]] = []
    masks: list[tuple[Path, SliceName]] = []
    ignored: list[str] = []
    for path in _entries(folder, problems):
        match = pattern.fullmatch(path.name)
        if match:
            name = SliceName(int(match[1]), (0, 0), None)
            (masks if match[2] else pictures).append((path, name))
        elif not is_text(path.name) or (path.suffix.lower() in _PICTURES and path.name[0] != "."):
            expected = f"{folder.name}_1.tif or {folder.name}_1_mask.tif"
            problems.append(Problem("E-NAME", str(path), "is no slice of this scan", expected))
        else:
            ignored.append(path.name)
    if ignored:
        text = f"{len(ignored)} files are no slices, the first is {ignored[0]!r}; ignored"
        problems.append(Problem("W-IGNORED", str(folder), text, level="warning"))
    drawn, kept = (
        {
            name.number: path
            for path, name in without_copies(sorted(found, key=lambda f: f[1].number), problems)
        }
        for found in (masks, pictures)
    )
    for number in sorted(drawn.keys() - kept.keys()):
        fix = "restore the picture or remove the mask"
        found = "is a mask without a picture"
        problems.append(Problem("E-ORPHAN", str(drawn[number]), found, "one for each", fix))
    slices = [Drawn(number, path, drawn.get(number)) for number, path in sorted(kept.items())]
    return _Named(slices, problems)


def _survey(scan_id: str, named: _Named, manifest: Manifest, labelled: bool) -> Survey:
    slices, problems = named
    if not slices:
        fix = "remove the folder or restore its slices"
        empty = Problem("E-EMPTY", scan_id, "no slices", f"{scan_id}_1.tif", fix)
        return Survey(None, SliceFolder((), (), [*problems, empty]))
    problems += gaps(
        scan_id, [(each.picture, SliceName(each.number, (0, 0), None)) for each in slices]
    )
    if len(slices) > MAX_SLICES:
        found = f"{len(slices)} slices"
        problems.append(Problem("E-TOO-LARGE", scan_id, found, f"at most {MAX_SLICES}"))
    if len(slices) < 3:
        found = f"slices in the scan: {len(slices)}; a slice's neighbours are repeats of them"
        problems.append(Problem("W-SHORT", scan_id, found, "3 or more", level="warning"))
    seen = survey_drawn(scan_id, slices, manifest, labelled=labelled)
    broken = any(problem.level == "error" for problem in problems)
    folder = seen.folder._replace(problems=problems + seen.folder.problems)
    return Survey(None if broken else seen.scan, folder)


def _table_warnings(table: Path, scan_ids: Sequence[str]) -> list[Problem]:
    """Return how the table of patients and the folders differ; there need not be a table."""
    if not table.exists():
        return []
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        listed = {row["Patient"].strip() for row in rows}
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        found = f"cannot be read as a table with a column Patient: {error}; not needed"
        return [Problem("W-TABLE", str(table), found, level="warning")]
    there = {case_id_of(scan_id) for scan_id in scan_ids}
    return [
        Problem("W-TABLE", str(table), f"{what}: {', '.join(sorted(names)[:8])}", level="warning")
        for what, names in (
            (f"{len(listed - there)} patients have no folder", listed - there),
            (f"{len(there - listed)} patients have no row", there - listed),
        )
        if names
    ]
