"""Summaries of many scans: numbers by hand, and a policy that nothing can flatter."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.geometry import lpi_grid
from medseg.metrics.scores import METRICS, OrganScore, diagonal_mm, score_scan
from medseg.metrics.summary import penalised, summarise, worst

SHAPE = (2, 3, 3)
GRID = lpi_grid(SHAPE, (1.5, 1.25, 3.0))
MASK = st.one_of(arrays(bool, SHAPE), st.just(np.zeros(SHAPE, bool)))
EMPTY = np.zeros(SHAPE, bool)
FOUND = arrays(bool, SHAPE).map(lambda mask: mask if mask.any() else ~mask)
# A signed volume error is a bias: an organ left out may well bring its mean closer to zero.
GRADES = [metric for metric in METRICS if metric.better != "zero"]
DISTANCES = [metric.name for metric in METRICS if metric.better == "lower"]


def row(status, dice=0.0, *, hd_mm=2.0, ref_ml=1.0, **changed):
    """Return a score of an organ called gut in a scan called s, 10 mm from corner to corner."""
    shares = dict.fromkeys((m.name for m in METRICS if m.better == "higher"), dice)
    far = {"ok": hd_mm, "both_empty": math.nan}.get(status, math.inf)
    distances = dict.fromkeys(DISTANCES, far)
    volumes = {"volume_error_ml": 1.0 - ref_ml, "volume_pred_ml": 1.0, "volume_ref_ml": ref_ml}
    sizes = {"tolerance_mm": 3.0, "diagonal_mm": 10.0}
    made = OrganScore("s", "gut", status, **shares, **distances, **volumes, **sizes)
    return made._replace(**changed)


# --- By hand ----------------------------------------------------------------------------------


def test_a_summary_says_over_how_many_each_mean_is():
    rows = [
        row("ok", 0.9, scan_id="1"),
        row("ok", 0.7, hd_mm=3.0, ref_ml=3.0, scan_id="2"),
        row("missed", ref_ml=2.0, scan_id="3"),
        row("false_positive", ref_ml=0.0, scan_id="4"),
        row("both_empty", math.nan, ref_ml=0.0, scan_id="5"),
    ]
    summary = summarise(rows)
    organ = summary.organs[0]
    assert summary.n_scans == organ.n == 5
    assert (organ.n_ok, organ.n_missed, organ.n_false_positive, organ.n_both_empty) == (2, 1, 1, 1)
    assert organ.found["dice"] == pytest.approx(0.8)  # over 2
    assert organ.found["hd95_mm"] == pytest.approx(2.5)
    assert organ.found["volume_error_ml"] == pytest.approx(-1.0)  # 0 and -2
    assert organ.n_penalised == 4
    assert organ.penalised["dice"] == pytest.approx(0.4)  # 1.6 over 4
    assert organ.penalised["hd95_mm"] == pytest.approx(25 / 4)  # 2, 3, and the diagonal twice
    assert organ.penalised["volume_error_ml"] == pytest.approx(-0.5)  # 0, -2, -1 and 1
    assert organ.sensitivity == pytest.approx(2 / 3)
    assert organ.specificity == pytest.approx(1 / 2)


def test_every_metric_has_both_means():
    organ = summarise([row("ok", 0.5)]).organs[0]
    assert list(organ.found) == list(organ.penalised) == [metric.name for metric in METRICS]


def test_each_scan_is_penalised_by_its_own_diagonal():
    rows = [row("missed", diagonal_mm=100.0), row("missed", diagonal_mm=300.0)]
    assert summarise(rows).organs[0].penalised["hd_mm"] == pytest.approx(200.0)
    assert [penalised(score, "hd_mm") for score in rows] == [100.0, 300.0]


def test_a_summary_keeps_the_order_of_organs_and_never_mixes_them():
    rows = [row("ok", 0.5, organ="z"), row("ok", 0.25, organ="a"), row("missed", organ="z")]
    assert [(o.organ, o.penalised["dice"]) for o in summarise(rows).organs] == [
        ("z", 0.25),
        ("a", 0.25),
    ]


def test_means_over_nothing_are_nan_not_zero_or_one():
    organ = summarise([row("both_empty", math.nan, ref_ml=0.0)]).organs[0]
    assert all(math.isnan(mean) for mean in (*organ.found.values(), *organ.penalised.values()))
    assert math.isnan(organ.sensitivity)
    assert organ.specificity == 1.0
    assert math.isnan(summarise([row("ok")]).organs[0].specificity)
    assert all(math.isnan(mean) for mean in summarise([row("missed")]).organs[0].found.values())
    assert summarise([]) == (0, ())


def test_the_worst_scans_come_first_and_those_without_the_organ_never():
    rows = [
        row("ok", 0.9, scan_id="good"),
        row("ok", 0.5, hd_mm=3.0, scan_id="poor"),
        row("ok", 0.5, hd_mm=7.0, scan_id="poor and far"),
        row("both_empty", math.nan, scan_id="empty"),
        row("missed", scan_id="missed"),
        row("both_empty", math.nan, organ="other", scan_id="empty"),
    ]
    found = worst(rows, count=3)
    assert [score.scan_id for score in found["gut"]] == ["missed", "poor and far", "poor"]
    assert found["other"] == []
    assert worst([], count=3) == {}


# --- The policy -------------------------------------------------------------------------------

SCANS = st.lists(st.tuples(MASK, MASK), min_size=1, max_size=5)


def scored(pairs):
    """Return the scores of pairs of prediction and reference; a prediction may be None."""
    return [
        score
        for n, (pred, ref) in enumerate(pairs)
        for score in score_scan(
            None if pred is None else [pred], [ref], organs=["gut"], scan_id=f"scan{n}", grid=GRID
        )
    ]


def organ_of(pairs):
    return summarise(scored(pairs)).organs[0]


def not_better(after, before, better="higher"):
    """Whether a number stayed, became worse, or is none any more; NaN says nothing good."""
    if math.isnan(after):
        return True
    if math.isnan(before):  # of nothing became something: that must be the worst there is
        return after == (0.0 if better == "higher" else pytest.approx(diagonal_mm(GRID)))
    sign = 1 if better == "higher" else -1
    return sign * after <= sign * before + 1e-9


def no_grade_is_better(after, before):
    for metric in GRADES:
        pair = after.penalised[metric.name], before.penalised[metric.name]
        assert not_better(*pair, metric.better), (metric.name, *pair)
    return True


@given(SCANS, FOUND, FOUND, st.sampled_from([EMPTY, None]))
def test_a_lost_detection_never_improves_anything(pairs, pred, ref, nothing):
    before = organ_of([*pairs, (pred, ref)])
    after = organ_of([*pairs, (nothing, ref)])
    assert (after.n, after.n_penalised) == (before.n, before.n_penalised)
    assert no_grade_is_better(after, before)
    assert after.sensitivity < before.sensitivity
    assert not_better(after.specificity, before.specificity)
    assert after.n_ok == before.n_ok - 1  # so that the found mean says that it is over fewer


@given(SCANS, FOUND)
def test_a_false_positive_never_improves_anything(pairs, invented):
    before = organ_of([*pairs, (EMPTY, EMPTY)])
    after = organ_of([*pairs, (invented, EMPTY)])
    assert after.n_penalised == before.n_penalised + 1
    assert no_grade_is_better(after, before)
    assert after.specificity < before.specificity
    assert (repr(after.found), repr(after.sensitivity)) == (
        repr(before.found),
        repr(before.sensitivity),
    )


@given(SCANS, st.data())
def test_a_scan_left_out_never_improves_anything(pairs, data):
    before = organ_of(pairs)
    left_out = data.draw(st.integers(0, len(pairs) - 1))
    pairs[left_out] = (None, pairs[left_out][1])
    after = organ_of(pairs)
    assert after.n == before.n
    assert no_grade_is_better(after, before)
    for name in ("sensitivity", "specificity"):
        assert not_better(getattr(after, name), getattr(before, name))


@given(SCANS, st.randoms())
def test_the_order_of_scans_does_not_matter(pairs, random):
    rows = scored(pairs)
    before = summarise(rows).organs[0]
    random.shuffle(rows)
    after = summarise(rows).organs[0]
    for kind in ("found", "penalised"):
        here, there = getattr(before, kind), getattr(after, kind)
        assert list(there.values()) == pytest.approx(list(here.values()), nan_ok=True)


@given(SCANS)
def test_counts_add_up_and_means_stay_in_their_bounds(pairs):
    rows = scored(pairs)
    organ = summarise(rows).organs[0]
    states = Counter(score.status for score in rows)
    assert (organ.n_ok, organ.n_missed) == (states["ok"], states["missed"])
    assert (organ.n_false_positive, organ.n_both_empty) == (
        states["false_positive"],
        states["both_empty"],
    )
    assert organ.n == sum(states.values())
    assert organ.n_penalised == organ.n_ok + organ.n_missed + organ.n_false_positive
    for metric in GRADES:
        pair = organ.penalised[metric.name], organ.found[metric.name]
        if not math.isnan(organ.found[metric.name]):
            assert not_better(*pair, metric.better)
