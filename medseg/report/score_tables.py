"""What scores come to, as tables that say of every mean over how many scans it is.

The tables are data, rows of text, for a terminal, a text file and Markdown alike.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from medseg.errors import Problem, shown
from medseg.metrics.scores import METRICS, OrganScore
from medseg.metrics.summary import OrganSummary, Summary, worst

# Those of METRICS that fit beside each other; all are in the CSV.
SHOWN = ("dice", "nsd", "hd95_mm", "assd_mm", "volume_error_ml")

_LEGEND = (
    "found: mean over the n scans where the organ is there and was predicted.",
    "all: mean over the n scans where it is there or was predicted; of those missed and of false "
    "positives shares count 0, distances the scan's diagonal, and volumes as they are.",
    "sens.: sensitivity, the share of the scans with the organ in which it was predicted; spec.: "
    "specificity, the share of those without it in which it was left out.",
    "Scans with the organ on neither side are in no mean.",
)


class Table(NamedTuple):
    """Rows of text under a header; the first column names, the others are numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(summary: Summary) -> tuple[Table, Table]:
    """Return two tables: scans by status with detection rates, and the means of both kinds."""
    counts = Table(
        "Scans by organ",
        ("", "found", "missed", "false positive", "neither", "sens.", "spec."),
        tuple(_counts(organ) for organ in summary.organs),
    )
    metrics = [metric for metric in METRICS if metric.name in SHOWN]
    means = Table(
        "Means",
        ("", "over", "n", *(f"{m.title} {m.unit}".strip() for m in metrics)),
        tuple(row for organ in summary.organs for row in _means(organ)),
    )
    return counts, means


def legend(scores: Sequence[OrganScore]) -> list[str]:
    """Return what the columns mean, a sentence or two a line."""
    tolerances = sorted({score.tolerance_mm for score in scores})
    within = " or ".join(f"{tolerance_mm:g}" for tolerance_mm in tolerances)
    surface = [f"Surface Dice: share of both surfaces within {within} mm of the other."]
    return [*_LEGEND, *surface * bool(scores)]


def worst_lines(scores: Sequence[OrganScore]) -> dict[str, str]:
    """Return the three worst scans of each organ; those on neither side are not among them."""
    return {
        organ: ", ".join(map(_worst, rows))
        for organ, rows in worst(scores, count=3).items()
        if rows
    }


def markdown(
    scores: Sequence[OrganScore], summary: Summary, problems: Sequence[Problem] = ()
) -> str:
    """Return the tables, their legend, the worst scans and all problems as Markdown."""
    parts = [f"# Scores of {summary.n_scans} scans"]
    parts += [f"## {table.title}\n\n{marked(table)}" for table in tables(summary)]
    parts.append("\n".join(f"- {line}" for line in legend(scores)))
    if lines := worst_lines(scores):
        rows = (f"- {organ}: {line}" for organ, line in lines.items())
        parts.append("## Worst scans, by Dice (HD95)\n\n" + "\n".join(rows))
    if problems:
        parts.append(f"## Problems\n\n```text\n{shown(problems)}\n```")
    return "\n\n".join(parts) + "\n"


def aligned(table: Table) -> str:
    """Return a table as lines of text, the first column to the left and numbers to the right."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def _counts(organ: OrganSummary) -> tuple[str, ...]:
    n = (organ.n_ok, organ.n_missed, organ.n_false_positive, organ.n_both_empty)
    return (organ.organ, *map(str, n), _number(organ.sensitivity), _number(organ.specificity))


def _means(organ: OrganSummary) -> list[tuple[str, ...]]:
    kinds = (("found", organ.n_ok, organ.found), ("all", organ.n_penalised, organ.penalised))
    digits = {metric.name: 2 if metric.unit else 3 for metric in METRICS}
    return [
        (organ.organ, kind, str(n), *(_number(means[name], digits[name]) for name in SHOWN))
        for kind, n, means in kinds
    ]


def _worst(score: OrganScore) -> str:
    if score.status != "ok":
        return f"{score.scan_id} {score.status.replace('_', ' ')}"
    return f"{score.scan_id} {score.dice:.3f} ({score.hd95_mm:.1f} mm)"


def marked(table: Table, *, names: int = 1) -> str:
    """Return the table in Markdown, numbers to the right of `names` columns of text."""
    rule = (*["---"] * names, *["---:"] * (len(table.header) - names))
    return "\n".join(f"| {' | '.join(row)} |" for row in (table.header, rule, *table.rows))


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
