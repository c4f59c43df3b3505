"""Training batches: read, augmented, and ready on the device."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import radians, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from medseg.bench.measure import Timed, Work, require, timed
from medseg.bench.scans import ORGANS, write_scan
from medseg.data import SliceBatches, SliceDataset, item_of
from medseg.transforms import BatchAugment, preprocessing
from medseg.transforms.warp import ELASTIC_SPACING_PX

_SIDE_PX = 288
_REACH = {"cpu": 10.0, "cuda": 50.0}
# None, as DataLoader comes, and as many as pay on two cores.
WORKERS = (0, 2)
_LIMITS = BatchAugment(elastic_px=8, gamma=0.3, bias=0.3, low_resolution=0.5, noise=0.1)
_OFF = BatchAugment(rotate_deg=0, translate=0, scale=0, flip=False, brightness=0, contrast=0)

_KEYS = ("image", "label")

Batch = tuple[Tensor, ...]


def works(
    folder: Path,
    *,
    neighbours: int = 5,
    batch_size: int = 16,
    batches: int = 4,
    chance: float = 0.25,
    device: str = "cpu",
) -> list[Work]:
    """Return the works of making batches of 2.5D slices of 288 x 288 pixels, by MONAI's workers.

    What is random cannot be equal. With chance left out, both sides make equal batches; with it,
    batches of equal shapes.

    Args:
        folder: Where a scan and the store of it are written.
        neighbours: Channels of a slice.
        batch_size: Slices of a batch.
        batches: How many are made at a time.
        chance: The share of slices that each of the rarer changes comes to.
        device: Where they are to be.
    """
    limits = replace(_LIMITS, chance=chance)
    to = torch.device(device)
    scan = write_scan(folder, slices=batch_size * batches)
    dataset = SliceDataset(
        [item_of(scan)],
        preprocessing(organs=ORGANS, roi_px=(_SIDE_PX, _SIDE_PX)),
        store_dir=folder / "store",
        roi_px=(_SIDE_PX, _SIDE_PX),
        neighbours=neighbours,
    )
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    own = SliceBatches(dataset, batch_size=batch_size, sampler=[(0, n) for n in order], device=to)
    stock = {n: _loader(dataset, order, batch_size, limits=limits, workers=n) for n in WORKERS}

    def made(augment: BatchAugment) -> Iterator[Batch]:
        for batch in own:
            yield augment(batch["image"], batch["label"], batch["draw"])

    def same(ours: Batch, theirs: Batch) -> str:
        shapes = [[part.shape for part in batch] for batch in (ours, theirs)]
        require(shapes[0] == shapes[1], f"batches of other shapes: {shapes}")
        plain = _loaded(_loader(dataset, order, batch_size, limits=None), to)
        for one, other in zip(made(_OFF), plain, strict=True):
            for a, b in zip(one, other, strict=True):
                # MONAI's elastic transform interpolates even what it leaves in its place.
                torch.testing.assert_close(a, b.to(a.dtype), atol=1e-6, rtol=0)
        return "equal within 1e-6 without chance; equal shapes with it"

    return [
        Work(
            name=f"{batches} augmented batches of {batch_size} x {neighbours} slices on {to}",
            against=f"MONAI CacheDataset, DataLoader, {workers} workers",
            reach=_REACH.get(to.type, 1.0),
            ours=lambda: _last(made(limits), to),
            theirs=partial(_timed, loader, to),
            same=same,
        )
        for workers, loader in stock.items()
    ]


def _timed(loader: Any, device: torch.device) -> Timed:  # noqa: ANN401
    """Return the last of a loader's batches; the processor time of its workers counts."""

    def workers_s() -> float:
        times = [child.cpu_times() for child in psutil.Process().children()]
        return float(sum(each.user + each.system for each in times))

    before = workers_s()
    found = timed(lambda: _last(_loaded(loader, device), device))
    return found._replace(cpu_s=found.cpu_s + workers_s() - before)


def _loaded(loader: Any, device: torch.device) -> Iterator[Batch]:  # noqa: ANN401
    for batch in loader:
        yield tuple(batch[key].as_tensor().to(device, non_blocking=True) for key in _KEYS)


def _last(batches: Iterator[Batch], device: torch.device) -> Batch:
    """Make all batches, each when the one before is let go, as a training loop does."""
    (last,) = deque(batches, maxlen=1)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return last


def _loader(
    dataset: SliceDataset,
    order: Sequence[int],
    batch_size: int,
    *,
    limits: BatchAugment | None,
    workers: int = 0,
) -> Any:  # noqa: ANN401
    """Return MONAI's loader of the same slices; without limits it changes nothing."""
    from monai.data import CacheDataset, DataLoader

    items = [{key: dataset[n][key] for key in _KEYS} for n in range(len(dataset))]
    cached = CacheDataset(items, _stock_chain(limits), num_workers=1, progress=False)
    return DataLoader(
        cached,
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _stock_chain(limits: BatchAugment | None) -> Callable[[Any], Any]:
    """Return MONAI's random transforms that do what `BatchAugment` does, as often and as much."""
    from monai import transforms as mt

    rarely = limits.chance if limits else 0.0
    always, half = (1.0, 0.5) if limits else (0.0, 0.0)
    limits = limits or _OFF
    shift_px = _SIDE_PX * limits.translate
    moved = {"keys": _KEYS, "mode": ("bilinear", "nearest"), "padding_mode": "zeros"}
    return mt.Compose(  # type: ignore[no-any-return]
        [
            mt.EnsureTyped(_KEYS),
            mt.RandFlipd(_KEYS, prob=half, spatial_axis=0),
            mt.RandFlipd(_KEYS, prob=half, spatial_axis=1),
            mt.RandAffined(
                prob=always,
                rotate_range=radians(limits.rotate_deg),
                translate_range=(shift_px, shift_px),
                scale_range=(limits.scale, limits.scale),
                **moved,
            ),
            # Normal displacements with the deviation of even ones.
            mt.Rand2DElasticd(
                prob=rarely,
                spacing=ELASTIC_SPACING_PX,
                magnitude_range=(0, limits.elastic_px / sqrt(3)),
                **moved,
            ),
            mt.RandAdjustContrastd(
                "image", prob=rarely, gamma=(1 - limits.gamma, 1 + limits.gamma)
            ),
            mt.RandBiasFieldd(
                "image", prob=rarely, coeff_range=(-limits.bias / 4, limits.bias / 4)
            ),
            mt.RandScaleIntensityd("image", prob=always, factors=limits.contrast),
            mt.RandShiftIntensityd("image", prob=always, offsets=limits.brightness),
            mt.RandSimulateLowResolutiond(
                "image",
                prob=rarely,
                upsample_mode="bilinear",  # its own default, for volumes, fails on slices
                zoom_range=(1 - limits.low_resolution, 1.0),
            ),
            mt.RandGaussianNoised("image", prob=rarely, std=limits.noise),
        ]
    )
