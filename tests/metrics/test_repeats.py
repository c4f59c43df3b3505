"""One network trained several times: one score a scan, by numbers to be checked by hand."""

import math

import pytest
from scored_runs import run, score

from medseg.errors import DataError, Problem
from medseg.metrics.comparison import compare_scores
from medseg.metrics.repeats import averaged
from medseg.metrics.scores import METRICS


def test_a_single_training_is_left_as_it_is():
    scores = run(0.8, 0.6)
    assert averaged([scores]) == scores


def test_each_scan_gets_the_mean_of_the_trainings():
    found = averaged([run(0.8, 0.6), run(0.6, 0.9), run(0.7, 0.9)])
    assert [row.dice for row in found] == pytest.approx([0.7, 0.8])
    assert [row.hd95_mm for row in found] == pytest.approx([3.0, 2.0])
    assert [row.scan_id for row in found] == ["case0_day0", "case1_day0"]
    assert {row.status for row in found} == {"ok"}


def test_a_training_that_lost_the_organ_counts_as_worst():
    lost = score("case1_day0", "stomach", 0.0, status="missed", diagonal_mm=400.0)
    (found,) = averaged([[score("case1_day0", "stomach", 0.8)], [lost]])
    assert found.status == "ok"
    assert found.dice == pytest.approx(0.4)
    assert found.hd95_mm == pytest.approx((2 + 400) / 2)


def test_one_that_rightly_shows_nothing_counts_as_best_beside_one_that_invents():
    right = score("case1_day0", "stomach", math.nan, status="both_empty", volume_ref_ml=0.0)
    wrong = score("case1_day0", "stomach", 0.0, status="false_positive", volume_ref_ml=0.0)
    (found,) = averaged([[right], [wrong]])
    assert (found.status, found.dice, found.hd95_mm) == ("false_positive", 0.5, 250.0)


def test_what_all_leave_empty_stays_in_no_mean():
    right = score("case1_day0", "stomach", math.nan, status="both_empty")
    assert averaged([[right], [right]])[0].status == "both_empty"


def test_errors_of_volume_keep_their_sign():
    more = score("case1_day0", "stomach", 0.8, volume_error_ml=30.0)
    less = score("case1_day0", "stomach", 0.8, volume_error_ml=-10.0)
    assert averaged([[more], [less]])[0].volume_error_ml == pytest.approx(10.0)


def test_every_metric_of_a_comparison_takes_the_means():
    twice = {"a": averaged([run(0.8, 0.6), run(0.6, 0.8)]), "b": run(0.5, 0.5)}
    for metric in METRICS:
        done = compare_scores(twice, metric.name, n_resamples=10)
        assert done.n_patients == 2


def test_trainings_on_other_scans_are_refused():
    with pytest.raises(DataError, match="E-PAIRS") as caught:
        averaged([run(0.8, 0.6), run(0.8)])
    found = "trainings were tested on 2, 1 organs of scans"
    expected = Problem("E-PAIRS", "trainings", found, "the same scans for each")
    assert caught.value.problems == (expected,)
