"""What a training shows, and that it does not wait for the device to show it."""

from types import SimpleNamespace

import pytest

from medseg.stages.display import Silent
from medseg.stages.watch import Watch


class Screen(Silent):
    def __init__(self):
        self.shown = []

    def advance(self, done, total, note=""):
        self.shown.append((done, total, note))


class Losses:
    def __init__(self):
        self.read = 0

    def mean_loss(self):
        self.read += 1
        return 0.25


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr("time.monotonic", lambda: now.s)
    return now


def trainer(iteration):
    state = SimpleNamespace(iteration=iteration, epoch=1, max_epochs=2, epoch_length=5)
    return SimpleNamespace(state=state)


def watched(clock, metrics, every_s):
    """Return screen and losses after ten steps of `every_s` each."""
    screen, losses = Screen(), Losses()
    evaluator = SimpleNamespace(state=SimpleNamespace(metrics=metrics))
    watch = Watch(losses, evaluator, screen)
    for iteration in range(1, 11):
        clock.s += every_s
        watch.step(trainer(iteration))
    return screen, losses


def test_quick_steps_are_shown_twice_a_second_and_first_and_last_in_any_case(clock):
    screen, losses = watched(clock, {}, every_s=0.125)
    assert [done for done, *_ in screen.shown] == [1, 5, 9, 10]
    assert losses.read == 4


def test_slow_steps_are_all_shown(clock):
    screen, _ = watched(clock, {"val_dice_mean": 0.5}, every_s=1.0)
    assert len(screen.shown) == 10
    assert screen.shown[0] == (1, 10, "epoch 1/2, loss 0.250, validation Dice 0.500")


def test_without_validation_no_dice_is_shown(clock):
    screen, _ = watched(clock, {}, every_s=1.0)
    assert screen.shown[0][2] == "epoch 1/2, loss 0.250"
