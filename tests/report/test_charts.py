"""Charts of scores, judged by what is drawn."""

import math

import numpy as np
import pytest
from reported_run import MANIFEST
from scored_runs import score

from medseg.metrics.agreement import limits_of_agreement
from medseg.metrics.calibration import count_by_probability
from medseg.report.charts import agreement_chart, reliability_chart, size_chart
from medseg.report.page import chart

LABELS = MANIFEST.labels


def points(line):
    return [tuple(map(float, point)) for point in line.get_xydata()]


def test_size_is_against_dice_and_a_missed_organ_lies_at_zero():
    scores = [
        score("case1_day0", "stomach", 0.8, volume_ref_ml=120.0),
        score("case2_day0", "stomach", 0.0, status="missed", volume_ref_ml=60.0),
        score("case3_day0", "stomach", 0.0, status="false_positive", volume_ref_ml=0.0),
        score("case4_day0", "stomach", math.nan, status="both_empty", volume_ref_ml=0.0),
        score("case5_day0", "large_bowel", 0.7, volume_ref_ml=300.0),
    ]
    ok, missed = size_chart(scores, LABELS, "stomach").axes[0].lines
    assert points(ok) == [(120.0, 0.8)]
    assert points(missed) == [(60.0, 0.0)]
    assert ok.get_marker() != missed.get_marker()


def test_differences_of_volumes_are_against_their_mean_with_bias_and_limits():
    pairs = ((110.0, 100.0), (90.0, 100.0), (130.0, 100.0))
    found = limits_of_agreement([10.0, -10.0, 30.0])
    figure = agreement_chart(pairs, found, LABELS, "stomach")
    dots, _, *levels = figure.axes[0].lines
    assert points(dots) == [(105.0, 10.0), (95.0, -10.0), (115.0, 30.0)]
    assert [line.get_ydata()[0] for line in levels] == pytest.approx([10.0, *found[1:3]])
    low, high = figure.axes[0].get_ylim()
    assert low < found.low < found.high < high


def test_nothing_to_compare_is_an_empty_chart():
    figure = agreement_chart((), limits_of_agreement([]), LABELS, "stomach")
    assert points(figure.axes[0].lines[0]) == []
    assert len(figure.axes[0].lines) == 2
    assert points(size_chart([], LABELS, "stomach").axes[0].lines[0]) == []


def test_the_reliability_diagram_has_a_point_a_bin():
    probs = np.array([0.22, 0.24, 0.97, 1.0], np.float32).reshape(1, 1, -1)
    counts = count_by_probability(probs, np.array([True, False, True, True]).reshape(1, 1, -1))
    axes = reliability_chart(counts, LABELS, "stomach").axes[0]
    diagonal, curve = axes.lines
    assert points(diagonal) == [(0.0, 0.0), (1.0, 1.0)]
    assert points(curve) == [pytest.approx((0.23, 0.5)), pytest.approx((0.985, 1.0))]
    assert sorted(bar.get_height() for bar in axes.patches)[-2:] == [0.5, 0.5]


def test_organs_differ_by_more_than_colour():
    markers = {
        size_chart([], LABELS, organ).axes[0].lines[0].get_marker() for organ in LABELS.names
    }
    assert len(markers) == 3


def test_equal_charts_are_equal_bytes_with_text_as_text():
    drawn = [chart(size_chart([], LABELS, "stomach"), "empty").data for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert b"volume in the reference, ml</text>" in drawn[0]
