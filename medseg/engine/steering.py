"""What steers a training while it runs: clipped gradients, learning rates, an early stop.

Each is a handler of MONAI's trainer that costs nothing while its setting is None.
"""

from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from monai.engines.utils import IterationEvents
from monai.handlers import LrScheduleHandler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from medseg.errors import Problem, UsageError


class GradientClipping:
    """Scale the gradient of all parameters together down to a norm, before each step.

    Args:
        norm: The largest Euclidean norm that is left alone; None leaves all alone.

    Raises:
        UsageError: `norm` is no positive number.

    References:
        Pascanu, Mikolov, Bengio (2013), On the Difficulty of Training Recurrent Neural Networks.
    """

    def __init__(self, norm: float | None) -> None:
        if norm is not None and not norm > 0:
            raise UsageError(Problem("E-CONFIG", "clip_norm", f"is {norm}", "null, or above 0"))
        self.norm = norm

    def attach(self, trainer: Engine) -> None:
        """Listen to the trainer."""
        if self.norm is not None:
            trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, _clip, self.norm)


class LearningRates:
    """Take a step of torch's scheduler: after each step of the optimiser, or each validation.

    `ReduceLROnPlateau` lowers the rate when the validation score no longer rises: its patience
    counts validations. All others count optimiser steps.

    Args:
        scheduler: One of torch's, or of transformers'.
        evaluator: MONAI's evaluator that validates the training; its key metric is the score.

    Raises:
        UsageError: A plateau of falling scores is looked for.
    """

    def __init__(self, scheduler: LRScheduler | ReduceLROnPlateau, *, evaluator: Engine) -> None:
        self.scheduler, self.evaluator = scheduler, evaluator
        self.by_score = isinstance(scheduler, ReduceLROnPlateau)
        if isinstance(scheduler, ReduceLROnPlateau) and scheduler.mode != "max":
            found = f"mode is {scheduler.mode!r}, but a better score is a higher one"
            raise UsageError(Problem("E-CONFIG", "lr_scheduler", found, "'max'"))

    def attach(self, trainer: Engine) -> None:
        """Listen to the trainer or to its evaluator; before what writes checkpoints."""
        if self.by_score:
            trainer.add_event_handler(Events.STARTED, self._require_scores)
            by_score = LrScheduleHandler(self.scheduler, print_lr=False, step_transform=score)
            by_score.attach(self.evaluator)
        else:
            LrScheduleHandler(self.scheduler, print_lr=False, epoch_level=False).attach(trainer)

    def _require_scores(self, _trainer: Engine) -> None:
        if not self.evaluator.state.epoch_length:
            found = "waits for validation scores, and no patients are left to validate on"
            fix = "take another schedule, or more folds"
            raise UsageError(Problem("E-CONFIG", "lr_scheduler", found, fix=fix))


class EarlyStop:
    """End a training whose validation score has not risen for some validations.

    A part of the checkpoints: a resumed training goes on counting.

    Args:
        evaluator: MONAI's evaluator that validates the training; its key metric is the score.
        patience: Validations without a better score; None never stops.

    Raises:
        UsageError: `patience` is less than 1.
    """

    def __init__(self, evaluator: Engine, *, patience: int | None) -> None:
        if patience is not None and patience < 1:
            raise UsageError(
                Problem("E-CONFIG", "patience", f"is {patience}", "null, or 1 or more")
            )
        self.evaluator, self.patience = evaluator, patience
        self._stopping: EarlyStopping | None = None

    def attach(self, trainer: Engine) -> None:
        """Listen to the evaluator, to end the trainer."""
        if self.patience is not None:
            self._stopping = EarlyStopping(self.patience, score, trainer)
            self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._stopping)

    def state_dict(self) -> dict[str, Any]:
        """Return the count and the best score so far; nothing without patience."""
        return {} if self._stopping is None else dict(self._stopping.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from a state; a training that had been stopped ends at once."""
        if self._stopping is not None and state:
            self._stopping.load_state_dict(state)
            if self._stopping.counter >= self._stopping.patience:
                self._stopping.trainer.terminate()


def score(evaluator: Engine) -> float:
    """Return the key metric of the evaluator's last run."""
    return float(evaluator.state.metrics[evaluator.state.key_metric_name])


def _clip(trainer: Engine, norm: float) -> None:
    # A gradient that is not finite stays so: the loss will tell.
    torch.nn.utils.clip_grad_norm_(trainer.network.parameters(), norm)
