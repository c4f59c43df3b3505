"""The page of one run: ``report.html``, which needs nothing but itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.labels import LabelSet
from medseg.metrics.calibration import FLOOR
from medseg.metrics.statistics import LEAST_PATIENTS
from medseg.report import charts, cleaning
from medseg.report.cases import MOST_PICTURES, Case, failures, typical_cases
from medseg.report.claim import CITATION, claim_items
from medseg.report.facts import RunFacts
from medseg.report.findings import SHOWN, OrganRow, caution, organ_rows, verdict
from medseg.report.model_card import RESEARCH_ONLY, failure_modes, limits
from medseg.report.page import Picture, chart, number, rendered
from medseg.report.panels import spoken
from medseg.report.set_up import data_rows, network_rows, provenance_rows, training_rows

Key = tuple[str, str]

# Of a whole scan, the one in the middle by its Dice.
PLANES: Key = ("", "")

ABSENT = {
    "curves": "This run kept no numbers of its epochs.",
    "results": "The held-out scans of this run have not been scored yet.",
    "cases": "There are no pictures of the held-out scans.",
    "calibration": "No probabilities were counted when the held-out scans were predicted.",
}


def run_page(
    facts: RunFacts, pictures: Mapping[Key, Picture], *, absent: Mapping[str, str] | None = None
) -> str:
    """Return the page as HTML.

    Args:
        facts: The run.
        pictures: Of cases, by scan and organ, and of a scan in three planes by `PLANES`.
        absent: Why a part is not there, in a sentence, by its name in `ABSENT`.
    """
    rows = organ_rows(facts.scores) if facts.scores else []
    sections = _set_up(facts) | _results(facts, rows) | _pictures(facts, pictures)
    sections |= _cleaning(facts)
    why_none = {"cleaning": cleaning.why_none(facts.cleaning)}
    return rendered(
        "run.html",
        facts=facts,
        labels={organ.name: organ for organ in facts.manifest.labels.organs},
        research_only=RESEARCH_ONLY,
        absent=ABSENT | why_none | dict(absent or {}),
        least_patients=LEAST_PATIENTS,
        rows=rows,
        claim=claim_items(facts, rows),
        claim_citation=CITATION,
        limits=limits(facts),
        failure_modes=failure_modes(rows),
        **sections,
    )


def _set_up(facts: RunFacts) -> dict[str, Any]:
    curves = []
    if facts.history:
        labels = facts.manifest.labels
        last = facts.history[-1]
        dice = number(last.get("val/dice/mean", float("nan")), 2)
        loss = number(last.get("train/loss", float("nan")), 3)
        curves = [
            chart(charts.loss_chart(facts.history), f"Training loss by epoch; at the end {loss}"),
            chart(
                charts.dice_chart(facts.history, labels),
                f"Validation Dice of each organ by epoch; at the end {dice} in the mean",
            ),
        ]
    return {
        "network_rows": network_rows(facts),
        "data_rows": data_rows(facts),
        "training_rows": training_rows(facts),
        "provenance_rows": provenance_rows(facts),
        "curves": curves,
    }


def _results(facts: RunFacts, rows: Sequence[OrganRow]) -> dict[str, Any]:
    labels, scores = facts.manifest.labels, facts.scores
    return {
        "verdict": verdict(rows, scores) if rows else ABSENT["results"],
        "caution": caution(scores) if rows else "",
        "metrics": SHOWN,
        "tolerance_mm": scores[0].tolerance_mm if scores else None,
        "sizes": [_size(facts, labels, row) for row in rows],
        "volumes": [_volumes(labels, row) for row in rows],
        "reliability": [
            (name, counts, chart(charts.reliability_chart(counts, labels, name), _calibrated(name)))
            for name, counts in facts.calibration.items()
        ],
        "floor": FLOOR,
    }


def _cleaning(facts: RunFacts) -> dict[str, Any]:
    return {
        "rules": cleaning.organ_rules(facts.cleaning, facts.cleaning_effect),
        "tried": cleaning.tried_rules(facts.cleaning),
    }


def _size(facts: RunFacts, labels: LabelSet, row: OrganRow) -> Picture:
    alt = f"Dice of each scan against the volume of the {spoken(row.organ)} in the reference"
    return chart(charts.size_chart(facts.scores, labels, row.organ), alt)


def _volumes(labels: LabelSet, row: OrganRow) -> tuple[OrganRow, Picture]:
    found = row.agreement
    alt = (
        f"Difference of the {spoken(row.organ)}'s volumes against their mean: bias "
        f"{number(found.bias)} ml, limits of agreement {number(found.low)} to "
        f"{number(found.high)} ml, n = {found.n}"
    )
    return row, chart(charts.agreement_chart(row.volumes_ml, found, labels, row.organ), alt)


def _calibrated(name: str) -> str:
    return f"Share of voxels that are {spoken(name)} against the probability they were given"


def _pictures(facts: RunFacts, pictures: Mapping[Key, Picture]) -> dict[str, Any]:
    anchors = {key: f"picture-{n}" for n, key in enumerate(pictures, 1)}
    planes = pictures.get(PLANES)
    typical, wrong = typical_cases(facts.scores), failures(facts.scores)
    shown = {case.key for case in typical}
    by_organ: dict[str, list[Case]] = {}
    for case in typical:
        by_organ.setdefault(case.score.organ, []).append(case)
    return {
        "planes": planes,
        "pictures": pictures,
        "anchors": anchors,
        "cases": by_organ,
        "failures": wrong,
        "pictured_failures": [c for c in wrong if c.key in pictures and c.key not in shown],
        "most_pictures": MOST_PICTURES,
    }
