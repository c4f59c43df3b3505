"""Processes that load data for torch: none by default, and what to do where a user's own die."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.errors import Problem, ResourceError

# torch/utils/data/_utils/signal_handling.py and dataloader.py; aten/src/ATen/MapAllocator.cpp
_DEAD = re.compile(
    r"DataLoader (?:worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed|exited unexpectedly)|timed out)"
)
_SHARED = re.compile(r"shared memory|\bshm\b|<?/torch_\d+|Bus error", re.IGNORECASE)
_SHM = Path("/dev/shm")
_MORE = "set num_workers to 0, or give the container more: docker run --shm-size 2g"


# What one item takes to load is seconds; a process that has no room for it says nothing at all.
_PATIENCE_S = 600


@contextmanager
def loaders_told(*loaders: Any) -> Iterator[None]:  # noqa: ANN401 - named by a configuration
    """Tell of torch data loaders whose processes die, or have no shared memory, what to do.

    Args:
        loaders: What loads; those without processes of their own are left alone.

    Raises:
        ResourceError: E-WORKER, a process that loads data was ended, or E-SHM, there is no room
            to pass on what was loaded.
    """
    for loader in loaders:
        if getattr(loader, "num_workers", 0) and len(loader.dataset):
            _require_room(loader)
            loader.timeout = loader.timeout or _PATIENCE_S
    try:
        yield
    except RuntimeError as error:
        if problem := _problem(error):
            raise ResourceError(problem) from error
        raise


def _require_room(loader: Any) -> None:  # noqa: ANN401 - torch's, which is not imported here
    """Refuse processes that could not pass on what they are to have loaded ahead."""
    if not _SHM.is_dir():
        return
    item = loader.dataset[0].values()
    size = sum(getattr(each, "nbytes", 0) for each in item) * (loader.batch_size or 1)
    needed = size * loader.num_workers * (loader.prefetch_factor or 1)
    free = shutil.disk_usage(_SHM).free
    if needed > free:
        found = f"its processes need {needed >> 20} MiB of shared memory, and {free >> 20} are free"
        raise ResourceError(Problem("E-SHM", "data loader", found, f"room in {_SHM}", _MORE))


def _problem(error: BaseException | None) -> Problem | None:
    """Return what is wrong with a loader's processes; None for any other error, and its causes."""
    while error is not None:
        text = str(error)
        loads = isinstance(error, RuntimeError | OSError)
        if loads and _SHARED.search(text) and ("worker" in text or "No space left" in text):
            found = "the processes that load data have no shared memory left to pass them on"
            return Problem("E-SHM", "data loader", found, f"room in {_SHM}", _MORE)
        if loads and _DEAD.search(text):
            found = "a process that loads data was ended from outside, or stands still"
            fix = "memory may be short: set num_workers to 0, which is the default"
            return Problem("E-WORKER", "data loader", found, fix=fix)
        error = error.__cause__
    return None
