"""Checkpoints that are whole or absent, and the handler that writes them while training.

A checkpoint is a torch archive of tensors, numbers, strings, lists and dictionaries only, so that
it loads with ``weights_only=True``. It is written beside its place, synced, read back and then
renamed: whoever opens it finds the old one or the new one, never half of one.
"""

import errno
import json
import os
import signal
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from pickletools import genops
from types import FrameType, MappingProxyType
from typing import Any, Protocol
from zipfile import ZipFile, is_zipfile

import torch
from ignite.engine import Engine, Events
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from medseg import ranks
from medseg.engine.checkpoint_files import (
    BEST,
    LAST,
    PREVIOUS,
    fault_of,
    none_sound,
    sound_hashes,
    warn_of,
    write_hashes,
)
from medseg.engine.divergence import require_finite
from medseg.engine.provenance import provenance, sha256_of
from medseg.errors import Problem, Stopped, UnsafeError
from medseg.io.atomic import also_called, remove_orphans, replacing

# What fetches a function or a class by its name, in a pickle.
_FETCHES = {"GLOBAL", "STACK_GLOBAL", "INST"}
_LOOKED_AT = 1 << 20
_TOLD = "provenance"
_EXPECTED = "a checkpoint written by medseg"
_FIX = "name another checkpoint, or train again"


class Sampler(Protocol):
    """A sampler that can go on in the middle of an epoch."""

    def start_at(self, epoch: int, number: int) -> None:
        """Make the next pass that of `epoch`, without its first `number` samples."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in the checkpoint at `path`, on the CPU; ``.safetensors`` holds weights.

    Raises:
        UnsafeError: The file is missing, damaged, or holds anything but plain data: E-CKPT-UNSAFE
            for one that names code, of which nothing is run.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            # It goes on to refuse it.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        raise UnsafeError(_unreadable(path, fault)) from fault
    if not isinstance(state, dict):
        found = f"holds a {type(state).__name__}"
        raise UnsafeError(Problem("E-CKPT", path.name, found, _EXPECTED, _FIX))
    return state


def write_checkpoint(
    path: Path, state: Mapping[str, Any], *, verify: Callable[[Path], object] = read_checkpoint
) -> None:
    """Write `state` to `path`, atomically; `verify` is called with the file before it has its name.

    Raises:
        ResourceError: The disk is full or the folder cannot be written.
    """
    with replacing(path, verify=verify) as stream:
        try:
            torch.save(dict(state), stream)
        except RuntimeError as fault:  # torch's archive writer hides the errno of a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from fault


def export_weights(
    path: Path, network: nn.Module, *, told: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Write the network's parameters and buffers to `path` as safetensors, atomically.

    Args:
        path: The file to make or replace.
        network: The network.
        told: Where it comes from; see `provenance_of`. Equal ones make equal files.
    """
    tensors = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    header = {"format": "pt", _TOLD: json.dumps(dict(told), sort_keys=True)}
    with replacing(path) as stream:
        stream.write(save(tensors, metadata=header))


def provenance_of(path: Path) -> dict[str, Any]:
    """Return what a checkpoint or a file of weights tells of where it comes from.

    Keys are those of `medseg.engine.origin.carried`; nothing of a file that tells nothing.

    Raises:
        UnsafeError: The file cannot be read.
    """
    if path.suffix != ".safetensors":
        told = read_checkpoint(path).get(_TOLD, {})
    else:
        try:
            with safe_open(path, "pt") as file:
                told = json.loads((file.metadata() or {}).get(_TOLD, "{}"))
        except Exception as fault:
            raise UnsafeError(_unreadable(path, fault)) from fault
    return told if isinstance(told, dict) else {}


