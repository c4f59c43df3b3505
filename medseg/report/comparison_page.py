"""The page of a comparison: ``comparison.html``, which needs nothing but itself."""

from pathlib import Path
from typing import NamedTuple

from medseg.io.atomic import replacing
from medseg.metrics.comparison import Comparison
from medseg.report.comparison import legend, tables
from medseg.report.comparison_figure import differences_figure
from medseg.report.conclusions import conclusions
from medseg.report.model_card import RESEARCH_ONLY
from medseg.report.page import Picture, chart, rendered


class Rank(NamedTuple):
    """A run's place, and the share of draws of other patients in which it is first."""

    run: str
    first: float


def comparison_page(comparison: Comparison) -> str:
    """Return the page as HTML: what may be concluded, the picture behind it, and all numbers."""
    told = conclusions(comparison)
    # The ranking is told last, and is what people look for; but not where nothing can be said.
    verdict = told.pop(0 if comparison.n_patients < comparison.patients_needed else -1)
    return rendered(
        "comparison.html",
        comparison=comparison,
        verdict=verdict,
        conclusions=told,
        figure=_figure(comparison) if comparison.organs else None,
        tables=tables(comparison),
        legend=legend(comparison),
        ranks=_ranks(comparison),
        same=comparison.ranking.same if comparison.ranking else None,
        research_only=RESEARCH_ONLY,
    )


def save_page(comparison: Comparison, folder: Path) -> Path:
    """Write ``comparison.html`` and return its path.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    file = folder / "comparison.html"
    with replacing(file) as stream:
        stream.write(comparison_page(comparison).encode())
    return file


def _figure(comparison: Comparison) -> Picture:
    alt = (
        f"Differences of {comparison.metric.title} by pair of runs and organ, each with its "
        "interval and a dot a patient; the same numbers are in the table of differences"
    )
    return chart(differences_figure(comparison), alt)


def _ranks(comparison: Comparison) -> list[Rank]:
    ranking = comparison.ranking
    if ranking is None:
        return []
    return [Rank(comparison.runs[index], ranking.first[index]) for index in ranking.order]
