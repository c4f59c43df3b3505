"""A comparison of runs as tables, Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from medseg.errors import shown
from medseg.io.atomic import replacing
from medseg.metrics.comparison import ALPHA, Comparison
from medseg.metrics.statistics import LEAST_PATIENTS, Interval
from medseg.report.comparison_figure import differences_figure
from medseg.report.conclusions import conclusions, counted, digits_of, percent
from medseg.report.figures import save
from medseg.report.panels import spoken
from medseg.report.score_tables import Table, aligned, marked

COLUMNS = (
    *("organ", "metric", "first", "second", "mean_first", "mean_second"),
    *("difference", "low", "high", "p", "p_holm", "effect", "n_scans", "n_patients", "better"),
)


def tables(comparison: Comparison) -> tuple[Table, Table]:
    """Return each run's means, and the differences of each pair."""
    digits = digits_of(comparison)
    title = f"{comparison.metric.title} {comparison.metric.unit}".strip()
    of = percent(comparison.level)
    means = Table(
        f"{title} of each run",
        ("", "run", "all", f"{of} interval", "found", "n found", "scans", "patients"),
        tuple(
            (
                *(spoken(organ.organ), row.run),
                *_estimate(row.counted, digits),
                *(_number(row.found, digits), str(row.n_found or "-")),
                *(str(row.counted.n_scans), str(row.counted.n_patients)),
            )
            for organ in comparison.organs
            for row in organ.runs
        ),
    )
    differences = Table(
        f"{title}: differences by pair",
        ("", "pair", "difference", f"{of} interval", "p", "Holm p", "effect", "better"),
        tuple(
            (
                *(spoken(row.organ), f"{row.first} - {row.second}"),
                *_estimate(row.interval, digits, signed=True),
                *(f"{row.p:.2g}", f"{row.p_holm:.2g}", f"{row.effect:+.2f}", row.better or "-"),
            )
            for organ in comparison.organs
            for row in organ.differences
        ),
    )
    return means, differences


def legend(comparison: Comparison) -> list[str]:
    """Return what the numbers of the tables are."""
    lines = [
        "all: mean over the scans where the organ is in the reference or in any of the "
        "predictions. An organ lost or invented counts as worst: a share of 0, a distance of the "
        "scan's diagonal. found: mean over the scans where the run predicted what is there.",
        f"Intervals: bootstrap by patient, {comparison.n_resamples} draws, seed {comparison.seed}; "
        f"with fewer than {LEAST_PATIENTS} patients, marked *, they are too narrow to be trusted.",
        "p: Wilcoxon's signed rank test on a mean difference a patient, exact. Holm p: corrected "
        f"for {counted(comparison.n_tests, 'test')}. effect: matched-pairs rank biserial "
        "correlation, from -1 to 1.",
        f"better: where the Holm p is below {ALPHA} and the interval leaves out zero. "
        "Nothing else is called a difference.",
    ]
    if comparison.metric.better == "zero":
        lines.append(f"{comparison.metric.title} counts by its size, too much or too little alike.")
    return lines


def text(comparison: Comparison) -> str:
    """Return tables, legend and conclusions for a terminal."""
    lines = (legend(comparison), conclusions(comparison))
    parts = [_head(comparison), *(aligned(table) for table in tables(comparison))]
    parts += ["\n".join(fill(row, 100, subsequent_indent="  ") for row in rows) for rows in lines]
    return "\n\n".join(parts)


def markdown(comparison: Comparison) -> str:
    """Return everything but the picture as Markdown, which shows ``comparison.png``."""
    title = f"# {comparison.metric.title}: {', '.join(comparison.runs)}"
    told = "\n".join(f"- {line}" for line in conclusions(comparison))
    parts = [title, _head(comparison), f"## What may be concluded\n\n{told}"]
    parts.append("![Differences by organ, a dot a patient](comparison.png)")
    parts += [f"## {table.title}\n\n{marked(table, names=2)}" for table in tables(comparison)]
    parts.append("\n".join(f"- {line}" for line in legend(comparison)))
    if comparison.problems:
        parts.append(f"## Left out\n\n```text\n{shown(comparison.problems)}\n```")
    return "\n\n".join(parts) + "\n"


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison and its conclusions for JSON; what is no number becomes None."""
    problems = [problem.as_dict() for problem in comparison.problems]
    plain: dict[str, Any] = _plain(comparison._replace(problems=()))
    return {**plain, "problems": problems, "conclusions": conclusions(comparison)}


def csv_text(comparison: Comparison) -> str:
    """Return a row an organ and pair, columns `COLUMNS`; what is no number is ``nan``."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for organ in comparison.organs:
        means = {row.run: row.counted.mean for row in organ.runs}
        for row in organ.differences:
            mean, low, high, n_scans, n_patients = row.interval
            of_runs = (means[row.first], means[row.second])
            numbers = (*of_runs, mean, low, high, row.p, row.p_holm, row.effect)
            names = (row.organ, comparison.metric.name, row.first, row.second)
            counts = (n_scans, n_patients, row.better or "")
            rows.writerow([*names, *(f"{number:.6g}" for number in numbers), *counts])
    return text.getvalue()


def save_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.json``, ``.csv``, ``.md`` and ``.png``, and return their paths.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    written = {
        "comparison.json": json.dumps(as_plain(comparison), indent=2) + "\n",
        "comparison.csv": csv_text(comparison),
        "comparison.md": markdown(comparison),
    }
    for name, content in written.items():
        with replacing(folder / name) as stream:
            stream.write(content.encode())
    picture = folder / "comparison.png"
    save(differences_figure(comparison), picture)
    return [*(folder / name for name in written), picture]


def _head(comparison: Comparison) -> str:
    n = counted(comparison.n_patients, "patient")
    return f"{counted(comparison.n_scans, 'scan')} that all runs share, of {n}"


def _estimate(interval: Interval, digits: int, *, signed: bool = False) -> tuple[str, str]:
    sign = "+" if signed else ""
    mean, low, high = (f"{n:{sign}.{digits}f}" for n in interval[:3])
    if math.isnan(interval.low):
        return mean, "-"
    return mean, f"{low} to {high}{'' if interval.trustworthy else ' *'}"


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON
    if hasattr(value, "_asdict"):
        return {key: _plain(part) for key, part in value._asdict().items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
