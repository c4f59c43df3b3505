import pytest
import torch
import transformers

from medseg.engine import warmup_cosine, warmup_poly


def test_the_rate_rises_then_falls_along_a_cosine():
    factor = warmup_cosine(steps=12, warmup=1 / 6)
    assert [factor(0), factor(1), factor(2)] == [0.5, 1.0, 1.0]
    assert factor(7) == pytest.approx(0.5)  # half of the ten falling steps
    assert factor(12) == pytest.approx(0)


def test_a_cosine_ends_at_its_minimum():
    factor = warmup_cosine(steps=10, warmup=0, minimum=0.1)
    assert factor(0) == 1.0
    assert factor(5) == pytest.approx(0.55)  # the mean of 1 and 0.1
    assert [factor(10), factor(99)] == [pytest.approx(0.1)] * 2


def test_the_rate_falls_as_a_power_of_the_steps_left():
    factor = warmup_poly(steps=10, warmup=0.2, power=2, minimum=0.2)
    assert [factor(0), factor(1), factor(2)] == [0.5, 1.0, 1.0]
    assert factor(6) == pytest.approx(0.2 + 0.8 * 0.25)  # half of the eight falling steps
    assert factor(10) == pytest.approx(0.2)


@pytest.mark.parametrize("warmup", [pytest.param(0, id="none"), pytest.param(20, id="warm-up")])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(
            lambda share: warmup_poly(steps=100, warmup=share, power=0.9, minimum=0.05),
            lambda optimizer, steps: transformers.get_polynomial_decay_schedule_with_warmup(
                optimizer, steps, 100, lr_end=0.05 * 3e-4, power=0.9
            ),
            id="poly",
        ),
        pytest.param(
            lambda share: warmup_cosine(steps=100, warmup=share, minimum=0.05),
            lambda optimizer, steps: transformers.get_cosine_with_min_lr_schedule_with_warmup(
                optimizer, steps, 100, min_lr_rate=0.05
            ),
            id="cosine",
        ),
    ],
)
def test_a_fall_is_that_of_transformers(ours, theirs, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    schedule, factor = theirs(optimizer, warmup), ours(warmup / 100)
    for step in range(101):
        if step >= warmup:
            assert optimizer.param_groups[0]["lr"] == pytest.approx(3e-4 * factor(step), rel=1e-6)
        optimizer.step()
        schedule.step()
    if warmup:
        assert factor(9) == pytest.approx(0.5)  # theirs begins at 0, ours at the first of 20 steps


def test_a_cosine_without_warm_up_is_that_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-5)
    factor = warmup_cosine(steps=20, warmup=0, minimum=0.1)
    for step in range(21):
        assert schedule.get_last_lr()[0] == pytest.approx(1e-4 * factor(step), rel=1e-9)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    "schedule", [pytest.param(warmup_cosine, id="cosine"), pytest.param(warmup_poly, id="poly")]
)
def test_a_step_past_the_end_stays_at_zero(schedule):
    assert schedule(steps=4)(9) == pytest.approx(0)


@pytest.mark.parametrize(
    "schedule", [pytest.param(warmup_cosine, id="cosine"), pytest.param(warmup_poly, id="poly")]
)
def test_one_step_is_enough(schedule):
    assert schedule(steps=1)(0) == 1.0
