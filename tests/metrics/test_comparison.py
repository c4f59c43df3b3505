"""Runs compared by patient: what is paired, what is concluded, and how often that is wrong."""

import math

import numpy as np
import pytest
from scored_runs import run, score, study

from medseg.errors import DataError, Problem
from medseg.metrics.comparison import compare_scores
from medseg.metrics.pairing import ALL_ORGANS, counted_value, metric_named


def only(comparison, organ="stomach"):
    """Return the one difference of an organ."""
    (found,) = (o for o in comparison.organs if o.organ == organ)
    (difference,) = found.differences
    return difference


def test_differences_are_of_the_same_scan_whatever_the_order():
    a = run(0.9, 0.5, 0.7)
    b = [*reversed(run(0.8, 0.6, 0.4))]
    difference = only(compare_scores({"a": a, "b": b}))
    assert sorted(difference.by_patient) == pytest.approx([-0.1, 0.1, 0.3])
    assert difference.interval.mean == pytest.approx(0.1)
    # Ranks 1.5, 1.5 and 3, the first of them negative.
    assert difference.effect == pytest.approx(3 / 6)


def test_scans_are_counted_and_patients_tested():
    a = [score(f"case{n}_day{d}", "stomach", 0.9) for n in range(8) for d in range(3)]
    b = [s._replace(dice=0.8) for s in a]
    difference = only(compare_scores({"a": a, "b": b}))
    assert (difference.interval.n_scans, difference.interval.n_patients) == (24, 8)
    assert difference.p == 2 / 2**8
    assert difference.better == "a"


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        pytest.param("dice", "a", id="a share: the higher"),
        pytest.param("hd95_mm", "a", id="a distance: the lower"),
    ],
)
def test_which_way_is_better_is_the_metrics(metric, better):
    runs = {"a": run(*[0.9] * 8), "b": run(*[0.8] * 8)}
    assert only(compare_scores(runs, metric)).better == better
    turned = {"b": runs["b"], "a": runs["a"]}
    assert only(compare_scores(turned, metric)).better == better
    ranking = compare_scores(turned, metric).ranking
    assert (ranking.order, ranking.same) == ((1, 0), 1.0)


def test_a_signed_error_counts_by_its_size():
    metric = metric_named("volume_error_ml")
    errors = [score("s", "o", 0.9, volume_error_ml=error) for error in (-5.0, 5.0)]
    assert [counted_value(s, metric) for s in errors] == [5.0, 5.0]


def test_an_organ_lost_counts_as_worst_and_an_organ_invented_against_the_one_who_did_not():
    a = [score("case1_day0", "stomach", 0.0, status="missed"), *run(0.9)]
    a += [score("case2_day0", "stomach", 0.0, status="false_positive")]
    b = [score("case1_day0", "stomach", 0.5), *run(0.9)]
    b += [score("case2_day0", "stomach", math.nan, status="both_empty")]
    dice = only(compare_scores({"a": a, "b": b}))
    assert sorted(dice.by_patient) == pytest.approx([-1.0, -0.5, 0.0])
    hd95 = only(compare_scores({"a": a, "b": b}, "hd95_mm"))
    assert sorted(hd95.by_patient) == pytest.approx([0.0, 495.0, 500.0])
    means = compare_scores({"a": a, "b": b}).organs[0].runs
    assert [(m.found, m.n_found) for m in means] == [(0.9, 1), (0.7, 2)]


def test_an_organ_that_nobody_shows_is_in_no_mean():
    nothing = score("case9_day0", "stomach", math.nan, status="both_empty")
    runs = {"a": [*run(0.9, 0.8), nothing], "b": [*run(0.7, 0.6), nothing]}
    comparison = compare_scores(runs)
    assert only(comparison).interval.n_scans == 2
    assert comparison.n_scans == 3
    empty = compare_scores({"a": [nothing], "b": [nothing]})
    assert (empty.organs, empty.ranking, empty.n_tests) == ((), None, 0)


