"""What a sample of patients says about a mean, a difference and a ranking.

Scans of one patient resemble each other, so patients are the units here, never scans: intervals
come from drawing whole patients again, tests from one number a patient. ``docs/comparing.md``
shows what happens otherwise.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

# Below it intervals miss the truth far more often than their level says.
LEAST_PATIENTS = 6
RESAMPLES = 10_000

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean over scans and where the true one may lie; NaN over no scans.

    Attributes:
        mean: Over scans, each counted once.
        low: Lower end; NaN with fewer than two patients, as is the upper.
        high: Upper end.
        n_scans: Scans in the mean.
        n_patients: Patients that they are of.
    """

    mean: float
    low: float
    high: float
    n_scans: int
    n_patients: int

    @property
    def trustworthy(self) -> bool:
        """Whether there are patients enough for the ends to mean what they say."""
        return self.n_patients >= LEAST_PATIENTS


class RankStability(NamedTuple):
    """How firm a ranking is: what becomes of it in draws of other patients.

    Attributes:
        order: Indices of the ranked, best first.
        same: Share of the draws in which the whole order is the same.
        first: Share of the draws in which each is first, by its own index; ties are shared.
    """

    order: tuple[int, ...]
    same: float
    first: tuple[float, ...]


def patient_interval(
    values: ArrayLike,
    patients: Sequence[str],
    *,
    level: float = 0.95,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the mean over scans with its bootstrap interval, resampled by patient.

    Args:
        values: A finite number a scan.
        patients: The patient of each scan.
        level: How often the interval shall hold the true mean.
        n_resamples: Draws of patients.
        seed: Of the draws.
    """
    column = np.asarray(values, float)[:, None]
    return patient_intervals(column, patients, level=level, n_resamples=n_resamples, seed=seed)[0]


def patient_intervals(
    values: ArrayLike,
    patients: Sequence[str],
    *,
    level: float = 0.95,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Return an interval for each of several quantities measured on the same scans.

    A bootstrap's spread is too small by the root of (n - 1) / n, and its percentiles belong to the
    normal distribution; of few patients both matter. The percentiles are therefore moved away from
    the mean by what Student's t has over the normal deviate and by that root. Hesterberg, The
    American Statistician 69 (2015) 371-386, for both.

    Args:
        values: Finite numbers ``(scans, quantities)``.
        patients: The patient of each scan.
        level: How often an interval shall hold the true mean.
        n_resamples: Draws of patients, the same for all quantities.
        seed: Of the draws.
    """
    table = np.asarray(values, float)
    n_scans, n = len(table), len(set(patients))
    if not n_scans:
        return [Interval(math.nan, math.nan, math.nan, 0, 0)] * table.shape[1]
    means = table.mean(axis=0)
    ends = np.full((2, table.shape[1]), math.nan)
    if n > 1:
        tail = (1 - level) / 2
        drawn = resampled_means(table, patients, n_resamples=n_resamples, seed=seed)
        wider = stdtrit(n - 1, tail) / ndtri(tail) * math.sqrt(n / (n - 1))
        ends = means + (np.quantile(drawn, (tail, 1 - tail), axis=0) - means) * wider
    return [
        Interval(float(mean), float(low), float(high), n_scans, n)
        for mean, low, high in zip(means, *ends, strict=True)
    ]


def resampled_means(
    values: ArrayLike, patients: Sequence[str], *, n_resamples: int, seed: int
) -> Floats:
    """Return the means over scans ``(n_resamples, quantities)`` of patients drawn with replacement.

    A patient drawn brings all scans of theirs.

    Args:
        values: Finite numbers ``(scans, quantities)``, at least one scan.
        patients: The patient of each scan.
        n_resamples: Draws.
        seed: Of the draws.
    """
    sums, counts = _by_patient(np.asarray(values, float), patients)
    n = len(counts)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples).astype(float)
    means: Floats = times @ sums / (times @ counts)[:, None]
    return means


def patient_means(values: ArrayLike, patients: Sequence[str]) -> Floats:
    """Return the mean of each patient's scans, patients in the order in which they first appear."""
    sums, counts = _by_patient(np.asarray(values, float)[:, None], patients)
    means: Floats = sums[:, 0] / counts
    return means


def signed_rank_p(differences: ArrayLike) -> float:
    """Return the exact two-sided p value of Wilcoxon's signed rank test.

    Zeros are left out, as Wilcoxon did, and ties share their ranks; the distribution is that of all
    signs being equally likely, so that it is exact with ties too. 1 where nothing differs.
    """
    signed = _signed_ranks(differences)
    # Ranks that are shared end in a half: twice a rank is always whole.
    doubled = np.rint(2 * np.abs(signed)).astype(int)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] = (ways[rank:] + ways[: len(ways) - rank]) / 2
        ways[:rank] /= 2
    positive = round(2 * float(signed[signed > 0].sum()))
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return float(min(1.0, 2 * tail))


def rank_biserial(differences: ArrayLike) -> float:
    """Return the matched-pairs rank biserial correlation, in [-1, 1]; 0 where nothing differs.

    The share of the ranks on the positive side less that on the negative: 1 where every patient
    differs upwards. Kerby, Comprehensive Psychology 3 (2014) 11.IT.3.1.
    """
    signed = _signed_ranks(differences)
    return float(signed.sum() / np.abs(signed).sum()) if signed.size else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in their order.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none becomes smaller than
    the one before it, or larger than 1. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for left, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - left) * p_values[index]))
        corrected[index] = highest
    return corrected


def patients_needed(n_tests: int, *, alpha: float = 0.05) -> int:
    """Return how many patients it takes before any of so many tests can come out below `alpha`.

    All of n patients on one side have the p value 2 / 2^n, which Holm multiplies by the tests.
    """
    return math.floor(math.log2(2 * n_tests / alpha)) + 1


def rank_stability(
    values: ArrayLike,
    patients: Sequence[str],
    *,
    higher_is_better: bool,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> RankStability:
    """Rank by mean, and tell how often draws of patients turn the ranking over.

    Args:
        values: Finite numbers ``(scans, ranked)``, at least one scan.
        patients: The patient of each scan.
        higher_is_better: Which end of the scale is first.
        n_resamples: Draws of patients.
        seed: Of the draws.
    """
    upwards = np.asarray(values, float) * (1 if higher_is_better else -1)
    order = np.argsort(-upwards.mean(axis=0), kind="stable")
    drawn = resampled_means(upwards, patients, n_resamples=n_resamples, seed=seed)
    ranked = drawn[:, order]
    same = np.all(ranked[:, :-1] >= ranked[:, 1:], axis=1).mean()
    leads = drawn == drawn.max(axis=1, keepdims=True)
    first = (leads / leads.sum(axis=1, keepdims=True)).mean(axis=0)
    return RankStability(tuple(map(int, order)), float(same), tuple(map(float, first)))


def _by_patient(values: Floats, patients: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the sums of each patient's scans ``(patients, quantities)``, and how many they are."""
    index = {patient: at for at, patient in enumerate(dict.fromkeys(patients))}
    of = np.array([index[patient] for patient in patients])
    sums = np.zeros((len(index), values.shape[1]))
    np.add.at(sums, of, values)
    return sums, np.bincount(of).astype(float)


def _signed_ranks(differences: ArrayLike) -> Floats:
    """Return the ranks of the sizes of what is not zero, with the signs of the differences."""
    given = np.asarray(differences, float)
    given = given[given != 0]
    _, of, counts = np.unique(np.abs(given), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    signed: Floats = np.sign(given) * ranks[of]
    return signed
