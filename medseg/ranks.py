"""The processes of one training: which of them this is, and what they add up and agree on.

A launcher such as ``torchrun`` starts W of them and numbers them; each is called by its *rank*, 0
to W - 1. A process that stands alone is rank 0 of 1, and to it nothing here costs or changes
anything.

Numbers of a loss that is one of the whole batch go through `summed`. All ranks then compute the
same loss, and each gets W times the share of the gradient that came about through its own images:
the mean over ranks, which DDP takes, is the gradient of that loss.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from medseg.errors import MedsegError, Problem, ResourceError

T = TypeVar("T")

# A rank that has not answered for so long never will.
PATIENCE = timedelta(minutes=30)
LOST = "E-RANK"
# Names a file by which the processes of one machine meet: torch's own way listens to the network.
MEETING = "MEDSEG_MEETING"
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rank() -> int:
    """Return the number of this process among those that train together; 0 of one alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Return how many processes train together; 1 of one alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def launched() -> bool:
    """Whether a launcher has started this process, and others beside it or none."""
    return all(os.environ.get(name) for name in _NEEDED)


def restarted() -> bool:
    """Whether an elastic launcher has started all processes again, as one of them had ended."""
    return launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launcher_began() -> datetime:
    """Return when the launcher of this process was started."""
    import psutil

    return datetime.fromtimestamp(psutil.Process(os.getppid()).create_time())


def placed(device: str) -> str:
    """Return the device of this process, where one of `device` was asked for: a GPU each.

    Raises:
        ResourceError: There are fewer GPUs than processes on this machine, or one is named.
    """
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() else 1
    if not device.startswith("cuda") or (beside == 1 and device != "cuda"):
        return device
    require_devices(device, beside)
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if launched() else device


def require_devices(device: str, processes: int) -> None:
    """Refuse to give more processes than there are GPUs one each.

    Raises:
        ResourceError: There are too few GPUs, or several processes are to share a certain one.
    """
    if not device.startswith("cuda") or processes == 1:
        return
    present = torch.cuda.device_count()
    found = f"is one device, for {processes} processes" if device != "cuda" else ""
    if present < processes:
        found = f"there are {present} CUDA devices, for {processes} processes"
    if found:
        fix = "start as many processes as there are GPUs, and say --device cuda"
        raise ResourceError(Problem("E-DEVICE", device, found, "a device each", fix))


@contextmanager
def together(device: str, *, name: str) -> Iterator[None]:
    """Let the processes that were launched work together; one alone stays alone.

    Args:
        device: What each computes on: tensors of CUDA devices travel by NCCL, all others by gloo.
        name: Of this piece of work, the same in every process, and another for the next piece.

    Raises:
        ResourceError: Another process has ended, or does not answer.
    """
    if not launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    own = torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo",
            store=PrefixStore(name, _meeting_point()),
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=PATIENCE,
        )
        _tell_ignite()
        yield
    except RuntimeError as fault:
        if not _lost(fault):
            raise
        found = f"lost the others: {' '.join(str(fault).split())[:200]}"
        subject = f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"
        fix = "where nothing restarts them, go on with --resume"
        raise ResourceError(Problem(LOST, subject, found, fix=fix)) from fault
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        _tell_ignite()


def _tell_ignite() -> None:
    """Let ignite, whose engines train, see which processes there are now."""
    from ignite import distributed  # takes seconds with what it brings

    # In a job of Slurm it sets the variable to what is true of the launcher alone.
    before = {name: os.environ[name] for name in ("LOCAL_RANK",) if name in os.environ}
    distributed.sync()
    os.environ.update(before)


def _lost(fault: BaseException | None) -> bool:
    """Whether a fault, or what was behind it, is one of the way between processes."""
    words = ("gloo", "NCCL", "onnection", "Timed out", "Socket")
    while fault is not None:
        told = isinstance(fault, RuntimeError) and any(word in str(fault) for word in words)
        if told or isinstance(fault, dist.DistError):
            return True
        fault = fault.__cause__ or fault.__context__
    return False


_met: list[Store] = []
_tasks = count(1)


def leads() -> bool:
    """Whether this process leads others, which follow it."""
    return launched() and os.environ["RANK"] == "0" and int(os.environ["WORLD_SIZE"]) > 1


def follows() -> bool:
    """Whether this process follows another, which leads it."""
    return launched() and os.environ["RANK"] != "0"


