"""What a page says of scores: intervals by patient, volumes, sentences."""

import math

import pytest
from reported_run import scores_of
from scored_runs import run, score

from medseg.metrics.statistics import patient_interval
from medseg.report.findings import caution, organ_rows, verdict


def test_intervals_are_those_of_patients():
    scores = scores_of(8, days=3)
    row = organ_rows(scores)[0]
    own = [s for s in scores if s.organ == row.organ]
    expected = patient_interval([s.dice for s in own], [s.scan_id.split("_")[0] for s in own])
    assert row.found["dice"] == pytest.approx(expected)
    assert row.found["dice"][3:] == (24, 8)


def test_what_was_lost_counts_in_all_and_not_in_found():
    scores = [*run(0.8, 0.6), score("case9_day0", "stomach", 0.0, status="missed")]
    (row,) = organ_rows(scores)
    assert row.found["dice"].mean == pytest.approx(0.7)
    assert row.penalised["dice"].mean == pytest.approx(1.4 / 3)
    assert row.penalised["hd95_mm"].mean == pytest.approx((2 + 4 + 500) / 3)
    assert (row.found["dice"].n_scans, row.penalised["dice"].n_scans) == (2, 3)


def test_an_organ_that_is_nowhere_has_no_numbers():
    (row,) = organ_rows([score("case1_day0", "a", math.nan, status="both_empty")])
    assert math.isnan(row.found["dice"].mean)
    assert row.agreement.n == 0
    assert row.volumes_ml == ()


def test_an_interval_holds_nothing_that_cannot_be():
    (row,) = organ_rows(run(*[0.99] * 5, 0.2, 1.0, 1.0))
    assert row.found["dice"].high == 1.0
    assert row.found["hd95_mm"].low >= 0.0


def test_volumes_are_paired_where_there_is_a_prediction():
    nothing = score("case3_day0", "stomach", 0.0, status="missed", volume_pred_ml=math.nan)
    empty = score("case4_day0", "stomach", 0.0, status="missed", volume_pred_ml=0.0)
    (row,) = organ_rows([*run(0.8, 0.6), nothing, empty])
    assert row.volumes_ml == ((80.0, 80.0), (80.0, 80.0), (0.0, 80.0))
    assert row.agreement.bias == pytest.approx(-80 / 3)


def test_the_verdict_is_a_sentence_with_intervals_where_they_may_be_given():
    told = verdict(organ_rows(scores_of(8)), scores_of(8))
    assert told.startswith("Held-out scans of 8 patients (16 scans): large bowel Dice 0.86 (0.8")
    assert told.endswith("; every organ was found where it is.")
    assert caution(scores_of(8)) == ""


def test_few_patients_are_said_to_be_few():
    (row,) = organ_rows(run(0.8))
    assert verdict([row], run(0.8)) == (
        "Held-out scans of 1 patient (1 scan): stomach Dice 0.80; "
        "every organ was found where it is."
    )
    assert caution(run(0.8)).startswith("1 patient is too few for intervals: it takes 6 at least")
