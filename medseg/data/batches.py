"""Batches of training slices, ready on the device.

Where a fold fits into the device's memory it is brought there once, and a batch is gathered there.
Otherwise a thread reads the next batches from the store while the device works on this one. Which
of the two it is changes no bit of any batch.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cached_property, partial
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from medseg import ranks
from medseg.data.entry import unpacked
from medseg.data.packing import parted
from medseg.data.resident import ResidentVoxels, free_bytes
from medseg.data.samples import Samples
from medseg.data.slices import SliceDataset
from medseg.data.widening import widened
from medseg.errors import Problem, UsageError

# The network, its gradients and its activations need room, too.
_SHARE = 0.6
_log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")
Pairs = list[tuple[int, int]]


class Order(Protocol):
    """The order of samples: iterated once an epoch, it yields (epoch, number)."""

    def __len__(self) -> int:
        """How many there are in an epoch."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Begin an epoch."""


class SliceBatches:
    """Batches of a `SliceDataset`, an epoch each time it is iterated; a short last one is left out.

    A batch is ``image`` ``(B, neighbours * channels, H, W)`` float32 and ``label``
    ``(B, organs, H, W)`` uint8 on the device; ``draw``, the seeds of the samples' augmentation, and
    ``slice``, ``(B,)`` int64 on the CPU; and ``scan_id``, a list. It equals the data set's items,
    stacked, to the bit.
    Torch's random state is left alone.

    Where W processes train together each is given every Wth sample of a batch, so that all of them
    have what one alone would have; see `medseg.ranks`.

    Args:
        dataset: The slices.
        batch_size: Samples of a batch, of all processes together.
        sampler: Their order, such as `EpochSampler`.
        device: Where the batches are to be.
        resident: Whether the voxels of all scans are kept on the device. ``auto`` keeps them on a
            CUDA device that has room for them in 60 % of its free memory. Where they do not fit,
            they are read from the store, with a warning.
        ahead: Batches read while the device works on one; voxels on the device need none.

    Raises:
        UsageError: `batch_size`, `ahead` or `resident` has no meaning.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        *,
        batch_size: int,
        sampler: Order,
        device: torch.device | str = "cpu",
        resident: Literal["auto"] | bool = "auto",
        ahead: int = 2,
    ) -> None:
        if batch_size < 1 or ahead < 0 or resident not in ("auto", True, False):
            found = f"batch_size {batch_size}, ahead {ahead}, resident {resident!r}"
            expected = "at least 1, at least 0, and auto, true or false"
            raise UsageError(Problem("E-CONFIG", "training batches", found, expected))
        self.dataset, self.batch_size, self.sampler = dataset, batch_size, sampler
        self.device, self.resident, self.ahead = torch.device(device), resident, ahead

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = iter(self.sampler)
        passes = iter(lambda: list(islice(order, self.batch_size)), [])
        rank, world = ranks.rank(), ranks.world()
        wanted = (pairs[rank::world] for pairs in passes if len(pairs) == self.batch_size)
        if self._voxels is not None:
            for pairs in wanted:
                samples = self.dataset.samples(pairs)
                yield self._batch(samples, *self._ready(*self._voxels.gather(samples)))
            return
        read = partial(self._read, self._aside)
        with closing(in_advance(read, wanted, ahead=self.ahead)) as reads:
            for samples, tensors, arrived in reads:
                if arrived is None:
                    yield self._batch(samples, *tensors)
                else:
                    _hand_over(tensors, arrived)
                    yield self._batch(samples, *self._ready(*tensors))

    @cached_property
    def _voxels(self) -> ResidentVoxels | None:
        """The voxels on the device; None where they are not wanted or do not fit."""
        scans, free = self.dataset.scans, free_bytes(self.device)
        if not scans or not self.resident or (self.resident == "auto" and free is None):
            return None
        needed = ResidentVoxels.bytes_of(scans)
        if self.resident is True or needed <= _SHARE * (free or 0):
            try:
                return ResidentVoxels(scans, roi_px=self.dataset.roi_px, device=self.device)
            except torch.OutOfMemoryError:
                free = free_bytes(self.device)
        found = f"all training slices need {_mib(needed)}, and {_mib(free or 0)} are free"
        fix = "none is needed: they are read as training goes on, with the same result"
        problem = Problem("W-STREAMED", str(self.device), found, "", fix, level="warning")
        _log.warning("%s", problem)
        return None

    @cached_property
    def _aside(self) -> torch.cuda.Stream | None:
        """The stream that batches are sent on; None where the device has no streams."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def _read(
        self, aside: torch.cuda.Stream | None, pairs: Pairs
    ) -> tuple[Samples, tuple[Tensor, Tensor], torch.cuda.Event | None]:
        """Read a batch and send it to the device, without waiting until it has arrived."""
        samples = self.dataset.samples(pairs)
        if aside is None:
            return samples, self._ready(*self.dataset.read(samples)), None
        with torch.cuda.stream(aside):
            # Pinned memory that is let go is not given out again before its copy has arrived.
            read = self.dataset.read(samples, pinned=True)
            image, bits = (part.to(self.device, non_blocking=True) for part in read)
            return samples, (image, bits), aside.record_event()

    def _ready(self, image: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image as float32 and the masks a channel each, on the device."""
        channels = self.dataset.channels
        if image.device.type != "cpu":
            return image.float(), unpacked(bits, channels, dim=1)
        wide, masks = widened(image.numpy()), parted(bits.numpy(), channels)
        return torch.from_numpy(wide).to(self.device), torch.from_numpy(masks).to(self.device)

    def _batch(self, samples: Samples, image: Tensor, label: Tensor) -> dict[str, Any]:
        return {
            "image": image,
            "label": label,
            "draw": torch.from_numpy(samples.draw),
            "scan_id": [self.dataset.scans[which].scan_id for which in samples.scan],
            "slice": torch.from_numpy(samples.k.copy()),
        }


def in_advance(
    work: Callable[[S], T], things: Iterable[S], *, ahead: int
) -> Generator[T, None, None]:
    """Yield the work on each thing, in their order, done by a thread up to `ahead` before.

    An exception of the work is raised where its result would have come. When the iterator is
    closed, at its end or before, the thread has ended.
    """
    if not ahead:
        yield from map(work, things)
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="medseg-ahead")
    begun: deque[Future[T]] = deque()
    try:
        for thing in things:
            begun.append(pool.submit(work, thing))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _hand_over(tensors: Iterable[Tensor], arrived: torch.cuda.Event) -> None:
    """Let the stream that works now wait for tensors of another, and their memory for it."""
    for tensor in tensors:
        stream = torch.cuda.current_stream(tensor.device)
        stream.wait_event(arrived)
        tensor.record_stream(stream)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