@contextmanager
def leading(task: str, device: str) -> Iterator[None]:
    """Do a task together with all that are `following`; see `together`."""
    if not leads():
        yield
        return
    name = f"task {next(_tasks)}"
    _meeting_point().set(name, task)
    with together(device, name=name):
        yield


def following() -> Iterator[tuple[str, str]]:
    """Yield what rank 0 leads in, each task with its name for `together`, until there is no more.

    How long the next one takes to come does not matter.
    """
    for name in (f"task {number}" for number in _tasks):
        while not _meeting_point().check([name]):
            time.sleep(0.2)
        task = _meeting_point().get(name).decode()
        if not task:
            return
        yield name, task


@contextmanager
def to_the_end() -> Iterator[None]:
    """Let those who follow leave when the work is done, or has failed."""
    try:
        yield
    finally:
        if leads():
            _meeting_point().set(f"task {next(_tasks)}", "")


def _meeting_point() -> Store:
    """Return the store that all processes of a launch see, each by its own connection."""
    if not _met:
        size = int(os.environ["WORLD_SIZE"])
        if file := os.environ.get(MEETING):
            store: Store = dist.FileStore(file, size)  # type: ignore[attr-defined]
        else:
            store = next(iter(rendezvous("env://", timeout=PATIENCE)))[0]
        # What was left there before processes were started again, or in another number, is past.
        count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        _met.append(PrefixStore(f"start {count} of {size}", store))
    return _met[0]


def summed(part: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, on each of them; a part of gradients' way.

    Alone, the tensor itself. All ranks call it in the same order.
    """
    if world() == 1:
        return part
    whole: Tensor = _Sum.apply(part)  # type: ignore[no-untyped-call]
    return whole


def summed_each(*parts: Tensor) -> tuple[Tensor, ...]:
    """Return the sum over all ranks of each of some tensors of one shape, in one go."""
    return parts if world() == 1 else tuple(summed(torch.stack(parts)))


def averaged(mean: Tensor, weight: Tensor | float) -> Tensor:
    """Return the mean over all ranks of means over some things each, `weight` of them.

    Alone, `mean` itself; with no things at all, 0.
    """
    if world() == 1:
        return mean
    own = torch.as_tensor(weight, dtype=mean.dtype, device=mean.device)
    # The mean of nothing is no number.
    part = torch.where(own > 0, mean, 0.0) * own
    both = summed(torch.stack([part, own]))
    return both[0] / torch.where(both[1] > 0, both[1], 1.0)


def total(number: int) -> int:
    """Return the sum of a number of each rank."""
    return _reduced(number, dist.ReduceOp.SUM)


def largest(number: int) -> int:
    """Return the largest number that any rank has."""
    return _reduced(number, dist.ReduceOp.MAX)


def _reduced(number: int, how: Any) -> int:  # noqa: ANN401 - torch has no public name for it
    if world() == 1:
        return number
    told = torch.tensor(number)
    dist.all_reduce(told, how)
    return int(told)


def gathered(own: T) -> list[T]:
    """Return what each rank has, by rank; alone, a list of one."""
    if world() == 1:
        return [own]
    told: list[Any] = [None] * world()
    dist.all_gather_object(told, own)
    return told


def shared(make: Callable[[], T]) -> T:
    """Return what rank 0 makes, on all ranks; what it raises on purpose is raised on all."""
    if world() == 1:
        return make()
    told: list[Any] = [None]
    with alike():
        if rank() == 0:
            told = [make()]
    dist.broadcast_object_list(told, src=0)
    made: T = told[0]
    return made


@contextmanager
def alike() -> Iterator[None]:
    """Raise on all ranks what one of them raises within on purpose, a `MedsegError`."""
    if world() == 1:
        yield
        return
    own: MedsegError | None = None
    try:
        yield
    except MedsegError as error:
        own = error
    first = next((error for error in gathered(own) if error is not None), None)
    if first is not None:
        raise first


class _Sum(torch.autograd.Function):
    """The sum over ranks. Each result depends on each part, and so do the gradients."""

    @staticmethod
    def forward(_ctx: FunctionCtx, part: Tensor) -> Tensor:
        return _all_reduced(part)

    @staticmethod
    def backward(_ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient)


def _all_reduced(part: Tensor) -> Tensor:
    whole = part.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(whole)
    return whole
