"""What a page tells of scores, in rows: intervals by patient, and sentences."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medseg.metrics.agreement import Agreement, limits_of_agreement
from medseg.metrics.scores import METRICS, Metric, OrganScore
from medseg.metrics.statistics import LEAST_PATIENTS, Interval, patient_intervals
from medseg.metrics.summary import OrganSummary, penalised, summarise
from medseg.report.page import between, counted, number
from medseg.report.panels import spoken
from medseg.scan import case_id_of

SHOWN = tuple(
    metric
    for metric in METRICS
    if metric.name in ("dice", "nsd", "hd95_mm", "assd_mm", "volume_error_ml")
)


class OrganRow(NamedTuple):
    """One organ over the held-out scans.

    Attributes:
        organ: The organ's name.
        summary: Counts, sensitivity and specificity.
        found: Where it is there and was predicted: mean and interval, by the name of the metric.
        penalised: Where it is on either side, likewise.
        volumes_ml: Volume of the prediction and of the reference, a pair a scan that has both
            files and the organ on a side.
        agreement: Of these volumes.
    """

    organ: str
    summary: OrganSummary
    found: Mapping[str, Interval]
    penalised: Mapping[str, Interval]
    volumes_ml: tuple[tuple[float, float], ...]
    agreement: Agreement


def organ_rows(scores: Sequence[OrganScore]) -> list[OrganRow]:
    """Return a row an organ; intervals are of 95 %, resampled by patient."""
    rows = []
    for summary in summarise(scores).organs:
        own = [row for row in scores if row.organ == summary.organ and row.status != "both_empty"]
        found = [row for row in own if row.status == "ok"]
        pairs = tuple((r.volume_pred_ml, r.volume_ref_ml) for r in own if r.volume_pred_ml >= 0)
        agreement = limits_of_agreement([pred - ref for pred, ref in pairs])
        row = OrganRow(summary.organ, summary, _means(found), _means(own), pairs, agreement)
        rows.append(row)
    return rows


def verdict(rows: Sequence[OrganRow], scores: Sequence[OrganScore]) -> str:
    """Return what was found in a sentence, for somebody who reads nothing else."""
    patients = len({case_id_of(score.scan_id) for score in scores})
    scans = len({score.scan_id for score in scores})
    told = ", ".join(f"{spoken(row.organ)} Dice {_brief(row.penalised['dice'])}" for row in rows)
    of = f"Held-out scans of {counted(patients, 'patient')} ({counted(scans, 'scan')}): {told}"
    missed = sum(row.summary.n_missed for row in rows)
    false = sum(row.summary.n_false_positive for row in rows)
    wrong = [f"{counted(missed, 'organ')} missed"] * bool(missed)
    wrong += [f"{counted(false, 'organ')} drawn where there is none"] * bool(false)
    return f"{of}; {' and '.join(wrong) or 'every organ was found where it is'}."


def caution(scores: Sequence[OrganScore]) -> str:
    """Return what so many patients do not allow to conclude; nothing where they are enough."""
    patients = len({case_id_of(score.scan_id) for score in scores})
    if patients >= LEAST_PATIENTS:
        return ""
    return (
        f"{counted(patients, 'patient').capitalize()} {'is' if patients == 1 else 'are'} too few "
        f"for intervals: it takes {LEAST_PATIENTS} at least before these numbers say anything "
        "about other patients."
    )


def _brief(interval: Interval) -> str:
    if not interval.trustworthy:
        return number(interval.mean, 2)
    return f"{number(interval.mean, 2)} {between(interval, 2)}"


def _means(rows: Sequence[OrganScore]) -> dict[str, Interval]:
    values = [[penalised(row, metric.name) for metric in SHOWN] for row in rows]
    table = np.array(values, float).reshape(len(rows), len(SHOWN))
    intervals = patient_intervals(table, [case_id_of(row.scan_id) for row in rows])
    return {m.name: _possible(one, m) for m, one in zip(SHOWN, intervals, strict=True)}


def _possible(interval: Interval, metric: Metric) -> Interval:
    """Return an interval cut to what the metric can be: a Dice of 1.02 would puzzle the reader."""
    low, high = interval.low, interval.high
    if metric.better != "zero":
        low = max(low, 0.0)
    if metric.better == "higher":
        high = min(high, 1.0)
    return interval._replace(low=low, high=high)
