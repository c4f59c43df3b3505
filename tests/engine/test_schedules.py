import pytest

from medseg.engine import warmup_cosine


def test_the_rate_rises_then_falls_along_a_cosine():
    factor = warmup_cosine(steps=12, warmup=1 / 6)
    assert [factor(0), factor(1), factor(2)] == [0.5, 1.0, 1.0]
    assert factor(7) == pytest.approx(0.5)  # half of the ten falling steps
    assert factor(12) == pytest.approx(0)


def test_a_step_past_the_end_stays_at_zero():
    assert warmup_cosine(steps=4)(9) == pytest.approx(0)


def test_one_step_is_enough():
    assert warmup_cosine(steps=1)(0) == 1.0
