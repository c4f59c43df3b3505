"""What a training shows to whoever watches it, and what it leaves written."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from ignite.engine import Engine

from medseg.engine.history import TrackingHandler
from medseg.runs import Run
from medseg.stages.display import Display

EVERY_S = 0.5
TOLD = "training.json"


def told(dataset: Any, evaluator: Engine) -> str:  # noqa: ANN401 - named by the configuration
    """Return what there is to train on, as a line."""
    counts = dataset.counts
    organs = ", ".join(f"{organ} in {n}" for organ, n in counts["organs"].items())
    validated = "" if evaluator.state.epoch_length else "; no patients left to validate on"
    return f"training on {counts['slices']} slices: {organs}, {counts['empty']} empty{validated}"


def keep(run: Run, sizes: dict[str, Any], rows: list[dict[str, float]]) -> None:
    """Write ``training.json``: `sizes`, and a row an epoch."""
    run.write(TOLD, {**sizes, "epochs": rows})


def epochs_of(run: Run) -> list[dict[str, float]]:
    """Return the rows of ``training.json``; none where there are none yet."""
    written: dict[str, Any] = run.read(TOLD) or {}
    return list(written.get("epochs", ()))


@dataclass
class Watch:
    """Show progress, mean loss and Dice twice a second: to read a loss is to wait for the device.

    Attributes:
        history: Of the training; attach it to the trainer before this.
        evaluator: The engine that validates.
        display: Where to show.
    """

    history: TrackingHandler
    evaluator: Engine
    display: Display
    _shown_s: float = field(default=-math.inf, init=False)

    @property
    def idle(self) -> bool:
        """Whether no step was done."""
        return math.isinf(self._shown_s)

    def step(self, trainer: Engine) -> None:
        """Show how far the training is at its first step, when it is time to, and at its last."""
        state = trainer.state
        total, now_s = state.max_epochs * state.epoch_length, time.monotonic()
        if now_s - self._shown_s < EVERY_S and state.iteration < total:
            return
        self._shown_s = now_s
        dice = self.evaluator.state.metrics.get("val_dice_mean")
        best = f", validation Dice {dice:.3f}" if dice is not None else ""
        note = f"epoch {state.epoch}/{state.max_epochs}, loss {self.history.mean_loss():.3f}{best}"
        self.display.advance(state.iteration, total, note)
