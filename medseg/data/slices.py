"""Prepared scans as training items: slices with their neighbours, and whole volumes.

A slice is ``(C, H, W)``: rows and columns of the volume's J and I. In 2.5D the channels are those
of the slice and its neighbours at a stride, from head to feet; at the ends of a scan the last slice
stands for those beyond.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from medseg.data.entry import Prepared, unpacked
from medseg.data.neighbours import neighbour_indices
from medseg.data.samples import Samples, corners, seeds
from medseg.data.store import Item, Progress, Store
from medseg.errors import DataError, Problem, UsageError

Transform = Callable[[Any], Any]


@dataclass(eq=False)
class SliceDataset(Dataset[dict[str, Any]]):
    """The slices of labelled scans, prepared at construction; empty slices are kept.

    An item is ``image`` ``(neighbours * channels, H, W)`` float32, all channels of a neighbour
    together, ``label`` ``(organs, H, W)`` uint8, ``draw``, the seed of the sample's augmentation,
    ``scan_id`` and ``slice``. Indices are numbers, or (epoch, number) as `EpochSampler` yields
    them: the seed follows from the data set's own seed, the epoch and the number, so any epoch can
    be repeated, by any number of workers. Whole batches come faster from `SliceBatches`.

    Args:
        data: MONAI items with ``label``.
        transform: The preprocessing chain.
        store_dir: Folder of the `Store`.
        roi_px: Rows and columns of an item. From a larger slice a window is drawn.
        neighbours: Slices of an item, the slice itself among them; odd.
        stride: Distance between neighbouring slices, in slices.
        seed: Of the draws.
        workers: Threads that prepare.
        progress: Called with the number of scans prepared and of all.

    Raises:
        DataError: Scans are faulty, have no labels, or differ in their channels.
        UsageError: Prepared slices are smaller than `roi_px`.
    """

    data: Sequence[Item]
    transform: Transform
    _: KW_ONLY
    store_dir: str | Path
    roi_px: tuple[int, int] = (288, 288)
    neighbours: int = 1
    stride: int = 1
    seed: int = 0
    workers: int = 1
    progress: Progress | None = None
    scans: list[Prepared] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        neighbour_indices([], 1, neighbours=self.neighbours, stride=self.stride)
        self.scans = Store(self.store_dir).prepare(
            self.data, self.transform, workers=self.workers, progress=self.progress
        )
        _require_labels(self.scans)
        _require_channels(self.scans)
        _require_size(self.scans, tuple(self.roi_px))
        columns_rows_slices = np.array([scan.grid.shape for scan in self.scans], np.int64)
        self._sizes = columns_rows_slices.reshape(-1, 3)[:, ::-1]
        self._starts = np.cumsum([0, *self._sizes[:, 0]])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        samples = self.samples([index if isinstance(index, tuple) else (0, index)])
        image, bits = self.read(samples)
        return {
            "image": image[0].float(),
            "label": unpacked(bits[0], self.channels),
            "draw": int(samples.draw[0]),
            "scan_id": self.scans[samples.scan[0]].scan_id,
            "slice": int(samples.k[0]),
        }

    @cached_property
    def channels(self) -> int:
        """How many masks an item has; 0 without scans."""
        return max((scan.channels for scan in self.scans), default=0)

    @cached_property
    def image_channels(self) -> int:
        """How many values a voxel has; 1 without scans."""
        return max((scan.image_channels for scan in self.scans), default=1)

    def samples(self, wanted: Sequence[tuple[int, int]]) -> Samples:
        """Return what the samples of some (epoch, number) are, without reading them.

        Raises:
            IndexError: A number is not of this data set.
        """
        epochs, numbers = np.array(wanted, np.int64).reshape(-1, 2).T
        outside = (numbers < 0) | (numbers >= len(self))
        if outside.any():
            raise IndexError(f"slice {numbers[outside][0]} of {len(self)}")
        which = np.searchsorted(self._starts, numbers, side="right") - 1
        sizes = self._sizes[which]
        slices = neighbour_indices(
            numbers - self._starts[which],
            sizes[:, :1],
            neighbours=self.neighbours,
            stride=self.stride,
        )
        draws = seeds(self.seed, epochs, numbers)
        top, left = corners(draws, sizes[:, 1:] - self.roi_px + 1)
        return Samples(which, slices, draws, top, left)

    def read(self, samples: Samples, *, pinned: bool = False) -> tuple[Tensor, Tensor]:
        """Return images ``(B, neighbours * channels, H, W)`` float16 and masks ``(B, H, W)``.

        An organ is a bit of the masks.

        Args:
            samples: What to read.
            pinned: Whether to read into memory that a CUDA device fetches from by itself.
        """
        count, neighbours = samples.slices.shape
        height, width = self.roi_px
        shape = (count, neighbours, self.image_channels, height, width)
        image = torch.empty(shape, dtype=torch.float16, pin_memory=pinned)
        bits = torch.empty((count, height, width), dtype=torch.uint8, pin_memory=pinned)
        into = zip(image.numpy(), bits.numpy(), strict=True)
        places = zip(*(part.tolist() for part in (*samples, samples.k)), strict=True)
        for (pixels, packed), (which, slices, _, top, left, k) in zip(into, places, strict=True):
            rows, columns = slice(top, top + height), slice(left, left + width)
            volume = self.scans[which].image
            masks = cast(NDArray[np.uint8], self.scans[which].masks)  # looked at when constructed
            for of_slice, neighbour in zip(pixels, slices, strict=True):
                of_slice[...] = volume[neighbour, :, rows, columns]
            packed[...] = masks[k, rows, columns]
        return image.flatten(1, 2), bits

    @property
    def counts(self) -> dict[str, Any]:
        """How many ``slices`` there are, how many are ``empty``, and how many hold each organ."""
        presence = np.array([bits for scan in self.scans for bits in scan.presence], np.uint8)
        organs = _organs(self.transform) or [f"channel {c}" for c in range(self.channels)]
        return {
            "slices": len(presence),
            "empty": int((presence == 0).sum()),
            "organs": {
                organ: int((presence >> channel & 1).sum()) for channel, organ in enumerate(organs)
            },
        }


@dataclass(eq=False)
class VolumeDataset(Dataset[dict[str, Any]]):
    """Whole prepared scans, prepared at construction.

    An item is ``image``, a MetaTensor ``(C, I, J, K)`` float32, ``label``, one of
    ``(organs, I, J, K)`` uint8 where the scan has labels, ``native``, the scan's own grid,
    ``scan_id`` and ``case_id``.

    Args:
        data: MONAI items.
        transform: The preprocessing chain.
        store_dir: Folder of the `Store`.
        workers: Threads that prepare.
        progress: Called with the number of scans prepared and of all.
    """

    data: Sequence[Item]
    transform: Transform
    _: KW_ONLY
    store_dir: str | Path
    workers: int = 1
    progress: Progress | None = None
    scans: list[Prepared] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.scans = Store(self.store_dir).prepare(
            self.data, self.transform, workers=self.workers, progress=self.progress
        )

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> dict[str, Any]:
        from monai.data import MetaTensor  # seconds, and reading slices does not need it

        scan = self.scans[index]
        affine = torch.tensor(scan.grid.affine_ras_mm)
        image = torch.from_numpy(np.array(scan.image)).float()  # (K, C, J, I)
        item: dict[str, Any] = {
            "scan_id": scan.scan_id,
            "case_id": scan.case_id,
            "image": MetaTensor(image.permute(1, 3, 2, 0), affine=affine),
            "native": scan.native,
        }
        if scan.masks is not None:
            masks = unpacked(torch.from_numpy(np.array(scan.masks)), scan.channels)
            item["label"] = MetaTensor(masks.permute(0, 3, 2, 1), affine=affine)
        return item


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield (epoch, number) for every number of a data set, shuffled anew each epoch.

    The order follows from seed and epoch alone. Each pass advances `epoch` by one; `start_at`
    makes the next pass begin elsewhere, as when training is resumed.

    Args:
        dataset: The data set, or its length.
        seed: Of the order.
        shuffle: Whether to shuffle at all.
    """

    def __init__(self, dataset: Sized | int, *, seed: int = 0, shuffle: bool = True) -> None:
        self.length = dataset if isinstance(dataset, int) else len(dataset)
        self.seed, self.shuffle = seed, shuffle
        self.epoch, self._skip = 0, 0

    def start_at(self, epoch: int, number: int = 0) -> None:
        """Make the next pass that of `epoch`, counted from 0, without its first `number` slices."""
        self.epoch, self._skip = epoch, number

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        first, self._skip = self._skip, 0
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        return ((epoch, int(number)) for number in order[first:])


