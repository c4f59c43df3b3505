"""Scores as files and text: CSV, JSON, Markdown, and lines for a terminal."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from medseg.errors import DataError, Problem
from medseg.io.atomic import replacing
from medseg.metrics.scores import OrganScore
from medseg.metrics.summary import Summary
from medseg.report.reported import Reported, reported_markdown, reported_plain
from medseg.report.score_tables import aligned, legend, markdown, tables, worst_lines
from medseg.scan import case_id_of

COLUMNS = ("scan_id", "case_id", *OrganScore._fields[1:])
_NUMBERS = OrganScore._fields[3:]
_NOTHING = Reported()


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
        DataError: The file cannot be read (E-IO), or is no such table: a column is missing, or a
            number is none (E-CSV).
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_score(row) for row in csv.DictReader(file)]
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        raise DataError(Problem("E-IO", str(path), found)) from error
    # A row that is cut short has None in the place of a number, which is a TypeError.
    except (KeyError, ValueError, TypeError, csv.Error) as fault:
        expected = f"columns {', '.join(COLUMNS)}"
        fix = "write it with 'medseg evaluate --csv'"
        found = f"no scores: {str(fault)[:200]}"
        raise DataError(Problem("E-CSV", str(path), found, expected, fix)) from None


def _score(row: Mapping[str, str]) -> OrganScore:
    names = {name: row[name] for name in ("scan_id", "organ", "status")}
    return OrganScore(**names, **{name: float(row[name]) for name in _NUMBERS})  # type: ignore[arg-type]


def save_scores(
    folder: Path,
    scores: Sequence[OrganScore],
    summary: Summary,
    problems: Sequence[Problem] = (),
    *,
    reported: Reported = _NOTHING,
) -> None:
    """Write ``scores.csv``, ``summary.json`` and ``summary.md`` into `folder`, made if needed."""
    told = {**as_plain(scores, summary), **reported_plain(reported)}
    told["problems"] = [problem.as_dict() for problem in problems]
    write_csv(folder / "scores.csv", scores)
    for name, text in (
        ("summary.json", json.dumps(told, indent=2) + "\n"),
        ("summary.md", markdown(scores, summary, problems) + reported_markdown(reported)),
    ):
        with replacing(folder / name) as stream:
            stream.write(text.encode())


def summary_text(summary: Summary, scores: Sequence[OrganScore] = ()) -> str:
    """Return the tables as text of at most 120 columns, the worst scans last where given scores."""
    parts = [f"{summary.n_scans} scans", *(aligned(table) for table in tables(summary))]
    parts.append("\n".join(fill(line, 100, subsequent_indent="  ") for line in legend(scores)))
    if lines := worst_lines(scores):
        rows = (f"  {organ}: {line}" for organ, line in lines.items())
        parts.append("\n".join(["Worst scans, by Dice (HD95)", *rows]))
    return "\n\n".join(parts)


def as_plain(scores: Sequence[OrganScore], summary: Summary) -> dict[str, object]:
    """Return scores and summary for JSON: NaN becomes None, and infinity the text ``inf``."""
    return {
        "n_scans": summary.n_scans,
        "organs": [_plain(organ._asdict()) for organ in summary.organs],
        "scores": [_plain(score._asdict()) for score in scores],
    }


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    return {key: _plain_value(value) for key, value in row.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return _plain(value)
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)
