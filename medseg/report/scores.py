"""Scores as people and programs read them: a table of text, CSV, JSON."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.errors import DataError, Problem
from medseg.io.atomic import replacing
from medseg.metrics.scores import OrganScore
from medseg.metrics.summary import OrganSummary, Summary
from medseg.scan import case_id_of

COLUMNS = ("scan_id", "case_id", *OrganScore._fields[1:])
_NUMBERS = OrganScore._fields[3:]

_LEGEND = """\
found: mean over the n scans where the organ is there and was predicted.
all:   mean over the n scans where it is there or was predicted; missed and false positives count 0.
sens.: share of the scans with the organ in which it was predicted; spec.: share of those without it
       in which it was left out. Scans without it on both sides ("neither") are in no mean."""


def write_csv(path: Path, scores: Sequence[OrganScore]) -> None:
    """Write a row an organ and scan, columns `COLUMNS`; a number that does not exist is ``nan``."""
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for score in scores:
        numbers = {name: f"{getattr(score, name):.6g}" for name in _NUMBERS}
        rows.writerow({**score._asdict(), "case_id": case_id_of(score.scan_id), **numbers})
    with replacing(path) as stream:
        stream.write(text.getvalue().encode())


def read_csv(path: Path) -> list[OrganScore]:
    """Return the scores that `write_csv` wrote.

    Raises:
        DataError: A column is missing, or a number is none (E-CSV).
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [_score(row) for row in rows]
    except (KeyError, ValueError) as fault:
        expected = f"columns {', '.join(COLUMNS)}"
        fix = "write it with 'medseg evaluate --csv'"
        raise DataError(Problem("E-CSV", str(path), f"no scores: {fault}", expected, fix)) from None


def _score(row: Mapping[str, str]) -> OrganScore:
    names = {name: row[name] for name in ("scan_id", "organ", "status")}
    return OrganScore(**names, **{name: float(row[name]) for name in _NUMBERS})  # type: ignore[arg-type]


def summary_text(summary: Summary) -> str:
    """Return a table with a line an organ, each mean beside the number of scans it is over."""
    lines = [
        f"{summary.n_scans} scans",
        f"{'':<14}{'ok':>6}{'missed':>8}{'false+':>8}{'neither':>9}"
        f"{'Dice found':>17}{'Dice all':>17}{'IoU all':>17}{'sens.':>8}{'spec.':>8}",
    ]
    lines += [_line(organ) for organ in summary.organs]
    return "\n".join([*lines, "", _LEGEND])


def as_plain(scores: Sequence[OrganScore], summary: Summary) -> dict[str, object]:
    """Return scores and summary for JSON: NaN becomes None, and infinity the text ``inf``."""
    return {
        "n_scans": summary.n_scans,
        "organs": [_plain(organ._asdict()) for organ in summary.organs],
        "scores": [_plain(score._asdict()) for score in scores],
    }


def _line(organ: OrganSummary) -> str:
    found, counted = organ.n_ok, organ.n_penalised
    return (
        f"{organ.organ:<14}{organ.n_ok:>6}{organ.n_missed:>8}{organ.n_false_positive:>8}"
        f"{organ.n_both_empty:>9}{_mean(organ.found['dice'], found):>17}"
        f"{_mean(organ.penalised['dice'], counted):>17}{_mean(organ.penalised['iou'], counted):>17}"
        f"{_number(organ.sensitivity):>8}{_number(organ.specificity):>8}"
    )


def _mean(value: float, n: int) -> str:
    return f"{_number(value)} (n={n})"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    return {key: _plain_value(value) for key, value in row.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _plain(value)
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)
