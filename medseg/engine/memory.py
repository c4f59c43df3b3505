"""Less at once where memory does not suffice, down to one slice, until it does; the result is one.

Only what a library says of memory counts as that: any other error of a network is its own.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from medseg.errors import Problem, ResourceError

T = TypeVar("T")

_log = logging.getLogger(__name__)
# Of torch's allocator on a CPU, whose error has no class of its own: c10/core/impl/alloc_cpu.cpp.
_CPU_WORDS = "can't allocate memory"


@dataclass(frozen=True)
class Portion:
    """How much is done at once.

    Attributes:
        batch: Images in one forward pass.
        aside: Whether what is found is kept in the CPU's memory, not on the device.
    """

    batch: int
    aside: bool = False


def portions(batch: int, device: torch.device) -> Iterator[Portion]:
    """Yield what to try, from all to the least.

    >>> [portion.batch for portion in portions(12, torch.device("cpu"))]
    [12, 6, 3, 1]
    """
    while batch > 1:
        yield Portion(batch)
        batch //= 2
    yield Portion(1)
    if device.type != "cpu":
        yield Portion(1, aside=True)


def within_memory(
    compute: Callable[[Portion], T], tried: Iterator[Portion], device: torch.device
) -> tuple[T, Portion]:
    """Return what `compute` gives for the first portion that fits, and that portion.

    Raises:
        ResourceError: E-MEMORY, not even the least fits.
    """
    before: Portion | None = None
    for portion in tried:
        if before is not None:
            _tell(before, portion, device)
        try:
            return compute(portion), portion
        except (RuntimeError, MemoryError) as error:
            if not is_of_memory(error):
                raise
            before = portion
        # Outside the handler: its traceback would keep what was computed so far.
        _clear(device)
    found = f"one slice at a time needs more than the {free_mib(device):.0f} MiB that are free"
    fix = "end what else uses memory, or choose a smaller network or --device cpu"
    raise ResourceError(Problem("E-MEMORY", str(device), found, fix=fix))


def is_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU_WORDS in str(error)


def require_free(n_bytes: int, *, subject: str) -> None:
    """Refuse work that needs more of the CPU's memory than there is: the system would end it.

    Raises:
        ResourceError: E-MEMORY, with what is needed and what is there.
    """
    needed_mib, there_mib = n_bytes / (1 << 20), free_mib(torch.device("cpu"))
    if needed_mib > there_mib:
        found = f"its masks take {needed_mib / 1024:.1f} GiB, and {there_mib / 1024:.1f} are free"
        raise ResourceError(Problem("E-MEMORY", subject, found, fix="use a larger machine"))


def free_mib(device: torch.device) -> float:
    """Return the memory that is free on a device, in MiB."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0]) / (1 << 20)
    return float(psutil.virtual_memory().available) / (1 << 20)


def _clear(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _tell(before: Portion, now: Portion, device: torch.device) -> None:
    found = f"{before.batch} images at once need more memory than there is"
    where = ", masks kept in the CPU's memory" if now.aside else ""
    fix = f"none is needed: {now.batch} at once from now on{where}, with the same result"
    _log.warning("%s", Problem("W-MEMORY", str(device), found, fix=fix, level="warning"))