def test_the_mean_over_organs_is_one_number_a_scan():
    a = [*run(0.9, 0.7), *run(0.5, 0.5, organ="small_bowel")]
    b = [*run(0.8, 0.6), *run(0.4, 0.2, organ="small_bowel")]
    comparison = compare_scores({"a": a, "b": b})
    assert [o.organ for o in comparison.organs] == ["stomach", "small_bowel", ALL_ORGANS]
    whole = comparison.organs[-1]
    assert whole.runs[0].counted.mean == pytest.approx((0.7 + 0.6) / 2)
    assert only(comparison, ALL_ORGANS).by_patient == pytest.approx((0.1, 0.2))
    assert math.isnan(whole.runs[0].found)
    assert comparison.n_tests == 3


def test_p_values_are_corrected_for_all_organs_and_pairs():
    a = run(*[0.9] * 8)
    runs = {"a": a, "b": run(*[0.8] * 8), "c": run(*[0.7, 0.8] * 4)}
    comparison = compare_scores(runs)
    p = {(d.first, d.second): (d.p, d.p_holm) for d in comparison.organs[0].differences}
    # All eight patients up: 2 / 256, three tests. b less c is 0.1 four times, else 0: 2 / 16.
    assert p["a", "b"] == pytest.approx((2 / 256, 6 / 256))
    assert p["a", "c"] == pytest.approx((2 / 256, 6 / 256))
    assert p["b", "c"] == pytest.approx((2 / 16, 2 / 16))
    assert comparison.patients_needed == 7


def test_nothing_is_better_where_test_and_interval_do_not_both_say_so():
    # Nineteen patients are a little better, one is lost altogether: the ranks say a, the mean b.
    a = run(*[0.801] * 19, 0.0)
    b = run(*[0.8] * 20)
    difference = only(compare_scores({"a": a, "b": b}))
    assert difference.p_holm < 0.05
    assert difference.interval.low < 0 < difference.interval.high
    assert difference.better is None


def test_few_patients_show_nothing_however_clear_it_looks():
    difference = only(compare_scores({"a": run(*[0.9] * 5), "b": run(*[0.1] * 5)}))
    assert difference.interval.low > 0.7
    assert difference.p_holm == 2 / 32
    assert difference.better is None


def test_intervals_stay_where_the_metric_can_be():
    comparison = compare_scores({"a": run(0.0, 1.0, 1.0), "b": run(1.0, 0.0, 0.0)})
    assert comparison.organs[0].runs[0].counted[1:3] == (0.0, 1.0)
    assert only(comparison).interval[1:3] == (-1.0, 1.0)
    hd = compare_scores({"a": run(0.0, 1.0), "b": run(1.0, 0.0)}, "hd_mm")
    assert hd.organs[0].runs[0].counted.low == 0.0
    assert hd.organs[0].runs[0].counted.high > 10


def test_what_only_some_have_is_left_out_by_name():
    a = [*run(0.9, 0.8, 0.7), *run(0.5, 0.5, 0.5, organ="small_bowel"), *run(0.1, organ="liver")]
    b = [*run(0.9, 0.8), *run(0.5, organ="small_bowel")]
    comparison = compare_scores({"a": a, "b": b})
    assert comparison.n_scans == 2
    assert [o.organ for o in comparison.organs] == ["stomach", "small_bowel", ALL_ORGANS]
    assert [str(problem) for problem in comparison.problems] == [
        "warning[W-PAIRS]: a: 1 scan that not all runs have, left out: case2_day0.",
        "warning[W-PAIRS]: a: 1 organ that not all runs have, left out: liver.",
        "warning[W-PAIRS]: a: 1 score that not all runs have, left out: case1_day0 small_bowel.",
    ]


def test_intervals_are_of_the_level_that_is_told():
    runs = {"a": run(0.9, 0.5, 0.7, 0.3), "b": run(0.8, 0.6, 0.4, 0.5)}
    wide, narrow = (compare_scores(runs, level=level) for level in (0.95, 0.5))
    assert (wide.level, narrow.level) == (0.95, 0.5)
    assert compare_scores(runs).level == 0.95
    low, high = only(wide).interval[1:3]
    assert low < only(narrow).interval.low < only(narrow).interval.high < high


