"""The model card: what a model is for, what it was made of, and how it goes wrong."""

from collections.abc import Sequence

from medseg.metrics.statistics import LEAST_PATIENTS
from medseg.report.facts import RunFacts
from medseg.report.findings import OrganRow
from medseg.report.page import counted, number
from medseg.report.panels import spoken

RESEARCH_ONLY = (
    "Research use only. Not for diagnosis, treatment planning or any other clinical use."
)


def limits(facts: RunFacts) -> list[str]:
    """Return what the run cannot tell or cannot do, as far as its own facts show it."""
    test, config = facts.side("test"), facts.config
    told = [
        f"All scans are of one data set, {facts.data_title}: how the model does on scans "
        "of other hospitals, scanners or sequences is not known.",
        "The reference outlines are taken as the truth; how much two readers would differ was not "
        "measured.",
    ]
    if test is not None and test.patients < LEAST_PATIENTS:
        told.append(
            f"It was tested on {counted(test.patients, 'patient')}, too few to tell how it does on "
            "others."
        )
    if config.get("label_mode") == "exclusive":
        told.append(
            "It gives each voxel one organ at most: where organs overlap in the reference, at most "
            "one of them can be right."
        )
    if config.get("neighbours", 1) == 1:
        told.append("It sees each slice alone: an outline may jump between neighbouring slices.")
    if "_demo" in facts.experiment:
        told.append("It was trained with demo settings: a small network and few steps.")
    return told


def failure_modes(rows: Sequence[OrganRow]) -> list[str]:
    """Return how the model was wrong on the held-out scans, organ by organ."""
    return [_failures(row) for row in rows]


def _failures(row: OrganRow) -> str:
    n = row.summary
    told = [f"missed in {n.n_missed} of {n.n_ok + n.n_missed} scans"]
    if n.n_both_empty + n.n_false_positive:
        without = n.n_both_empty + n.n_false_positive
        told.append(f"drawn in {n.n_false_positive} of {counted(without, 'scan')} without it")
    if n.n_ok:
        bias, far_mm = row.agreement.bias, row.found["hd95_mm"].mean
        side = "too large" if bias > 0 else "too small"
        told.append(f"where found, {number(abs(bias))} ml {side} in the mean")
        told.append(f"and 95\N{NO-BREAK SPACE}% of its outline within {number(far_mm)} mm")
    return f"{spoken(row.organ).capitalize()}: {', '.join(told)}."
