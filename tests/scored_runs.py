"""Scores and finished runs, made up for tests of what is done with them."""

import hashlib
import json
import math

import numpy as np

from medseg.data.splits import ScanFacts, Splits
from medseg.metrics.scores import OrganScore
from medseg.report.scores import write_csv
from medseg.scan import case_id_of

ORGANS = ("large_bowel", "small_bowel", "stomach")


def score(scan_id, organ, value, *, status="ok", **changes):
    """Return a score whose Dice, and every other share, is `value`."""
    missing = {"missed": math.inf, "false_positive": math.inf, "both_empty": math.nan}
    distance_mm = missing.get(status, 10 * (1 - value))
    shares = dict.fromkeys(("dice", "iou", "precision", "recall", "nsd"), value)
    distances = ("hd_mm", "hd95_mm", "assd_mm", "centroid_shift_mm")
    volumes = {"volume_error_ml": 0.0, "volume_pred_ml": 80.0, "volume_ref_ml": 80.0}
    numbers = shares | dict.fromkeys(distances, distance_mm) | volumes
    numbers |= {"tolerance_mm": 3.0, "diagonal_mm": 500.0} | changes
    return OrganScore(scan_id, organ, status, **numbers)


def run(*values, organ="stomach"):
    """Return a run of one scan a patient, with these values of Dice."""
    return [score(f"case{n}_day0", organ, value) for n, value in enumerate(values)]


def study(rng, *, n_patients, shift=0.0, n_runs=2, organs=ORGANS):
    """Return runs of one quality, but for the first, on patients of one to six scans.

    Scans of a patient are alike in how hard they are, and in which run suits them.
    """
    scans = [(n, day) for n in range(n_patients) for day in range(rng.integers(1, 7))]
    of = [n for n, _ in scans]
    runs = {}
    hard = {organ: rng.normal(0, 0.5, n_patients)[of] for organ in organs}
    for name in range(n_runs):
        rows = []
        for organ in organs:
            suits = rng.normal(0, 0.4, n_patients)[of] + rng.normal(0, 0.2, len(scans))
            dice = 1 / (1 + np.exp(-2 - hard[organ] - suits - shift * (name == 0)))
            lost = rng.random(len(scans)) < 0.01
            rows += [
                score(f"case{n}_day{day}", organ, 0.0 if gone else float(value))
                for (n, day), value, gone in zip(scans, dice, lost, strict=True)
            ]
        runs[f"run{name}"] = rows
    return runs


def splits_of(*groups, salt="", days=1):
    """Return a split of patients, each with so many scans; `salt` stands for their content."""
    facts = {
        f"{patient}_day{day}": ScanFacts(
            patient=patient,
            sha256=hashlib.sha256(f"{patient} {day} {salt}".encode()).hexdigest(),
            organ_slices={"stomach": 3},
        )
        for group in groups
        for patient in group
        for day in range(days)
    }
    return Splits(groups, facts)


def write_run(folder, scores, *, splits=None, fold=0, parent=None, **config):
    """Write a finished run's folder as far as a comparison reads it, and return it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"fold": fold, "epochs": 3, **config}))
    facts = {"mlflow_run_id": f"id-of-{folder.name}"} | ({"parent": parent} if parent else {})
    (folder / "provenance.json").write_text(json.dumps(facts))
    write_csv(folder / "metrics.csv", scores)
    if splits is not None:
        splits.write(folder / "splits.json")
    return folder


def held_out_scores(splits, fold, value):
    """Return scores of the scans on the test side of a fold."""
    return [
        score(scan_id, "stomach", value + 0.01 * (int(case_id_of(scan_id)[4:]) % 3))
        for scan_id in splits.fold(fold).test
    ]
