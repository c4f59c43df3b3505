"""Bias and limits of agreement, by hand."""

import math

import pytest

from medseg.metrics.agreement import limits_of_agreement


def test_limits_lie_two_standard_deviations_from_the_bias():
    found = limits_of_agreement([-2.0, 0.0, 2.0, 4.0])
    # Squares about the mean of 1: 9, 1, 1, 9, over three.
    within = 1.96 * math.sqrt(20 / 3)
    assert found == pytest.approx((1.0, 1 - within, 1 + within, 4))


@pytest.mark.parametrize(
    ("differences", "bias"),
    [pytest.param([], math.nan, id="none"), pytest.param([3.5], 3.5, id="one")],
)
def test_too_few_have_no_limits(differences, bias):
    found = limits_of_agreement(differences)
    assert found.bias == pytest.approx(bias, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.n == len(differences)