SAME_SCANS = "compare runs that were tested on the same scans"


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        pytest.param(
            run(0.9),
            [score("case7_day0", "stomach", 0.9)],
            ("a and b", "no scan is in all of them; scans: 1 in a, 1 in b", "common scans",
             SAME_SCANS),
            id="no common scan",
        ),
        pytest.param(
            run(0.9),
            run(0.9, organ="liver"),
            ("a and b", "no organ is in all of them; scans: 1 in a, 1 in b", "common organs",
             SAME_SCANS),
            id="no organ",
        ),
        pytest.param(
            run(0.9) * 2,
            run(0.9),
            ("a", "1 scores are there twice, such as case0_day0 stomach",
             "one score an organ and scan"),
            id="twice",
        ),
        pytest.param(
            run(0.9),
            [score("case0_day0", "stomach", 0.9, volume_ref_ml=81.0)],
            ("b", "the reference of case0_day0 stomach has another volume than in a",
             "scores against the same masks"),
            id="another reference",
        ),
        pytest.param(
            [score("case0_day0", "stomach", math.nan)],
            run(0.9),
            ("a", "dice of case0_day0 stomach is no number", "a value for every organ and scan"),
            id="no value",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_paired_is_refused(a, b, told):
    with pytest.raises(DataError, match="E-PAIRS") as caught:
        compare_scores({"a": a, "b": b})
    assert caught.value.problems == (Problem("E-PAIRS", *told),)


def test_a_reference_that_rounding_leaves_of_an_empty_mask_is_the_same():
    a = [score("case0_day0", "stomach", 0.0, status="false_positive", volume_ref_ml=0.0)]
    assert compare_scores({"a": a, "b": [a[0]._replace(volume_ref_ml=1e-12)]}).n_scans == 1


def test_surface_dice_is_compared_at_one_tolerance_only():
    other = [s._replace(tolerance_mm=5.0) for s in run(0.9, 0.8)]
    assert compare_scores({"a": run(0.9, 0.8), "b": other}).n_scans == 2
    with pytest.raises(DataError, match="b: has another tolerance than a") as caught:
        compare_scores({"a": run(0.9, 0.8), "b": other}, "nsd")
    expected = Problem("E-PAIRS", "b", "has another tolerance than a", "one tolerance for all")
    assert caught.value.problems == (expected,)


def any_better(runs):
    comparison = compare_scores(runs, n_resamples=200)
    return any(d.better for organ in comparison.organs for d in organ.differences)


@pytest.mark.parametrize(
    ("setting", "least", "most"),
    [
        # 5 % of 400 is 20; a binomial of 400 and 0.05 is above 34 about once in 1000 times.
        pytest.param({"n_patients": 16, "n_runs": 3}, 0, 34, id="three runs, four rows"),
        # A single test must come close to 5 %, or it would show nothing when there is something.
        pytest.param({"n_patients": 20, "organs": ("stomach",)}, 8, 34, id="a single test"),
    ],
)
def test_equal_runs_are_called_different_in_about_one_study_of_twenty(setting, least, most):
    rng = np.random.default_rng(2024)
    alarms = sum(any_better(study(rng, **setting)) for _ in range(400))
    assert least <= alarms <= most


def test_with_scans_as_patients_equal_runs_would_be_called_different_too_often():
    rng = np.random.default_rng(2024)
    alarms = 0
    for _ in range(150):
        runs = study(rng, n_patients=20, organs=("stomach",))
        # Without a day in its name a scan is a patient of its own.
        alone = {
            name: [s._replace(scan_id=s.scan_id.replace("_day", "x")) for s in scores]
            for name, scores in runs.items()
        }
        alarms += any_better(alone)
    assert alarms / 150 > 0.1


def test_a_real_difference_is_found():
    rng = np.random.default_rng(7)
    found = sum(any_better(study(rng, n_patients=40, shift=0.5)) for _ in range(30))
    assert found >= 27


def test_the_same_seed_gives_the_same_comparison():
    runs = study(np.random.default_rng(3), n_patients=7)
    assert compare_scores(runs, seed=4) == compare_scores(runs, seed=4)
    assert compare_scores(runs, seed=4).organs != compare_scores(runs, seed=5).organs
