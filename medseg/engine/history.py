"""What each epoch of a training tells, in numbers."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ignite.engine import Engine

WINDOW = 50


class Log(Protocol):
    """Where the numbers of an epoch go, such as a `medseg.engine.tracking.Tracker`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics of an epoch, or of an iteration."""

    def flush(self) -> None:
        """Send what was kept."""


class Steps(Log, Protocol):
    """A log that knows what it was told, such as a `medseg.engine.tracking.Tracker`."""

    def steps(self, metric: str) -> frozenset[int]:
        """Return the steps that the run has told of a metric already."""


class Unlogged:
    """A log of one who has nothing to tell, for another tells the same."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep nothing."""

    def flush(self) -> None:
        """Send nothing."""

    def steps(self, metric: str) -> frozenset[int]:  # noqa: ARG002 - as Steps calls it
        """Return no steps."""
        return frozenset()


class Once:
    """A log that takes each step of a metric once: of an epoch that is repeated, the first time.

    Whoever is killed after an epoch was told and before it was saved repeats that epoch.
    """

    def __init__(self, log: Steps) -> None:
        self._log = log
        self._steps = cache(log.steps)
        self.flush = log.flush

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Pass on what is new."""
        new = {key: value for key, value in metrics.items() if step not in self._steps(key)}
        self._log.log_metrics(new, step)


class TrackingHandler:
    """Send what each epoch tells to a log, and keep it in `history`, one row an epoch.

    Attach it last: metrics are sent when the trainer has completed an epoch, after a validation
    that hangs on the same event. A row holds ``epoch``, ``train/loss`` (mean over iterations),
    ``train/lr`` (where parameter groups differ ``train/lr/head`` and so on, by their names or
    numbers), ``train/seconds`` (without validation), ``train/slices_per_s`` and, in epochs that
    were validated, the evaluator's metrics. The log, not the history, also receives
    ``train/loss_of_50``, the mean over each 50 iterations of an epoch, by iteration in place of
    epoch. A part of the checkpoints: a resumed training has the rows of one in one go.

    Args:
        log: Where the numbers go.
        organs: Names of the organs, in any order.
        evaluator: MONAI's evaluator that validates the training, None without validation.
        names: For each metric of the evaluator that is wanted, how the run calls it; by default
            ``val_dice_<organ>`` becomes ``val/dice/<organ>``, and the mean likewise.
    """

    def __init__(
        self,
        log: Log,
        *,
        organs: Sequence[str],
        evaluator: "Engine | None" = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        every = (*organs, "mean")
        self.names = dict(names or {f"val_dice_{name}": f"val/dice/{name}" for name in every})
        self.history: list[dict[str, float]] = []
        self._log = log
        self._evaluator = evaluator
        self._row: dict[str, float] = {}
        self._losses: list[Any] = []
        self._iterations = self._slices = 0
        self._began_s = self._ended_s = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, and what the running epoch has told."""
        return {
            "rows": self.history,
            "row": self._row,
            "losses": self._losses,
            "iterations": self._iterations,
            "slices": self._slices,
            "seconds": self._ended_s - self._began_s,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the rows of a state, in the middle of an epoch or at its end."""
        self.history, self._row, self._losses = state["rows"], state["row"], state["losses"]
        self._iterations, self._slices = state["iterations"], state["slices"]
        self._began_s, self._ended_s = -state["seconds"], 0.0  # until the epoch goes on

    def attach(self, trainer: "Engine") -> None:
        """Listen to a MONAI trainer, and to the evaluator that validates it."""
        from ignite.engine import (
            Events,
        )  # torch comes with it, and the address of a store needs none

        trainer.add_event_handler(Events.EPOCH_STARTED, self._start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._iterate)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._finish)
        if self._evaluator is not None:
            self._evaluator.add_event_handler(Events.COMPLETED, self._validate)

    def mean_loss(self) -> float:
        """Return the mean of the running epoch so far, waiting for the device; NaN without any."""
        return sum(map(float, self._losses)) / self._iterations if self._iterations else math.nan

    def _start(self, trainer: "Engine") -> None:
        now_s = time.perf_counter()
        if self._iterations:  # resumed in the middle of an epoch
            self._began_s, self._ended_s = now_s + self._began_s, now_s
            return
        # Read now: a schedule may change the rate when the epoch is completed.
        groups = enumerate(trainer.optimizer.param_groups)
        rates = {group.get("name", n): group["lr"] for n, group in groups}
        several = len(set(rates.values())) > 1
        self._row = {"epoch": trainer.state.epoch}
        self._row |= {f"train/lr{f'/{n}' if several else ''}": r for n, r in rates.items()}
        self._began_s = self._ended_s = now_s

    def _iterate(self, trainer: "Engine") -> None:
        output = trainer.state.output
        # With MONAI's decollation the output is a list, one dictionary a slice.
        listed = isinstance(output, list)
        loss = (output[0] if listed else output)["loss"]
        # Summed where it lies: to read a number off the device is to wait for the device.
        loss = loss.detach().float() if hasattr(loss, "detach") else loss
        if self._iterations % WINDOW:
            self._losses[-1] = self._losses[-1] + loss
        else:
            self._losses.append(loss)
        self._iterations += 1
        self._slices += _slices(trainer, output if listed else output["image"])
        self._ended_s = time.perf_counter()

    def _validate(self, evaluator: "Engine") -> None:
        found = evaluator.state.metrics
        self._row |= {new: float(found[old]) for old, new in self.names.items() if old in found}

    def _finish(self, trainer: "Engine") -> None:
        seconds = self._ended_s - self._began_s
        sums = [float(each) for each in self._losses]
        if self._iterations:
            self._row["train/loss"] = sum(sums) / self._iterations
            self._row["train/seconds"] = seconds
            self._row["train/slices_per_s"] = self._slices / max(seconds, 1e-9)
        self.history.append(self._row)
        first = trainer.state.iteration - self._iterations
        for number in range(1, self._iterations // WINDOW + 1):
            mean = sums[number - 1] / WINDOW
            self._log.log_metrics({f"train/loss_of_{WINDOW}": mean}, step=first + number * WINDOW)
        sent = {key: value for key, value in self._row.items() if key != "epoch"}
        self._log.log_metrics(sent, step=trainer.state.epoch)
        self._log.flush()
        self._row, self._losses, self._iterations, self._slices = {}, [], 0, 0


def _slices(trainer: "Engine", own: Sequence[Any]) -> int:
    """Return how many slices a step had, in all processes that train together."""
    from medseg import ranks  # torch comes with it

    return len(own) if ranks.world() == 1 else int(trainer.data_loader.batch_size)
