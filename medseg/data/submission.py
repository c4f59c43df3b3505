"""The file that the UW-Madison GI competition takes: the columns id, class and predicted.

A row an organ and slice, in the order of ``sample_submission.csv`` where the data set has one with
rows, and else in natural order of scan, slice and organ. The masks are run-length rows as in
`medseg.io.rle`; an organ that is not there has an empty one.
"""

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from medseg.data.kaggle_csv import SUBMITTED, read_labels
from medseg.data.label_files import PlacedMasks
from medseg.data.slice_folder import ranges
from medseg.errors import DataError, Problem
from medseg.io.atomic import replacing
from medseg.io.rle import encode
from medseg.scan import Scan

SAMPLE = "sample_submission.csv"

# What to do about scans without a prediction: refuse, write that they show nothing, leave them out.
Missing = Literal["refuse", "empty", "skip"]


class Key(NamedTuple):
    """What a row is about."""

    scan_id: str
    number: int
    organ: str

    @property
    def slice_id(self) -> str:
        """The slice's name in the file, such as ``case123_day20_slice_0001``."""
        return f"{self.scan_id}_slice_{self.number:04d}"


def submission_keys(
    root: Path, scans: Mapping[str, Scan], organs: Sequence[str]
) -> tuple[Key, ...]:
    """Return what the rows must be about, in their order.

    Args:
        root: The folder of the data set; of ``train`` or ``test`` in it, the sample may lie beside.
        scans: The scans of the data set by id, in natural order.
        organs: The names of the classes.

    Raises:
        DataError: The sample is faulty, or asks for slices that the data set has not (E-ORPHAN).
    """
    places = [root, root.absolute().parent] if root.name in {"train", "test"} else [root]
    sample = next((place / SAMPLE for place in places if (place / SAMPLE).exists()), None)
    asked = _sampled(sample, organs) if sample else []
    strangers = _strangers(asked, scans)
    if strangers:
        raise DataError(*strangers)
    natural = [
        Key(scan_id, number, organ)
        for scan_id, scan in scans.items()
        for number in scan.slice_numbers
        for organ in organs
    ]
    return tuple(asked or natural)


def encoded(masks: PlacedMasks, scan: Scan, organs: Sequence[str]) -> dict[Key, str]:
    """Return the run-length row of every organ and slice of a scan.

    Args:
        masks: One mask ``(I, J, K)`` an organ; on another grid than the scan's they are turned,
            not resampled.
        scan: The scan.
        organs: The names of the masks.

    Raises:
        GeometryError: The masks are not of the scan's voxels (E-GRID).
    """
    placed = masks.onto(scan.grid, subject=scan.scan_id).masks
    return {
        Key(scan.scan_id, number, organ): encode(mask[:, :, k].T)
        for organ, mask in zip(organs, placed, strict=True)
        for k, number in enumerate(scan.slice_numbers)
    }


def unmatched(
    asked: Collection[str], predicted: Collection[str], *, missing: Missing
) -> list[Problem]:
    """Return what is to be said of scans that only one side has, by their ids.

    That no scan at all is predicted is an error, and so is any that is not, but for what `missing`
    allows; a prediction of another scan is worth a warning.
    """
    lost = [scan_id for scan_id in asked if scan_id not in predicted]
    surplus = [scan_id for scan_id in predicted if scan_id not in asked]
    refused = missing == "refuse" or len(lost) == len(asked)
    problems = [_lost(scan_id, missing, refused=refused) for scan_id in lost]
    unused = "is predicted, but is no scan that rows are asked of; left out"
    return problems + [Problem("W-SURPLUS", s, unused, level="warning") for s in surplus]


def _lost(scan_id: str, missing: Missing, *, refused: bool) -> Problem:
    found = "has no prediction"
    if refused:
        fix = "predict it, or give --missing-as-empty or --only-predicted"
        return Problem("E-MISSING", scan_id, found, "one of every scan", fix)
    what = "its rows are empty" if missing == "empty" else "its rows are left out"
    return Problem("W-MISSING", scan_id, f"{found}; {what}", level="warning")


def write_submission_csv(path: Path, keys: Iterable[Key], rows: Mapping[Key, str]) -> None:
    """Write the file; what `rows` does not hold is an organ that is not there."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(SUBMITTED)
    table.writerows((key.slice_id, key.organ, rows.get(key, "")) for key in keys)
    with replacing(path) as stream:
        stream.write(text.getvalue().encode())


def _sampled(sample: Path, organs: Sequence[str]) -> list[Key]:
    """Return the keys of a sample in its order."""
    labels = read_labels(sample, organs, forms=(SUBMITTED,))
    if any(problem.level == "error" for problem in labels.problems):
        raise DataError(*labels.problems)
    lines = {
        Key(scan_id, number, organ): row.line
        for scan_id, rows in labels.scans.items()
        for (number, organ), row in rows.items()
    }
    return sorted(lines, key=lines.__getitem__)


def _strangers(keys: Iterable[Key], scans: Mapping[str, Scan]) -> list[Problem]:
    """Return a problem for each scan of which the data set lacks slices."""
    asked: dict[str, set[int]] = {}
    for key in keys:
        asked.setdefault(key.scan_id, set()).add(key.number)
    fix = "name the folder that holds them with --data, such as its folder test"
    problems = []
    for scan_id, numbers in asked.items():
        lost = sorted(numbers - set(scans[scan_id].slice_numbers if scan_id in scans else ()))
        if lost:
            found = f"{SAMPLE} asks for slices that are not there: {ranges(lost)}"
            problems.append(Problem("E-ORPHAN", scan_id, found, "a slice for each id", fix))
    return problems
