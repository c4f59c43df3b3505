"""Which of several runs is better, organ by organ, and how sure that is.

Runs are compared in pairs on the scans that all share. A run is called better only if both say
so: the signed rank test on one number a patient, below 0.05 after Holm's correction over all
organs and pairs of the comparison, and the 95 % interval of the mean difference, which leaves out
zero on the same side. All else is no proof of anything, of equality neither.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from medseg.errors import Problem
from medseg.metrics.pairing import Paired, PairedOrgan, metric_named, pair_scores
from medseg.metrics.scores import Metric, OrganScore
from medseg.metrics.statistics import (
    RESAMPLES,
    Floats,
    Interval,
    RankStability,
    holm,
    patient_intervals,
    patient_means,
    patients_needed,
    rank_biserial,
    rank_stability,
    signed_rank_p,
)
from medseg.scan import case_id_of

ALPHA = 0.05


class RunMean(NamedTuple):
    """One run on one organ.

    Attributes:
        run: Its name.
        counted: The penalised mean over all scans in which the organ counts.
        found: The mean over the scans where it is there and was predicted; NaN over none, and of
            the mean over organs.
        n_found: How many those are.
    """

    run: str
    counted: Interval
    found: float
    n_found: int


class Difference(NamedTuple):
    """One run less another, on one organ.

    Attributes:
        first: The run that the other is taken from.
        second: The run that is taken away.
        organ: The organ, or `medseg.metrics.pairing.ALL_ORGANS`.
        interval: The mean difference over scans, in the metric's unit.
        p: Of the signed rank test on patients' mean differences.
        p_holm: The same, corrected for all tests of the comparison.
        effect: Matched-pairs rank biserial correlation: 1 where every patient has more in `first`.
        by_patient: Mean difference of each patient, in no order that means anything.
        better: The run that may be called better; None where that cannot be said of either.
    """

    first: str
    second: str
    organ: str
    interval: Interval
    p: float
    p_holm: float
    effect: float
    by_patient: tuple[float, ...]
    better: str | None


class OrganComparison(NamedTuple):
    """All runs on one organ, or on the mean over organs."""

    organ: str
    runs: tuple[RunMean, ...]
    differences: tuple[Difference, ...]


class Comparison(NamedTuple):
    """Several runs, organ by organ.

    Attributes:
        metric: What is compared.
        runs: The names of the runs.
        n_scans: Scans that all runs share.
        n_patients: Patients that they are of.
        organs: In the order of the first run; the mean over organs is last where there are several.
        ranking: Of the runs on the last of `organs`; None where no organ is in any scan.
        n_tests: Organs times pairs: what Holm's correction is for.
        patients_needed: Below so many no test of so many can come out.
        level: Of the intervals.
        n_resamples: Draws of patients behind intervals and ranking.
        seed: Of the draws.
        problems: What was left out, as warnings.
    """

    metric: Metric
    runs: tuple[str, ...]
    n_scans: int
    n_patients: int
    organs: tuple[OrganComparison, ...]
    ranking: RankStability | None
    n_tests: int
    patients_needed: int
    level: float
    n_resamples: int
    seed: int
    problems: tuple[Problem, ...]


def compare_scores(
    runs: Mapping[str, Sequence[OrganScore]],
    metric: str = "dice",
    *,
    level: float = 0.95,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare runs on the scans and organs that all of them have scores of.

    Args:
        runs: Two or more by name.
        metric: A name of `medseg.metrics.scores.METRICS`.
        level: How often an interval shall hold the true value.
        n_resamples: Draws of patients.
        seed: Of the draws.

    Raises:
        DataError: The scores cannot be paired (E-PAIRS).
        KeyError: There is no such metric.
    """
    paired = pair_scores(runs, metric_named(metric))
    draws = {"n_resamples": n_resamples, "seed": seed}
    organs = [_organ(organ, paired, level=level, **draws) for organ in paired.organs]
    ranking = None
    if paired.organs:
        last = paired.organs[-1]
        upwards = paired.metric.better == "higher"
        ranking = rank_stability(last.values, last.patients, higher_is_better=upwards, **draws)
    n_tests = sum(len(organ.differences) for organ in organs)
    return Comparison(
        metric=paired.metric,
        runs=paired.runs,
        n_scans=len(paired.scan_ids),
        n_patients=len(set(map(case_id_of, paired.scan_ids))),
        organs=_concluded(organs, paired.metric),
        ranking=ranking,
        n_tests=n_tests,
        patients_needed=patients_needed(n_tests, alpha=ALPHA) if n_tests else 0,
        level=level,
        **draws,
        problems=paired.problems,
    )


def _organ(
    organ: PairedOrgan, paired: Paired, *, level: float, n_resamples: int, seed: int
) -> OrganComparison:
    """Return the means and differences, not yet corrected for their number."""
    pairs = list(combinations(range(len(paired.runs)), 2))
    gaps = np.array([organ.values[:, a] - organ.values[:, b] for a, b in pairs]).T
    quantities = np.hstack([organ.values, gaps])
    intervals = patient_intervals(
        quantities, organ.patients, level=level, n_resamples=n_resamples, seed=seed
    )
    lowest, highest = (0.0, math.inf if paired.metric.unit else 1.0)
    means = [_clipped(interval, lowest, highest) for interval in intervals[: len(paired.runs)]]
    found = organ.found or (np.empty(0),) * len(paired.runs)
    runs = tuple(
        RunMean(run, mean, float(f.mean()) if f.size else math.nan, f.size)
        for run, mean, f in zip(paired.runs, means, found, strict=True)
    )
    differences = tuple(
        _difference(
            (paired.runs[a], paired.runs[b]),
            organ,
            gap,
            _clipped(interval, -highest, highest),
        )
        for (a, b), gap, interval in zip(pairs, gaps.T, intervals[len(runs) :], strict=True)
    )
    return OrganComparison(organ.organ, runs, differences)


def _difference(
    pair: tuple[str, str], organ: PairedOrgan, gap: Floats, interval: Interval
) -> Difference:
    by_patient = patient_means(gap, organ.patients)
    p = signed_rank_p(by_patient)
    effect = rank_biserial(by_patient)
    told = tuple(map(float, by_patient))
    return Difference(*pair, organ.organ, interval, p, math.nan, effect, told, None)


def _clipped(interval: Interval, lowest: float, highest: float) -> Interval:
    """Return an interval without what the metric cannot be."""
    low, high = (min(max(end, lowest), highest) for end in (interval.low, interval.high))
    return interval if math.isnan(interval.low) else interval._replace(low=low, high=high)


def _concluded(organs: Sequence[OrganComparison], metric: Metric) -> tuple[OrganComparison, ...]:
    """Return the organs with p values corrected over all of them, and what they allow to say."""
    corrected = iter(holm([row.p for organ in organs for row in organ.differences]))
    return tuple(
        organ._replace(
            differences=tuple(_judged(row, next(corrected), metric) for row in organ.differences)
        )
        for organ in organs
    )


def _judged(row: Difference, p_holm: float, metric: Metric) -> Difference:
    row = row._replace(p_holm=p_holm)
    more = row.interval.low > 0 and row.effect > 0
    less = row.interval.high < 0 and row.effect < 0
    if p_holm >= ALPHA or not (more or less):
        return row
    return row._replace(better=row.first if more == (metric.better == "higher") else row.second)
