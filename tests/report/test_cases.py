"""Which scans are shown, and why."""

import math

import pytest
from scored_runs import run, score

from medseg.report.cases import failures, median_scan, pictured, typical_cases


def whys(cases):
    return [(case.why, case.score.scan_id) for case in cases]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0.5], ["worst case0_day0"], id="the only one is the worst"),
        pytest.param([0.5, 0.7], ["best case1_day0", "worst case0_day0"], id="two"),
        pytest.param(
            [0.5, 0.9, 0.7],
            ["best case1_day0", "median case2_day0", "worst case0_day0"],
            id="three",
        ),
        pytest.param([], [], id="none"),
    ],
)
def test_best_median_and_worst_as_far_as_there_are(values, expected):
    assert [" ".join(pair) for pair in whys(typical_cases(run(*values)))] == expected


def test_every_organ_has_its_own_and_empty_scans_do_not_count():
    scores = [
        *run(0.2, 0.4, organ="stomach"),
        *run(0.9, 0.8, organ="large_bowel"),
        score("case9_day0", "stomach", math.nan, status="both_empty"),
    ]
    assert whys(typical_cases(scores)) == [
        *(("best", "case1_day0"), ("worst", "case0_day0")),
        *(("best", "case0_day0"), ("worst", "case1_day0")),
    ]


def test_all_that_is_wrong_altogether_fails_and_of_the_rest_the_poorest_tenth():
    found = run(*[0.9 - 0.01 * n for n in range(11)])
    scores = [
        *found,
        score("case20_day0", "stomach", 0.0, status="missed"),
        score("case21_day0", "stomach", 0.0, status="false_positive"),
        score("case22_day0", "stomach", math.nan, status="both_empty"),
    ]
    assert [case.score.scan_id for case in failures(scores)] == [
        *("case20_day0", "case21_day0", "case10_day0", "case9_day0"),
    ]


def test_a_scan_and_organ_has_one_picture_as_a_typical_case_rather_than_a_failure():
    scores = run(0.5, 0.9, 0.7)
    assert whys(pictured(scores)) == whys(typical_cases(scores))
    assert (
        len(pictured([score(f"case{n}_day0", "a", 0.0, status="missed") for n in range(90)])) == 24
    )


def test_the_typical_scan_lies_in_the_middle_of_all_organs_together():
    scores = [
        *(score("case1_day0", organ, value) for organ, value in (("a", 0.9), ("b", 0.1))),
        *(score("case2_day0", organ, value) for organ, value in (("a", 0.9), ("b", 0.8))),
        *(score("case3_day0", organ, value) for organ, value in (("a", 0.1), ("b", math.nan))),
    ]
    assert median_scan(scores) == "case1_day0"
