"""Submission: predictions as the CSV file that the competition takes."""

from pathlib import Path
from typing import NamedTuple

from medseg.data.label_files import LabelFiles, find_label_files
from medseg.data.manifest import Manifest
from medseg.data.readers import read_scans
from medseg.data.submission import (
    Key,
    Missing,
    encoded,
    submission_keys,
    unmatched,
    write_submission_csv,
)
from medseg.errors import DataError, Problem
from medseg.runs import open_run
from medseg.stages.display import Display


class Submission(NamedTuple):
    """What was written, and the warnings."""

    scans: int
    rows: int
    empty_rows: int
    problems: tuple[Problem, ...]


def write_submission(
    predictions: Path,
    root: Path,
    out: Path,
    manifest: Manifest,
    *,
    display: Display,
    missing: Missing = "refuse",
) -> Submission:
    """Write the rows of every scan of a data set, known bad ones too.

    Args:
        predictions: A folder of label files, see `medseg.data.label_files`, or a run's folder.
        root: The data set's folder; its labels are not looked at.
        out: The CSV file.
        manifest: The labels, and how to read the data set.
        display: Where to show progress.
        missing: What to do about scans without a prediction.

    Raises:
        DataError: A scan has no prediction (E-MISSING), or one that cannot be read or is of other
            voxels (E-GRID); all are told, and nothing is written.
    """
    organs = manifest.labels.names
    scans = {s.scan_id: s for s in read_scans(root, manifest, exclude=False, labelled=False)}
    keys = submission_keys(root, scans, organs)
    files = _found(predictions, manifest)
    problems = unmatched(dict.fromkeys(key.scan_id for key in keys), files, missing=missing)
    rows: dict[Key, str] = {}
    chosen = [scan_id for scan_id in files if scan_id in {key.scan_id for key in keys}]
    display.begin("submission", len(chosen))
    for done, scan_id in enumerate(chosen, 1):
        try:
            rows |= encoded(files[scan_id].read(manifest.labels), scans[scan_id], organs)
        except DataError as error:
            problems += error.problems
        display.advance(done, len(chosen), scan_id)
    if any(problem.level == "error" for problem in problems):
        raise DataError(*problems)
    kept = [key for key in keys if missing == "empty" or key.scan_id in files]
    write_submission_csv(out, kept, rows)
    empty = sum(not rows.get(key) for key in kept)
    return Submission(len({key.scan_id for key in kept}), len(kept), empty, tuple(problems))


def _found(predictions: Path, manifest: Manifest) -> dict[str, LabelFiles]:
    is_run = (predictions / "config.json").is_file()
    folder = open_run(predictions).predictions if is_run else predictions
    return find_label_files(folder, manifest.labels)
