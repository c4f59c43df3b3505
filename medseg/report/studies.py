"""All studies of a folder of predictions in one table: ``studies.csv``, and ``report.html``."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medseg.io.atomic import replacing
from medseg.io.output_names import output_names
from medseg.labels import LabelSet
from medseg.report.model_card import RESEARCH_ONLY
from medseg.report.page import number, rendered

Record = Mapping[str, Any]


class StudyRow(NamedTuple):
    """A study on the page: its volumes as text by organ, what to know of it, and its picture."""

    scan_id: str
    status: str
    volumes_ml: tuple[str, ...]
    remarks: tuple[str, ...]
    picture: str


def write_studies(folder: Path, records: Sequence[Record], labels: LabelSet) -> None:
    """Write ``studies.csv`` and ``report.html``, a row a study.

    Args:
        folder: Where the predictions are.
        records: Of each study, as it was written or with the ``codes`` of what went wrong.
        labels: The organs.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    rows = [_row(record, labels) for record in records]
    with replacing(folder / "studies.csv") as stream:
        stream.write(_table(rows, labels).encode())
    page = rendered("studies.html", rows=rows, labels=labels, research_only=RESEARCH_ONLY)
    with replacing(folder / "report.html") as stream:
        stream.write(page.encode())


def _row(record: Record, labels: LabelSet) -> StudyRow:
    found = {organ["organ"]: organ for organ in record.get("organs", ())}
    volumes = tuple(
        number(found[name]["volume_ml"], 1) if name in found else "" for name in labels.names
    )
    told = [*record.get("codes", ()), *(f"{c['code']}: {c['found']}" for c in _checks(record))]
    scan_id, files = record["scan_id"], record.get("files", ())
    # A record tells names; those of BIDS lie in folders of their own.
    previews = (output_names(Path(), scan_id, bids=bids).preview for bids in (False, True))
    picture = next((path.as_posix() for path in previews if path.name in files), "")
    return StudyRow(scan_id, record["status"], volumes, tuple(told), picture)


def _checks(record: Record) -> Sequence[Mapping[str, str]]:
    checks: Sequence[Mapping[str, str]] = record.get("checks", ())
    return checks


def _table(rows: Sequence[StudyRow], labels: LabelSet) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan_id", "status", *(f"{name}_ml" for name in labels.names), "remarks"])
    for row in rows:
        writer.writerow([row.scan_id, row.status, *row.volumes_ml, "; ".join(row.remarks)])
    return text.getvalue()
