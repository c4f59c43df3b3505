"""CLAIM, the checklist for artificial intelligence in medical imaging, as far as a run answers it.

Mongan, Moy and Kahn, Radiology: Artificial Intelligence 2 (2020) e200029: 42 items, told here in
words of our own. What only people know is left to them; nothing is made up.
"""

from collections.abc import Sequence
from typing import NamedTuple

from medseg.metrics.statistics import LEAST_PATIENTS
from medseg.report.facts import RunFacts, Side
from medseg.report.findings import OrganRow
from medseg.report.page import counted
from medseg.report.set_up import data_rows, joined, network_rows, provenance_rows, training_rows

CITATION = (
    "Mongan J, Moy L, Kahn CE Jr. Checklist for Artificial Intelligence in Medical Imaging "
    "(CLAIM). Radiology: Artificial Intelligence 2020;2(2):e200029. doi:10.1148/ryai.2020200029"
)

ABOUT = (
    "Title: names the technique",
    "Structured summary",
    "Background, intended use and clinical role",
    "Objectives and hypotheses",
    "Prospective or retrospective",
    "Goal of the study",
    "Sources of the data",
    "Eligibility: how, where and when patients were chosen",
    "Preprocessing",
    "Selection of parts of the data",
    "Definitions of the data's elements",
    "De-identification",
    "Missing data",
    "Definition of the reference standard",
    "Why this reference standard",
    "Who drew it, and with what training",
    "Tools for drawing it",
    "Variability of readers",
    "Intended sample size",
    "How patients were assigned to sides",
    "Level at which the sides are disjoint",
    "The model in detail",
    "Software",
    "Initial parameters",
    "Training in detail",
    "How the final model was chosen",
    "Ensembles",
    "Metrics",
    "Uncertainty of the metrics",
    "Robustness and sensitivity",
    "Explainability",
    "External data",
    "Flow of patients",
    "Demographic and clinical characteristics",
    "Performance of the final model",
    "Accuracy with its precision",
    "Failures",
    "Limitations",
    "Implications for practice",
    "Registration",
    "Where the protocol is",
    "Funding",
)


class Item(NamedTuple):
    """One item: its number, what it asks for, and what the run says; nothing where people must."""

    number: int
    about: str
    answer: str


def claim_items(facts: RunFacts, rows: Sequence[OrganRow]) -> list[Item]:
    """Return the 42 items in their order."""
    answers = _of_data(facts) | _of_training(facts) | _of_results(facts, rows)
    return [Item(n, about, answers.get(n, "")) for n, about in enumerate(ABOUT, 1)]


def _of_data(facts: RunFacts) -> dict[int, str]:
    data, manifest = data_rows(facts), facts.manifest
    organs = (
        f"{o.meaning} (SNOMED CT {o.snomed})" if o.snomed else o.meaning
        for o in manifest.labels.organs
    )
    spacing = " × ".join(f"{mm:g}" for mm in facts.config.get("spacing_mm") or ())
    scaled = f"Resampled to {spacing} mm." if spacing else "Resized, whatever the scale."
    sides = "; ".join(map(_side, facts.sides))
    return {
        7: facts.data_title if facts.phantom else f"{manifest.title}, {manifest.source.url}",
        9: f"{scaled} {facts.metadata.get('image_classes', '')}".strip(),
        10: joined(data, "Left out") or "None was left out.",
        11: "; ".join(organs),
        13: "A scan with missing or damaged slices is refused; nothing is filled in. A scan "
        "without a prediction counts as missed.",
        20: f"{joined(data, 'Split')}. {sides}" if sides else "",
        21: "Patient: all scans of a patient are on one side." if facts.split else "",
        33: sides,
    }


def _side(side: Side) -> str:
    return f"{side.role}: {counted(side.patients, 'patient')}, {counted(side.scans, 'scan')}"


def _of_training(facts: RunFacts) -> dict[int, str]:
    network, best = network_rows(facts), facts.best_epoch
    chosen = f"The epoch with the best mean validation Dice, {best}." if best else ""
    return {
        1: facts.metadata.get("task", "") and f"Deep learning: {facts.metadata['task']}",
        22: joined(network, "Network", "Input", "Output"),
        23: joined(provenance_rows(facts), "Versions"),
        24: joined(network, "Started from"),
        25: joined(training_rows(facts), "Epochs", "Batch", "Optimiser", "Loss", "Augmentation"),
        26: chosen or ("The last epoch: nothing was validated." if facts.history else ""),
        27: "None: one network.",
    }


def _of_results(facts: RunFacts, rows: Sequence[OrganRow]) -> dict[int, str]:
    if not rows:
        return {}
    side = facts.side("test")
    few = side is None or side.patients < LEAST_PATIENTS
    wrong = [(row.summary.n_missed, row.summary.n_false_positive) for row in rows]
    missed, false = (sum(column) for column in zip(*wrong, strict=True))
    return {
        28: "Dice, surface Dice, HD95, average surface distance, volume error, per organ and scan; "
        "sensitivity and specificity of finding an organ. Missed organs count in the second row "
        "of each organ's means.",
        29: "None: too few patients."
        if few
        else "95\N{NO-BREAK SPACE}% intervals, bootstrapped by patient.",
        32: "None in this run: the test patients are of the same data set.",
        35: "In the section Results; validation in the section Training.",
        36: "" if few else "In the section Results, with intervals.",
        37: f"{counted(missed, 'organ')} missed, {false} drawn where there is none; "
        "listed in the section Failures.",
        38: "In the section Model card, as far as the data tell.",
    }
