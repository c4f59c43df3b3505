"""Epochs of a real MONAI trainer, small enough to work out by hand."""

import math

import pytest
import torch
from ignite.engine import Events
from mlflow import MlflowClient
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler

from medseg.engine.history import TrackingHandler
from medseg.engine.tracking import Tracker, default_uri

LABELS = (1.0, 2.0, 6.0)


class Recorder:
    """A log that remembers what it was told and when it was sent."""

    def __init__(self):
        self.sent = []
        self.kept = []

    def log_metrics(self, metrics, step):
        self.kept.append((step, dict(metrics)))

    def flush(self):
        self.sent, self.kept = [*self.sent, *self.kept], []


def batches():
    """Three batches of two slices; all labels of a batch are equal."""
    return [
        {"image": torch.zeros(2, 1, 4, 4), "label": torch.full((2, 1, 4, 4), value)}
        for value in LABELS
    ]


def label_mean(pred, label):
    """A loss that is the label's mean and teaches nothing."""
    return pred.sum() * 0 + label.mean()


def trained(log, *, decollate, epochs=2, interval=1, groups=1, names=()):
    network = torch.nn.Conv2d(1, 1, 1)
    parameters = [{"params": [p]} for p in network.parameters()][:groups]
    optimizer = torch.optim.SGD(parameters, lr=0.5)
    for n, group in enumerate(optimizer.param_groups):
        group["lr"] = 0.5 / (n + 1)
    for group, name in zip(optimizer.param_groups, names, strict=False):
        group["name"] = name
    device = torch.device("cpu")
    evaluator = SupervisedEvaluator(
        device=device, val_data_loader=batches(), network=network, decollate=False
    )

    @evaluator.on(Events.EPOCH_COMPLETED)
    def _dice():
        epoch = evaluator.state.epoch
        evaluator.state.metrics |= {"val_dice_stomach": 0.1 * epoch, "val_dice_mean": 0.2 * epoch}

    trainer = SupervisedTrainer(
        device=device,
        max_epochs=epochs,
        train_data_loader=batches(),
        network=network,
        optimizer=optimizer,
        loss_function=label_mean,
        train_handlers=[
            ValidationHandler(validator=evaluator, interval=interval),
            LrScheduleHandler(torch.optim.lr_scheduler.StepLR(optimizer, 1), print_lr=False),
        ],
        decollate=decollate,
    )
    handler = TrackingHandler(log, organs=("stomach",), evaluator=evaluator)
    handler.attach(trainer)
    trainer.run()
    return handler


@pytest.mark.parametrize(
    "decollate", [pytest.param(False, id="batches"), pytest.param(True, id="decollated")]
)
def test_each_epoch_tells_loss_rate_speed_and_dice(decollate):
    log = Recorder()
    handler = trained(log, decollate=decollate)
    assert [step for step, _ in log.sent] == [1, 2]
    assert log.kept == []
    for (step, sent), rate in zip(log.sent, (0.5, 0.05), strict=True):
        assert sent["train/loss"] == pytest.approx((1 + 2 + 6) / 3)
        assert sent["train/lr"] == pytest.approx(rate)
        assert sent["train/seconds"] * sent["train/slices_per_s"] == pytest.approx(6)
        assert sent["val/dice/stomach"] == pytest.approx(0.1 * step)
        assert sent["val/dice/mean"] == pytest.approx(0.2 * step)
    assert handler.history == [{"epoch": step, **sent} for step, sent in log.sent]


def test_an_epoch_without_validation_tells_no_dice():
    log = Recorder()
    trained(log, decollate=False, interval=2)
    assert ["val/dice/mean" in sent for _, sent in log.sent] == [False, True]


def test_losses_of_shorter_windows_are_told_by_iteration(monkeypatch):
    monkeypatch.setattr("medseg.engine.history.WINDOW", 2)
    log = Recorder()
    handler = trained(log, decollate=False)
    windows = [(step, sent) for step, sent in log.sent if "train/loss_of_2" in sent]
    # Of three iterations an epoch, of loss 1, 2 and 6, the first two are a window.
    assert windows == [(2, {"train/loss_of_2": 1.5}), (5, {"train/loss_of_2": 1.5})]
    assert [row["train/loss"] for row in handler.history] == pytest.approx([3, 3])
    assert math.isnan(handler.mean_loss())  # no epoch is running


def test_the_mean_loss_before_the_first_iteration_is_unknown():
    assert math.isnan(TrackingHandler(Recorder(), organs=()).mean_loss())


def test_rates_that_differ_are_told_apart():
    log = Recorder()
    trained(log, decollate=False, epochs=1, groups=2)
    sent = log.sent[0][1]
    assert sent["train/lr/0"] == pytest.approx(0.5)
    assert sent["train/lr/1"] == pytest.approx(0.25)


def test_rates_of_named_groups_are_told_by_their_names():
    log = Recorder()
    trained(log, decollate=False, epochs=1, groups=2, names=("encoder", "head"))
    sent = log.sent[0][1]
    assert (sent["train/lr/encoder"], sent["train/lr/head"]) == (0.5, 0.25)


def test_the_metrics_arrive_in_mlflow_by_epoch(tmp_path):
    tracker = Tracker(
        default_uri(tmp_path),
        experiment="history",
        run_name="a",
        output=tmp_path / "run",
        params={},
        tags={},
    )
    with tracker:
        trained(tracker, decollate=False)
    client = MlflowClient(default_uri(tmp_path))
    dice = client.get_metric_history(tracker.run_id, "val/dice/stomach")
    assert [(m.step, m.value) for m in dice] == [(1, 0.1), (2, 0.2)]
    assert client.get_run(tracker.run_id).data.metrics["train/loss"] == pytest.approx(3)
