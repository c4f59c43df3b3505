"""Prepared scans as training items: slices with their neighbours, and whole volumes.

A slice is ``(C, H, W)``: rows and columns of the volume's J and I. In 2.5D the channels are the
slice and its neighbours at a stride, from head to feet; at the ends of a scan the last slice stands
for those beyond.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from medseg.data.entry import Prepared, unpacked
from medseg.data.neighbours import gather, neighbour_indices
from medseg.data.store import Item, Progress, Store
from medseg.errors import DataError, Problem, UsageError

Transform = Callable[[Any], Any]


@dataclass(eq=False)
class SliceDataset(Dataset[dict[str, Any]]):
    """The slices of labelled scans, prepared at construction; empty slices are kept.

    An item is ``image`` ``(neighbours, H, W)`` float32, ``label`` ``(organs, H, W)`` uint8,
    ``draw``, the seed of the sample's augmentation, ``scan_id`` and ``slice``. Indices are numbers,
    or (epoch, number) as `EpochSampler` yields them: the seed follows from the data set's own seed,
    the epoch and the number, so any epoch can be repeated, by any number of workers.

    Args:
        data: MONAI items with ``label``.
        transform: The preprocessing chain.
        store_dir: Folder of the `Store`.
        roi_px: Rows and columns of an item. From a larger slice a window is drawn.
        neighbours: Channels of an item, the slice itself among them; odd.
        stride: Distance between neighbouring channels, in slices.
        seed: Of the draws.
        workers: Threads that prepare.
        progress: Called with the number of scans prepared and of all.

    Raises:
        DataError: Scans are faulty, or have no labels.
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
        _require_size(self.scans, tuple(self.roi_px))
        self._starts = np.cumsum([0, *(scan.grid.shape[2] for scan in self.scans)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        epoch, number = index if isinstance(index, tuple) else (0, index)
        if not 0 <= number < len(self):
            raise IndexError(f"slice {number} of {len(self)}")
        which = int(np.searchsorted(self._starts, number, side="right")) - 1
        scan, k = self.scans[which], int(number - self._starts[which])
        draw = _seed(self.seed, epoch, number)
        rows, columns = self._window(scan, draw)
        assert scan.masks is not None  # for the type checker; looked at when constructed
        image = gather(scan.image[:, rows, columns], k, self.neighbours, self.stride)
        return {
            "image": torch.from_numpy(image).float(),
            "label": torch.from_numpy(unpacked(scan.masks[k, rows, columns], scan.channels)),
            "draw": draw,
            "scan_id": scan.scan_id,
            "slice": k,
        }

    @property
    def counts(self) -> dict[str, Any]:
        """How many ``slices`` there are, how many are ``empty``, and how many hold each organ."""
        presence = np.array([bits for scan in self.scans for bits in scan.presence], np.uint8)
        channels = max((scan.channels for scan in self.scans), default=0)
        organs = _organs(self.transform) or [f"channel {c}" for c in range(channels)]
        return {
            "slices": len(presence),
            "empty": int((presence == 0).sum()),
            "organs": {
                organ: int((presence >> channel & 1).sum()) for channel, organ in enumerate(organs)
            },
        }

    def _window(self, scan: Prepared, draw: int) -> tuple[slice, slice]:
        """Return the rows and columns of the sample's window, drawn where there is a choice."""
        height, width = self.roi_px
        columns, rows, _ = scan.grid.shape
        if (rows, columns) == (height, width):
            return slice(0, height), slice(0, width)
        # A stream of its own: the augmentation starts from the seed itself.
        rng = np.random.default_rng([draw, 1])
        top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        return slice(top, top + height), slice(left, left + width)


@dataclass(eq=False)
class VolumeDataset(Dataset[dict[str, Any]]):
    """Whole prepared scans, prepared at construction.

    An item is ``image``, a MetaTensor ``(1, I, J, K)`` float32, ``label``, one of
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
        image = torch.from_numpy(np.array(scan.image)[None]).float()  # (1, K, J, I)
        item: dict[str, Any] = {
            "scan_id": scan.scan_id,
            "case_id": scan.case_id,
            "image": MetaTensor(image.permute(0, 3, 2, 1), affine=affine),
            "native": scan.native,
        }
        if scan.masks is not None:
            masks = torch.from_numpy(unpacked(scan.masks, scan.channels))
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


def _seed(seed: int, epoch: int, number: int) -> int:
    """Return a seed below 2 ** 63, so that a batch of them fits a LongTensor."""
    (state,) = np.random.SeedSequence([seed, epoch, number]).generate_state(1, np.uint64)
    return int(state >> np.uint64(1))


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
