"""Checkpoints that are whole or absent, and the handler that writes them while training.

A checkpoint is a torch archive of tensors, numbers, strings, lists and dictionaries only, so that
it loads with ``weights_only=True``. It is written beside its place, synced, read back and then
renamed: whoever opens it finds the old one or the new one, never half of one.
"""

import errno
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from safetensors.torch import load_file, save
from torch import nn

from medseg.engine.checkpoint_files import BEST, LAST
from medseg.errors import Problem, Stopped, UnsafeError
from medseg.io.atomic import replacing


class Sampler(Protocol):
    """A sampler that can go on in the middle of an epoch."""

    def start_at(self, epoch: int, number: int) -> None:
        """Make the next pass that of `epoch`, without its first `number` samples."""


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` to `path`, atomically.

    Raises:
        ResourceError: The disk is full or the folder cannot be written.
    """
    with replacing(path, verify=read_checkpoint) as stream:
        try:
            torch.save(dict(state), stream)
        except RuntimeError as fault:  # torch's archive writer hides the errno of a full disk
            raise OSError(errno.ENOSPC, _first_line(fault)) from fault


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in the checkpoint at `path`, on the CPU; ``.safetensors`` holds weights.

    Raises:
        UnsafeError: The file is missing, damaged, or holds anything but plain data.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        raise UnsafeError(
            Problem(
                "E-CKPT",
                path.name,
                f"cannot be read: {_first_line(fault)}",
                "a checkpoint written by medseg",
                "name another checkpoint, or train again",
            )
        ) from fault
    return state


def export_weights(path: Path, network: nn.Module) -> None:
    """Write the network's parameters and buffers to `path` as safetensors, atomically."""
    tensors = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    with replacing(path) as stream:
        stream.write(save(tensors))


class TrainingCheckpoints:
    """Write last.pt after each epoch and best.pt when validation improves; resume from last.pt.

    The first Ctrl-C or SIGTERM lets the running step finish, writes last.pt in the middle of the
    epoch and ends the run; the second ends it at once. A resumed run goes on with the next batch
    of that epoch, in the order it would have had. To repeat an uninterrupted run to the bit, a pass
    of the data loader must leave torch's random state alone, as `medseg.data.SliceBatches` does;
    torch's own loader needs a generator for that.

    Args:
        folder: Where the checkpoints lie.
        parts: What has state: network, optimizer, scheduler, … by name. ``network`` must be there.
        sampler: The order of the batches.
        evaluator: The validation engine, whose ``best_metric`` decides; None keeps the last only.
        resume: Go on from last.pt where there is one.
    """

    def __init__(
        self,
        folder: str | Path,
        parts: Mapping[str, Any],
        *,
        sampler: Sampler,
        evaluator: Engine | None = None,
        resume: bool = False,
    ) -> None:
        self.folder, self.parts, self.sampler = Path(folder), dict(parts), sampler
        self.evaluator, self.resume = evaluator, resume
        self._signal: int | None = None
        self._best = -1.0
        self._before: dict[int, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach validation before this, so that an epoch's score counts."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED, self._give_signals_back)

    def _start(self, engine: Engine) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        if self.resume and (self.folder / LAST).exists():
            self._load(engine, read_checkpoint(self.folder / LAST))

    def _load(self, engine: Engine, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["torch_rng"])
        engine.state.iteration = state["iteration"]
        engine.state.epoch = state["iteration"] // engine.state.epoch_length
        loader = engine.data_loader
        passes, batches = divmod(state["iteration"], len(loader))
        self.sampler.start_at(passes, batches * loader.batch_size)
        self._best = state["best_metric"]
        if self.evaluator is not None:
            self.evaluator.state.best_metric = state["best_metric"]
            self.evaluator.state.best_metric_epoch = state["best_epoch"]

    def _state(self, engine: Engine) -> dict[str, Any]:
        found = self.evaluator.state if self.evaluator is not None else None
        return {
            **{name: part.state_dict() for name, part in self.parts.items()},
            "torch_rng": torch.get_rng_state(),
            "iteration": engine.state.iteration,
            "best_metric": float(found.best_metric) if found else -1.0,
            "best_epoch": int(found.best_metric_epoch) if found else -1,
        }

    def _step(self, engine: Engine) -> None:
        # At the end of an epoch validation comes first; then `_epoch` writes and stops.
        if self._signal is not None and engine.state.iteration % engine.state.epoch_length:
            write_checkpoint(self.folder / LAST, self._state(engine))
            self._stop(engine)

    def _epoch(self, engine: Engine) -> None:
        state = self._state(engine)
        write_checkpoint(self.folder / LAST, state)
        if state["best_metric"] > self._best:
            self._best = state["best_metric"]
            write_checkpoint(self.folder / BEST, state)
        if self._signal is not None:
            self._stop(engine)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is not None:
            raise Stopped(number)
        self._signal = number

    def _stop(self, engine: Engine) -> None:
        self._give_signals_back(engine)
        raise Stopped(self._signal or signal.SIGINT)

    def _give_signals_back(self, _engine: Engine) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def load_network(network: nn.Module, path: str | Path) -> None:
    """Load the network of a checkpoint or of bare weights at `path` into `network`.

    Raises:
        UnsafeError: The file cannot be read, or its parameters are not this network's.
    """
    state = read_checkpoint(Path(path))
    try:
        network.load_state_dict(state.get("network", state))
    except RuntimeError as fault:
        raise UnsafeError(
            Problem(
                "E-MODEL",
                Path(path).name,
                str(fault).splitlines()[-1].strip(),
                "the network of the same bundle and settings",
                "predict with the settings that trained it",
            )
        ) from fault


def _first_line(fault: Exception) -> str:
    return next(iter(str(fault).splitlines()), type(fault).__name__)