class TrainingCheckpoints:
    """Write a checkpoint after each epoch, and resume from the newest that is sound.

    ``last.pt`` is written, what it was becomes ``previous.pt``, and when validation improved it is
    also called ``best.pt``. An epoch is written when all that listens to its end is done: at the
    start of the next one, or at the end of the training.

    The first Ctrl-C or SIGTERM lets the running step finish, writes last.pt in the middle of the
    epoch and ends the run; the second ends it at once. A resumed run goes on with the next batch
    of that epoch, in the order it would have had. To repeat an uninterrupted run to the bit, a pass
    of the data loader must leave torch's random state alone, as `medseg.data.SliceBatches` does;
    torch's own loader needs a generator for that.

    Where several processes train together rank 0 reads and writes, with the random states of all
    in the checkpoint; any other number of processes goes on from it. A signal to one of them stops
    all after the same step.

    Args:
        folder: Where the checkpoints lie.
        parts: What has state: network, optimizer, scheduler, … by name. ``network`` must be there.
            More may be added to the attribute until the training starts.
        sampler: The order of the batches.
        evaluator: The validation engine, whose ``best_metric`` decides; None keeps no best one.
        resume: Go on from last.pt, or where that is damaged from previous.pt.

    Attributes:
        told: Where the training comes from, as plain JSON, which every checkpoint carries; see
            `provenance_of`. Versions, machine and command where nobody tells more.
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
        self.told: Mapping[str, Any] = {}
        self._signal: int | None = None
        self._due = False
        self._best = -1.0
        self._before: dict[int, Any] = {}
        self._hashes: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)
        engine.add_event_handler(Events.EPOCH_STARTED | Events.COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED, self._give_signals_back)

    def _start(self, engine: Engine) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        if ranks.rank() == 0:
            remove_orphans(self.folder)
            self.told = self.told or provenance(seeds={})
        if self.resume and (state := ranks.shared(self._newest)):
            self._load(engine, state)

    def _newest(self) -> dict[str, Any]:
        """Return the newest state that can be read; empty where none was written."""
        paths = [path for name in (LAST, PREVIOUS) if (path := self.folder / name).exists()]
        faults: dict[Path, str] = {}
        for path in paths:
            state, faults[path] = self._read(path)
            if state:
                self._hashes = sound_hashes(self.folder)
                for bad in [path for path, fault in faults.items() if fault]:
                    warn_of(bad, faults[bad], instead=path)
                    self._hashes.pop(bad.name, None)
                return state
        if faults:
            raise none_sound(faults)
        return {}

    def _read(self, path: Path) -> tuple[dict[str, Any], str]:
        """Return the state in a checkpoint, or why it is not that of a training of these parts."""
        if fault := fault_of(path):
            return {}, fault
        try:
            state = read_checkpoint(path)
        except UnsafeError as error:
            if any(problem.code == "E-CKPT-UNSAFE" for problem in error.problems):
                raise
            return {}, error.problems[0].found
        missing = {*self.parts, "torch_rng", "iteration", "best_metric", "best_epoch"} - {*state}
        return ({}, f"holds no {', '.join(sorted(missing))}") if missing else (state, "")

    def _load(self, engine: Engine, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        streams = [state["torch_rng"], *state.get("other_rngs", ())]
        if ranks.rank() < len(streams):
            torch.set_rng_state(streams[ranks.rank()])
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
        own, *others = ranks.gathered(torch.get_rng_state())
        return {
            **{name: part.state_dict() for name, part in self.parts.items()},
            "torch_rng": own,
            **({"other_rngs": others} if others else {}),
            "iteration": engine.state.iteration,
            "best_metric": float(found.best_metric) if found else -1.0,
            "best_epoch": int(found.best_metric_epoch) if found else -1,
            _TOLD: dict(self.told),
        }

    def _step(self, engine: Engine) -> None:
        if self._asked():
            self._write(self._state(engine))
            self._stop(engine)

    def _end(self) -> None:
        self._due = True

    def _epoch(self, engine: Engine) -> None:
        if self._due:
            self._write(self._state(engine))
            self._due = False
        if self._asked():
            self._stop(engine)

    def _asked(self) -> bool:
        """Whether a signal asked any of the processes to stop."""
        self._signal = ranks.largest(self._signal or 0) or None
        return self._signal is not None

    def _write(self, state: dict[str, Any]) -> None:
        require_finite(state["network"])
        require_finite(state.get("learning", {}))
        better = state["best_metric"] > self._best
        now = dict(self._hashes)

        def publish(temporary: Path) -> None:
            read_checkpoint(temporary)
            now[LAST] = sha256_of(temporary)
            now.update({BEST: now[LAST]} if better else {})
            # One that was found damaged is not among the hashes, and nothing is kept of it.
            now.update({PREVIOUS: self._hashes[LAST]} if LAST in self._hashes else {})
            write_hashes(self.folder, now, before=self._hashes)
            if LAST in self._hashes:
                also_called(self.folder / LAST, self.folder / PREVIOUS)
            if better:
                also_called(temporary, self.folder / BEST)

        with ranks.alike():
            if ranks.rank() == 0:
                write_checkpoint(self.folder / LAST, state, verify=publish)
        self._hashes, self._best = now, max(self._best, state["best_metric"])

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


def _unreadable(path: Path, fault: Exception) -> Problem:
    if isinstance(fault, UnpicklingError) and _fetches(path):
        found = "asks for functions or classes, which may do anything, to be called; none was"
        return Problem("E-CKPT-UNSAFE", path.name, found, "numbers and text only", _FIX)
    found = f"cannot be read: {_first_line(fault)}"
    return Problem("E-CKPT", path.name, found, _EXPECTED, _FIX)


def _fetches(path: Path) -> bool:
    """Whether the pickle in a file that was refused asks for code; nothing in it is followed."""
    with path.open("rb") as file:
        pickled = file.read(_LOOKED_AT)
    if is_zipfile(path):
        with ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            pickled = archive.open(names[0]).read(_LOOKED_AT) if names else b""
    try:
        return any(opcode.name in _FETCHES for opcode, *_ in genops(pickled))
    except ValueError:  # no pickle
        return False


def _first_line(fault: Exception) -> str:
    return next(iter(str(fault).splitlines()), type(fault).__name__)
