"""What a pipeline came to as files: text, Markdown, CSV, a picture, and a page of HTML."""

import json
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

from medseg.io.atomic import replacing
from medseg.metrics.comparison import Comparison
from medseg.report.comparison import tables as comparison_tables
from medseg.report.comparison_figure import differences_figure
from medseg.report.figures import save
from medseg.report.model_card import RESEARCH_ONLY
from medseg.report.page import Picture, chart, rendered
from medseg.report.pipeline_figure import outcome_figure
from medseg.report.pipeline_results import Results
from medseg.report.pipeline_tables import (
    Shown,
    beside_source,
    costs,
    organs,
    outcome,
    result_rows,
    results_csv,
    runs_csv,
    runs_table,
    two_ways,
)
from medseg.report.pipeline_words import sentences, why_ways_differ
from medseg.report.score_tables import aligned, marked

PAGE = "report.html"
PICTURE = "results.png"

_WIDE = 100
_ALT = (
    "Dice of each of the compared: by scan with its interval, counted as the source counts, and "
    "the source's own; the same numbers are in the tables"
)


def outcome_text(results: Results) -> str:
    """Return tables and sentences for a terminal."""
    parts = [results.title, *(f"{s.table.title}\n{aligned(s.table)}" for s in _all(results))]
    lines = (_source(results), sentences(results), why_ways_differ(results))
    parts += ["\n".join(fill(line, _WIDE, subsequent_indent="  ") for line in few) for few in lines]
    return "\n\n".join(parts)


def outcome_markdown(results: Results) -> str:
    """Return everything as Markdown, which shows ``results.png``."""
    parts = [f"# {results.title}", results.about, *_source(results)]
    parts.append(f"## What may be concluded\n\n{_listed(sentences(results))}")
    parts.append(f"![{_ALT}]({PICTURE})")
    for shown in (*_all(results), runs_table(results)):
        title, table = shown.table.title, marked(shown.table, names=shown.names)
        parts += [f"## {title}", table, *[shown.legend] * bool(shown.legend)]
    parts.append(f"## Why the two ways differ\n\n{_listed(why_ways_differ(results))}")
    if results.problems:
        parts.append(f"## Left out, and warnings\n\n{_listed(results.problems)}")
    parts.append(f"## How it was made\n\n{_listed(': '.join(row) for row in results.made)}")
    return "\n\n".join(parts) + "\n"


def outcome_page(results: Results) -> str:
    """Return the page as HTML: what may be concluded, the picture behind it, and all numbers."""
    compared = [results.comparison] if results.comparison else []
    votes = [(vote.name, vote.comparison) for vote in results.votes]
    return rendered(
        "pipeline.html",
        results=results,
        source=_source(results),
        conclusions=sentences(results),
        ways=why_ways_differ(results),
        figure=chart(outcome_figure(results), _ALT),
        tables=[outcome(results), *_others(results)],
        beside=beside_source(results),
        ways_table=two_ways(results),
        differences=[_differences("", each) for each in compared]
        + [_differences(name, each) for name, each in votes],
        runs=runs_table(results),
        research_only=RESEARCH_ONLY,
    )


def save_outcome(results: Results, folder: Path) -> list[Path]:
    """Write ``results.txt``, ``.md``, ``.csv`` and ``.png``, ``runs.csv``, the page and its gist.

    The page is ``report.html``; ``summary.json`` has the rows of the CSV and the conclusions.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    written = {
        "results.txt": outcome_text(results) + "\n",
        "results.md": outcome_markdown(results),
        "results.csv": results_csv(results),
        "runs.csv": runs_csv(results),
        "summary.json": json.dumps(_summary(results), indent=2) + "\n",
        PAGE: outcome_page(results),
    }
    for name, content in written.items():
        with replacing(folder / name) as stream:
            stream.write(content.encode())
    save(outcome_figure(results), folder / PICTURE)
    return [folder / name for name in (*written, PICTURE)]


def _summary(results: Results) -> dict[str, object]:
    rows = [
        {key: None if value != value else value for key, value in row.items()}  # noqa: PLR0124
        for row in result_rows(results)
    ]
    return {"title": results.title, "runs": rows, "conclusions": sentences(results)}


def _all(results: Results) -> list[Shown]:
    """Return the tables, the most wanted first; those that have nothing to tell are left out."""
    first = (outcome(results), beside_source(results), two_ways(results))
    return [*(shown for shown in first if shown.table.rows), *_others(results)]


def _others(results: Results) -> list[Shown]:
    """Return the tables by organ, of costs, and of what ensembles scored."""
    votes = (comparison_tables(vote.comparison)[0] for vote in results.votes)
    titles = (f"{vote.name}: the vote of all folds" for vote in results.votes)
    voted = (Shown(t._replace(title=title), 2, "") for t, title in zip(votes, titles, strict=True))
    return [*(s for s in (organs(results), costs(results)) if s.table.rows), *voted]


def _differences(name: str, comparison: Comparison) -> tuple[str, Picture, Shown]:
    """Return the heading, the picture and the table of the differences of one comparison."""
    of = f"{name}: " if name else ""
    alt = "Differences by pair and organ, each with its interval and a dot a patient"
    table = comparison_tables(comparison)[1]
    return (
        f"{of}differences by pair",
        chart(differences_figure(comparison), alt),
        Shown(table, 2, ""),
    )


def _source(results: Results) -> list[str]:
    """Return what has to be known before the figures are read."""
    cited = f"Source of the figures beside ours: {results.citation}" if results.citation else ""
    return [line for line in (cited, results.note, results.real) if line]


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
