"""Clipped gradients, rates that follow steps or the score, and an early stop."""

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Average
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from medseg.engine import EarlyStop, GradientClipping, LearningRates
from medseg.errors import UsageError

BATCH = {"image": torch.tensor([[1.0]]), "label": torch.tensor([[0.0]])}


def evaluator_of(scores):
    """An evaluator whose key metric is the next of `scores` in each run."""
    left = iter(scores)
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=[BATCH] if scores else [],
        network=nn.Identity(),
        iteration_update=lambda _engine, _batch: {"pred": next(left)},
        key_val_metric={"score": Average(output_transform=lambda output: output["pred"])},
        decollate=False,
    )


def trainer_of(handlers, *, optimizer=None, loss=None, epochs=1, steps=1):
    network = nn.Linear(1, 1)
    nn.init.ones_(network.weight)
    nn.init.zeros_(network.bias)
    return SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        epoch_length=steps,
        train_data_loader=[BATCH] * steps,
        network=network,
        optimizer=optimizer or torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=loss or (lambda _pred, _label: (3 * network.weight + 4 * network.bias).sum()),
        train_handlers=handlers,
        decollate=False,
    )


def optimizer_of():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


@pytest.mark.parametrize(
    ("norm", "weight", "bias"),
    [
        pytest.param(None, 1 - 3, -4, id="off"),
        pytest.param(1.0, 1 - 3 / 5, -4 / 5, id="longer than the norm"),
        pytest.param(6, 1 - 3, -4, id="shorter than the norm"),
    ],
)
def test_a_gradient_is_clipped_to_its_norm_as_a_whole(norm, weight, bias):
    engine = trainer_of([GradientClipping(norm)])  # the gradient is (3, 4): its norm is 5
    engine.run()
    assert engine.network.weight.item() == pytest.approx(weight, abs=1e-5)
    assert engine.network.bias.item() == pytest.approx(bias, abs=1e-5)


def test_a_gradient_that_is_not_finite_is_not_hidden():
    loss = lambda pred, _label: pred.sum() * float("nan")  # noqa: E731
    engine = trainer_of([GradientClipping(1.0)], loss=loss)
    engine.run()
    assert engine.network.weight.isnan().all()


@pytest.mark.parametrize("norm", [pytest.param(0, id="zero"), pytest.param(-1.0, id="negative")])
def test_a_norm_is_positive(norm):
    with pytest.raises(UsageError, match=r"E-CONFIG.*clip_norm: is .*null, or above 0"):
        GradientClipping(norm)


def test_a_schedule_counts_the_steps_of_the_optimiser():
    optimizer = optimizer_of()
    rates = LearningRates(StepLR(optimizer, 3, gamma=0.1), evaluator=evaluator_of([]))
    engine = trainer_of([rates], optimizer=optimizer, epochs=2, steps=4)
    seen = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(optimizer.param_groups[0]["lr"])
    )
    engine.run()
    assert seen == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_a_plateau_counts_validations_without_a_better_score():
    optimizer = optimizer_of()
    evaluator = evaluator_of([0.5, 0.4, 0.6, 0.6, 0.6, 0.5, 0.5])
    plateau = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=1)
    handlers = [ValidationHandler(1, evaluator), LearningRates(plateau, evaluator=evaluator)]
    engine = trainer_of(handlers, optimizer=optimizer, epochs=7, steps=2)
    seen = []
    evaluator.add_event_handler(
        Events.COMPLETED, lambda: seen.append(optimizer.param_groups[0]["lr"])
    )
    engine.run()
    # Halved at the second validation in a row that brings nothing new, and counted anew then.
    assert seen == [1, 1, 1, 1, 0.5, 0.5, 0.25]


def test_a_plateau_of_falling_scores_is_refused():
    plateau = ReduceLROnPlateau(optimizer_of(), mode="min")
    with pytest.raises(UsageError, match=r"lr_scheduler: mode is 'min'.*expected 'max'"):
        LearningRates(plateau, evaluator=evaluator_of([]))


def test_a_plateau_needs_patients_to_validate_on():
    optimizer = optimizer_of()
    rates = LearningRates(ReduceLROnPlateau(optimizer, mode="max"), evaluator=evaluator_of([]))
    with pytest.raises(UsageError, match=r"lr_scheduler: waits for validation scores, and no pat"):
        trainer_of([rates], optimizer=optimizer).run()


@pytest.mark.parametrize(
    ("patience", "epochs"),
    [
        pytest.param(2, 5, id="two"),
        pytest.param(None, 7, id="never"),
        pytest.param(9, 7, id="nine"),
    ],
)
def test_a_training_without_better_scores_ends(patience, epochs):
    evaluator = evaluator_of([0.5, 0.4, 0.6, 0.6, 0.5, 0.7, 0.7])
    handlers = [EarlyStop(evaluator, patience=patience), ValidationHandler(1, evaluator)]
    engine = trainer_of(handlers, epochs=7)
    engine.run()
    assert engine.state.epoch == epochs


def test_an_early_stop_goes_on_counting_from_its_state():
    evaluator = evaluator_of([0.5, 0.4, 0.3])
    stop = EarlyStop(evaluator, patience=3)
    stop.attach(Engine(lambda *_: None))
    for _ in range(3):
        evaluator.run()
    assert (stop.state_dict()["counter"], stop.state_dict()["best_score"]) == (2, 0.5)
    later = evaluator_of([0.4, 0.9])
    other = EarlyStop(later, patience=3)
    engine = trainer_of([other, ValidationHandler(1, later)], epochs=2)
    engine.add_event_handler(Events.STARTED, lambda: other.load_state_dict(stop.state_dict()))
    engine.run()
    assert engine.state.epoch == 1


def test_a_training_that_was_stopped_early_stays_so():
    evaluator = evaluator_of([0.5, 0.9])
    stop = EarlyStop(evaluator, patience=1)
    state = {"counter": 1, "best_score": 0.6, "threshold_mode": "abs"}
    engine = trainer_of([stop, ValidationHandler(1, evaluator)], epochs=2, steps=3)
    engine.add_event_handler(Events.STARTED, lambda: stop.load_state_dict(state))
    engine.run()
    assert engine.state.iteration == 0


def test_an_early_stop_that_is_off_has_no_state():
    stop = EarlyStop(evaluator_of([]), patience=None)
    stop.attach(Engine(lambda *_: None))
    assert stop.state_dict() == {}
    stop.load_state_dict({})


def test_patience_is_positive():
    with pytest.raises(UsageError, match=r"E-CONFIG.*patience: is 0 .expected null, or 1 or more"):
        EarlyStop(evaluator_of([]), patience=0)
