"""The cases of the viewer: where the scan, the truth and the prediction of each come from.

Nothing is decoded here: a case holds paths and run lengths, `medseg.report.viewer_volumes` reads
them when the page asks.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from medseg.data.label_files import LabelFiles, find_label_files, find_references
from medseg.data.manifest import Manifest
from medseg.data.readers import read_scans
from medseg.io.nifti_names import stem_of, volumes_in
from medseg.labels import LabelSet
from medseg.metrics.scores import OrganScore
from medseg.report.scores import read_csv
from medseg.scan import Scan

_SHOWN = ("dice", "hd95_mm")


class Case(NamedTuple):
    """One scan of the list; what is None is not there.

    Attributes:
        scan_id: Its name.
        image: Its slices, or a NIfTI file.
        truth: Its reference masks.
        pred: Its predicted masks.
        scores: Of each organ that was scored, in no order.
    """

    scan_id: str
    image: Scan | Path | None
    truth: LabelFiles | Scan | None
    pred: LabelFiles | None
    scores: tuple[OrganScore, ...]


def find_cases(
    predictions: Path,
    manifest: Manifest,
    *,
    images: Path | None = None,
    reference: Path | None = None,
    scores: Path | None = None,
) -> list[Case]:
    """Return every scan that is predicted or scored, in natural order of the files.

    Args:
        predictions: A folder of label files, see `medseg.data.label_files`.
        manifest: The labels, and how to read a data set.
        images: A folder of NIfTI files named by scan, or a data set's root.
        reference: A folder of label files, or a data set's root.
        scores: What ``medseg evaluate --csv`` wrote.

    Raises:
        DataError: There is nothing to show (E-EMPTY), or a folder holds faults.
    """
    pred = find_label_files(predictions, manifest.labels)
    truth = find_references(reference, manifest) if reference else {}
    shared = {name: scan for name, scan in truth.items() if isinstance(scan, Scan)}
    image = shared if images == reference and shared else _images(images, manifest)
    by_scan: dict[str, list[OrganScore]] = {}
    for score in read_csv(scores) if scores else ():
        by_scan.setdefault(score.scan_id, []).append(score)
    return [
        Case(name, image.get(name), truth.get(name), pred.get(name), tuple(by_scan.get(name, ())))
        for name in dict.fromkeys((*pred, *by_scan))
    ]


def _images(folder: Path | None, manifest: Manifest) -> Mapping[str, Scan | Path]:
    if folder is None:
        return {}
    if files := volumes_in(folder):
        return {stem_of(path): path for path in files}
    return {scan.scan_id: scan for scan in read_scans(folder, manifest)}


def as_plain(cases: Sequence[Case], labels: LabelSet, *, title: str) -> dict[str, object]:
    """Return what the page lists, for JSON: NaN becomes None, and infinity the text ``inf``."""
    organs = [{"name": organ.name, "colour": organ.colour} for organ in labels.organs]
    return {"title": title, "organs": organs, "cases": [_plain(case) for case in cases]}


def _plain(case: Case) -> dict[str, object]:
    there = {kind: getattr(case, kind) is not None for kind in ("image", "truth", "pred")}
    scores = {
        score.organ: {
            "status": score.status,
            **{name: _number(getattr(score, name)) for name in _SHOWN},
        }
        for score in case.scores
    }
    return {"scan_id": case.scan_id, **there, "scores": scores}


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf"
