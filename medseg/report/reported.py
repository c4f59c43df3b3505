"""Scores as competitions and papers report them, as tables that say what they are.

They stand below medseg's own, never in their place: none says how good an outline is in
millimetres, how often an organ was missed, or over how many scans of how many patients.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from medseg.metrics.competition import VARIANTS, CompetitionScore
from medseg.metrics.slicewise import WARNING, SliceSummary
from medseg.report.score_tables import Table, aligned


class Reported(NamedTuple):
    """What was asked for: either may be empty.

    Attributes:
        competition: The competition's score by variant.
        slice_wise: Slice-wise means by organ.
    """

    competition: Mapping[str, CompetitionScore] = {}
    slice_wise: Sequence[SliceSummary] = ()


def reported_text(reported: Reported) -> str:
    """Return the tables with what they mean, as text; empty where nothing was asked for."""
    parts = []
    if reported.competition:
        table = competition_table(reported.competition)
        about = "\n".join(f"{v.name}: {v.about}." for v in VARIANTS)
        parts += [f"{table.title}\n{aligned(table)}", about]
    if reported.slice_wise:
        table = slice_table(reported.slice_wise)
        parts += [f"{table.title}\n{aligned(table)}"]
    return "\n\n".join(parts)


def reported_markdown(reported: Reported) -> str:
    """Return the same as a section of a Markdown file; empty where nothing was asked for."""
    text = reported_text(reported)
    return f"\n## As others report\n\n```text\n{text}\n```\n" if text else ""


def reported_plain(reported: Reported) -> dict[str, object]:
    """Return what was asked for as JSON values, by the keys ``competition`` and ``slice_wise``."""
    plain: dict[str, object] = {}
    if reported.competition:
        scores = reported.competition
        plain["competition"] = {name: _plain(score._asdict()) for name, score in scores.items()}
    if reported.slice_wise:
        rows = [_slices_plain(summary) for summary in reported.slice_wise]
        plain["slice_wise"] = {"warning": WARNING, "organs": rows}
    return plain


def competition_table(scores: Mapping[str, CompetitionScore]) -> Table:
    """Return a row a variant: its score, and both parts with the number of terms in each."""
    units = {variant.name: variant.unit for variant in VARIANTS}
    return Table(
        "Competition score by variant: name the variant with the number",
        ("", "score", "Dice", "over", "Hausdorff", "over"),
        tuple(
            (
                name,
                _number(score.score),
                _number(score.dice),
                str(score.n_dice),
                f"{_number(score.hausdorff)} {units[name]}".rstrip(),
                str(score.n_hausdorff),
            )
            for name, score in scores.items()
        ),
    )


def slice_table(summaries: Sequence[SliceSummary]) -> Table:
    """Return a row an organ: the means with empty slices as 1, as 0 and skipped."""
    kinds = ("empty 1", "empty 0", "skipped")
    return Table(
        WARNING,
        ("", "slices", "empty", *(f"{name}, {kind}" for name in ("Dice", "IoU") for kind in kinds)),
        tuple(
            (s.organ, str(s.n), str(s.n_empty), *map(_number, (*s.dice, *s.iou))) for s in summaries
        ),
    )


def _slices_plain(summary: SliceSummary) -> dict[str, object]:
    means = {"dice": summary.dice, "iou": summary.iou}
    plain = {
        f"{name}_empties_{kind}": value
        for name, m in means.items()
        for kind, value in m._asdict().items()
    }
    return {"organ": summary.organ, "n": summary.n, "n_empty": summary.n_empty, **_plain(plain)}


def _plain(row: Mapping[str, float]) -> dict[str, object]:
    return {key: None if math.isnan(value) else value for key, value in row.items()}


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
