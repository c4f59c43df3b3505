"""Intervals, tests and rankings over patients, beside SciPy's and beside pencil and paper."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medseg.metrics.statistics import (
    holm,
    patient_interval,
    patient_intervals,
    patient_means,
    patients_needed,
    rank_biserial,
    rank_stability,
    resampled_means,
    signed_rank_p,
)

DIFFERENCES = st.lists(st.integers(-5, 5), min_size=1, max_size=9)


def of_patients(n, rng, *, between=0.1, within=0.05, most=6):
    """Return values and patients: 1 to `most` scans each, alike within a patient."""
    counts = rng.integers(1, most + 1, n)
    patients = np.repeat(np.arange(n), counts)
    values = rng.normal(0, between, n)[patients] + rng.normal(0, within, len(patients))
    return values, [str(p) for p in patients]


def test_the_mean_counts_each_scan_once():
    interval = patient_interval([1.0, 2.0, 6.0], ["a", "a", "b"])
    assert interval.mean == 3.0
    assert (interval.n_scans, interval.n_patients) == (3, 2)


def test_patients_of_one_scan_each_are_drawn_as_scipy_draws():
    values = np.random.default_rng(0).beta(8, 2, 40)
    ours = resampled_means(values[:, None], [str(i) for i in range(40)], n_resamples=20_000, seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    ends = np.quantile(ours, (0.025, 0.975))
    assert ends == pytest.approx(list(theirs.confidence_interval), abs=0.001)


def test_the_ends_are_wider_than_the_percentiles_by_students_t():
    values, n = np.random.default_rng(0).normal(5, 1, 8), 8
    names = [str(i) for i in range(n)]
    mean = values.mean()
    drawn = resampled_means(values[:, None], names, n_resamples=4000, seed=3)
    low, high = np.quantile(drawn, (0.05, 0.95))
    factor = stats.t.ppf(0.95, n - 1) / stats.norm.ppf(0.95) * math.sqrt(n / (n - 1))
    interval = patient_interval(values, names, level=0.9, n_resamples=4000, seed=3)
    assert interval.low == pytest.approx(mean + (low - mean) * factor)
    assert interval.high == pytest.approx(mean + (high - mean) * factor)
    # For means of normal values Student's interval is the exact one.
    exact = stats.t.interval(0.9, n - 1, mean, stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(exact, rel=0.01)


def test_scans_of_a_patient_are_drawn_together():
    # Ten equal scans of each patient are no more than one scan of each.
    values = np.array([0.2, 0.5, 0.9, 0.7])
    one = patient_interval(values, list("abcd"), seed=5)
    ten = patient_interval(np.repeat(values, 10), list(np.repeat(list("abcd"), 10)), seed=5)
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


def test_the_order_of_scans_means_nothing():
    values, patients = of_patients(9, np.random.default_rng(1))
    # Patients keep the order in which they first appear.
    order = sorted(range(len(values)), key=lambda i: (int(patients[i]), -i))
    shuffled = patient_interval(values[order], [patients[i] for i in order])
    assert shuffled == pytest.approx(patient_interval(values, patients))


def test_quantities_measured_together_have_the_intervals_they_have_alone():
    values, patients = of_patients(7, np.random.default_rng(2))
    both = patient_intervals(np.stack([values, 1 - values], axis=1), patients, seed=4)
    assert both[0] == pytest.approx(patient_interval(values, patients, seed=4))
    assert both[1].low == pytest.approx(1 - both[0].high)


@pytest.mark.parametrize(
    ("values", "patients", "expected"),
    [
        pytest.param([], [], (math.nan, math.nan, math.nan, 0, 0), id="no scan"),
        pytest.param([0.5], ["a"], (0.5, math.nan, math.nan, 1, 1), id="one scan"),
        pytest.param([0.4, 0.6], ["a", "a"], (0.5, math.nan, math.nan, 2, 1), id="one patient"),
        pytest.param([0.5, 0.5], ["a", "b"], (0.5, 0.5, 0.5, 2, 2), id="all the same"),
    ],
)
def test_intervals_that_are_none(values, patients, expected):
    assert patient_interval(values, patients) == pytest.approx(expected, nan_ok=True)


def test_fewer_than_six_patients_are_not_trusted():
    names = list("abcdef")
    assert patient_interval(range(6), names).trustworthy
    assert not patient_interval(range(5), names[:5]).trustworthy
    assert not patient_interval(range(6), [*names[:5], "a"]).trustworthy


def coverage(n_patients, *, by_patient, rounds=300):
    rng = np.random.default_rng(n_patients)
    held = 0
    for seed in range(rounds):
        values, patients = of_patients(n_patients, rng)
        if not by_patient:
            patients = [str(i) for i in range(len(values))]
        interval = patient_interval(values, patients, n_resamples=400, seed=seed)
        held += interval.low <= 0 <= interval.high
    return held / rounds


@pytest.mark.parametrize(
    "n_patients", [pytest.param(8, id="8 patients"), pytest.param(15, id="15 patients")]
)
def test_intervals_by_patient_keep_their_level_and_intervals_by_scan_do_not(n_patients):
    # At 95 % fewer than 91.3 % of 300 intervals hold the truth once in 500 studies.
    assert coverage(n_patients, by_patient=True) > 0.913
    assert coverage(n_patients, by_patient=False) < 0.85


def test_patient_means_are_the_means_of_their_scans():
    assert patient_means([1.0, 5.0, 3.0], ["b", "a", "b"]).tolist() == [2.0, 5.0]


@pytest.mark.parametrize(
    ("differences", "p", "effect"),
    [
        # Six signs, all up: one of the 64 equally likely outcomes on either side.
        pytest.param([1, 2, 3, 4, 5, 6], 2 / 64, 1.0, id="all up"),
        # Ranks 1 to 3; sums of the positive ones: 0 1 2 3 3 4 5 6, of which 5 and 6 are tails.
        pytest.param([-1, 2, 3], 2 * 2 / 8, 4 / 6, id="one of three down"),
        pytest.param([0, 0, 1, 2, 3, 4, 5, 6], 2 / 64, 1.0, id="zeros say nothing"),
        # Both have rank 1.5, so the positive sum is 0, 1.5, 1.5 or 3.
        pytest.param([2, -2], 1.0, 0.0, id="a tie"),
        pytest.param([0, 0, 0], 1.0, 0.0, id="nothing differs"),
        pytest.param([], 1.0, 0.0, id="no patient"),
    ],
)
def test_signed_ranks_by_hand(differences, p, effect):
    assert signed_rank_p(differences) == pytest.approx(p)
    assert rank_biserial(differences) == pytest.approx(effect)


@pytest.mark.parametrize("n", [pytest.param(n, id=f"{n} patients") for n in (2, 7, 30, 85)])
def test_the_signed_rank_test_is_scipys(n):
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


@given(DIFFERENCES)
def test_with_ties_too_the_test_is_exact(differences):
    kept = np.array([d for d in differences if d])
    ranks = stats.rankdata(np.abs(kept))
    # How far the sum of signed ranks is from its middle, zero, under each of the 2^n outcomes.
    outcomes = [abs(np.dot(signs, ranks)) for signs in product((-1, 1), repeat=len(kept))]
    expected = np.mean(np.array(outcomes) >= abs(np.dot(np.sign(kept), ranks)))
    assert signed_rank_p(differences) == pytest.approx(expected)


@given(DIFFERENCES)
def test_turning_the_difference_round_turns_the_effect_round(differences):
    turned = [-d for d in differences]
    assert signed_rank_p(turned) == pytest.approx(signed_rank_p(differences))
    assert rank_biserial(turned) == pytest.approx(-rank_biserial(differences))


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        # 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which may not be below the one before.
        pytest.param([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02], id="in any order"),
        pytest.param([0.02, 0.02], [0.04, 0.04], id="equal ones"),
        pytest.param([0.6, 0.7], [1.0, 1.0], id="never above 1"),
        pytest.param([0.2], [0.2], id="one"),
        pytest.param([], [], id="none"),
    ],
)
def test_holm_by_hand(p_values, expected):
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize("n_tests", [pytest.param(n, id=f"{n} tests") for n in (1, 3, 4, 12)])
def test_one_patient_fewer_than_needed_can_show_nothing(n_tests):
    needed = patients_needed(n_tests)
    assert n_tests * signed_rank_p(range(1, needed + 1)) < 0.05
    assert n_tests * signed_rank_p(range(1, needed)) >= 0.05


def test_a_ranking_is_firm_when_every_patient_says_so():
    values = np.array([[0.5, 0.9, 0.7], [0.4, 0.8, 0.6], [0.1, 0.5, 0.3]])
    stable = rank_stability(values, list("abc"), higher_is_better=True, n_resamples=500)
    assert stable == ((1, 2, 0), 1.0, (0.0, 1.0, 0.0))
    turned = rank_stability(values, list("abc"), higher_is_better=False, n_resamples=500)
    assert turned == ((0, 2, 1), 1.0, (1.0, 0.0, 0.0))


def test_a_ranking_by_one_patient_of_three_turns_over_without_that_patient():
    # Run 0 leads by patient a alone, who is in 19 of the 27 equally likely draws of three.
    values = np.array([[0.9, 0.1], [0.5, 0.6], [0.5, 0.6]])
    stable = rank_stability(values, list("abc"), higher_is_better=True, n_resamples=40_000)
    assert stable.same == pytest.approx(19 / 27, abs=0.01)
    assert stable.first == pytest.approx((19 / 27, 8 / 27), abs=0.01)


def test_equal_runs_share_the_first_place():
    stable = rank_stability([[0.5, 0.5], [0.7, 0.7]], list("ab"), higher_is_better=True)
    assert stable.first == (0.5, 0.5)