def _organs(transform: object) -> Sequence[str]:
    """Return the organs that some part of the chain names; nothing when none does."""
    parts = getattr(transform, "transforms", ())
    return next((found for part in parts if (found := _organs(part))), ()) or getattr(
        transform, "organs", ()
    )


def _require_labels(scans: Sequence[Prepared]) -> None:
    problems = [
        Problem("E-UNLABELLED", scan.scan_id, "has no labels", "labels, to train on")
        for scan in scans
        if not scan.channels
    ]
    if problems:
        raise DataError(*problems)


def _require_channels(scans: Sequence[Prepared]) -> None:
    counts = {scan.image_channels: scan.scan_id for scan in scans}
    if len(counts) > 1:
        found = ", ".join(f"{name} has {count}" for count, name in sorted(counts.items()))
        raise DataError(Problem("E-CHANNELS", "image channels", found, "as many in every scan"))


def _require_size(scans: Sequence[Prepared], roi_px: tuple[int, ...]) -> None:
    rows, columns = roi_px
    problems = [
        Problem(
            "E-CONFIG",
            scan.scan_id,
            f"prepared slices have {scan.grid.shape[1]} rows and {scan.grid.shape[0]} columns",
            f"at least {rows} and {columns}",
            "give preprocessing and data set the same roi_px",
        )
        for scan in scans
        if scan.grid.shape[1] < rows or scan.grid.shape[0] < columns
    ]
    if problems:
        raise UsageError(*problems)
