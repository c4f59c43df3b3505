"""Where the work on a batch is done: in which pieces, on which threads, and what a device is given.

A processor does best with one sample after the other, which stays in its cache, and only with those
that change. An accelerator does best with the whole batch: to start its work takes longer than to
do it, and shapes that do not depend on chance can be captured and compiled.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.transforms.draws import Bools


def parts(affected: Bools, device: torch.device) -> list[slice]:
    """Return which samples to change at once: together all that are affected, and maybe more."""
    if device.type == "cpu":
        return [slice(b, b + 1) for b in map(int, np.flatnonzero(affected))]
    return [slice(None)] if affected.any() else []


def sent(device: torch.device, *arrays: NDArray[np.generic]) -> list[Tensor]:
    """Return arrays as tensors on the device, copied there in one go and without waiting."""
    # Each begins where any type may.
    chunks = [array.tobytes().ljust(-(-array.nbytes // 8) * 8, b"\0") for array in arrays]
    flat = torch.frombuffer(bytearray().join(chunks), dtype=torch.uint8)
    flat = (flat.pin_memory() if device.type == "cuda" else flat).to(device, non_blocking=True)
    pieces = flat.split([len(chunk) for chunk in chunks])
    return [
        piece[: array.nbytes].view(getattr(torch, array.dtype.name)).view(array.shape)
        for piece, array in zip(pieces, arrays, strict=True)
    ]


def in_threads(work: Callable[[int], None], numbers: Iterable[int]) -> None:
    """Do some work for each number, on as many threads as torch uses on a processor.

    Only work that leaves the interpreter's lock gains by it, and torch's own has its threads.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        for number in numbers:
            work(number)
    else:
        for _ in _pool(threads, os.getpid()).map(work, numbers):
            pass


@lru_cache(maxsize=1)
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    """Return threads, new ones in a process that was forked: it has none of those before."""
    return ThreadPoolExecutor(threads, thread_name_prefix="medseg-augment")
