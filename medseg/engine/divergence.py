"""Steps whose loss is no finite number: left out, counted, and after some the training ends."""

from collections import deque
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor

from medseg import ranks
from medseg.errors import DivergedError, Problem

MOST = 10


class _Step(NamedTuple):
    """A step, whether its loss was bad, and what to wait for until that can be read."""

    number: int
    scans: tuple[str, ...]
    bad: Tensor
    arrived: torch.cuda.Event | None


class FiniteSteps:
    """Leave out the steps whose loss is NaN or infinite, and end a training with too many.

    A fused optimiser leaves such a step out where it computes, and the host reads of it when the
    device has got there: nothing waits. Other optimisers wait for each loss. What passed through
    the network before may have spoilt the statistics of its norms all the same; no checkpoint is
    made of a network that holds what is no number. Where several processes train together, all
    leave out what one of them must.

    Args:
        most: Steps that may be left out in all.
    """

    def __init__(self, *, most: int = MOST) -> None:
        self.most = most
        self.skipped: dict[int, tuple[str, ...]] = {}
        self._pending: deque[_Step] = deque()

    def attach(self, trainer: Engine) -> None:
        """Listen to the trainer."""
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._guard)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._look)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._look_at_all)

    def _guard(self, trainer: Engine) -> None:
        loss = trainer.state.output["loss"].detach()
        bad = ranks.summed((~loss.isfinite()).float()) > 0
        optimizer = trainer.optimizer
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = bad.float()
        elif bad:
            optimizer.zero_grad(set_to_none=True)  # without gradients a step changes nothing
        batch: Any = trainer.state.batch
        scans = batch.get("scan_id", ()) if isinstance(batch, dict) else ()
        self._pending.append(_Step(trainer.state.iteration, tuple(scans), *_sent(bad)))

    def _look(self) -> None:
        if ranks.world() > 1:
            # Not when it is there, but after the same step in every process.
            self._look_at_all(but=1)
            return
        while self._pending and (self._pending[0].arrived is None or _is_there(self._pending[0])):
            self._count(self._pending.popleft())

    def _look_at_all(self, *, but: int = 0) -> None:
        while len(self._pending) > but:
            step = self._pending.popleft()
            if step.arrived is not None:
                step.arrived.synchronize()
            self._count(step)

    def _count(self, step: _Step) -> None:
        if not step.bad:
            return
        self.skipped[step.number] = step.scans
        if len(self.skipped) > self.most:
            own = {scan for each in self.skipped.values() for scan in each}
            scans = ", ".join(sorted(set().union(*ranks.gathered(own))))
            raise diverged(
                f"step {step.number}",
                f"the loss of {len(self.skipped)} steps was no finite number, with {scans}",
            )


def require_finite(state: dict[str, Any]) -> None:
    """Raise DivergedError for weights that hold NaN or infinity; nothing is written of them."""
    tensors = [each for each in state.values() if isinstance(each, Tensor)]
    finite = [each.isfinite().all() for each in tensors if each.is_floating_point()]
    if finite and not torch.stack(finite).all():
        raise diverged("network", "its weights are no finite numbers any more")


def diverged(subject: str, found: str) -> DivergedError:
    """Return the error of a training that has left the finite numbers."""
    fix = "look at these scans, or set a lower learning rate; the last good checkpoint is kept"
    return DivergedError(Problem("E-DIVERGED", subject, found, "finite numbers", fix))


def _sent(bad: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Send a flag to the host without waiting for it."""
    if bad.device.type != "cuda":
        return bad, None
    there = torch.empty((), dtype=torch.bool, pin_memory=True)
    there.copy_(bad, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return there, arrived


def _is_there(step: _Step) -> bool:
    return step.arrived is not None and bool(step.arrived.query())  # type: ignore[no-untyped-call]
