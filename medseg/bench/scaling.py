"""What a number of scans costs to prepare, to train on and to predict: memory and processor time.

Memory is what the system counts as resident for this process, file pages it has mapped included: a
naive measure, and the one that ends a process where memory is short.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from monai.engines import SupervisedTrainer
from torch import nn
from torch.optim import Adam

from medseg.bench.scans import ORGANS, write_scan
from medseg.bundle import find_bundle
from medseg.data import EpochSampler, SliceBatches, SliceDataset, Store, item_of
from medseg.engine import AugmentedBatch, StepInferer
from medseg.engine.checkpoints import write_checkpoint
from medseg.losses import dice_bce
from medseg.models import segformer_b0
from medseg.scan import Scan
from medseg.stages.display import Silent
from medseg.stages.predict import predict_items
from medseg.stages.prepare import WORKERS
from medseg.transforms import BatchAugment, preprocessing

_EVERY_S = 0.01
_BUNDLE = "uwmgi_segformer_25d"
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Size:
    """How large the work on a scan is.

    Attributes:
        slices: Slices of a scan.
        side_px: Rows and columns of a slice; prediction sees all of it.
        window_px: Rows and columns that training sees.
        batch: Slices of a training step, windows of a prediction's.
    """

    slices: int = 64
    side_px: int = 160
    window_px: int = 64
    batch: int = 16


class Cost(NamedTuple):
    """What a phase took: memory at its peak above that before any work, and processor time."""

    peak_bytes: int
    cpu_s: float


def costs(count: int, folder: Path, *, size: Size = Size()) -> dict[str, Cost]:
    """Prepare, train on and predict `count` scans; return what each phase took.

    Call it once in a process: memory that one call frees the next one gets, unseen.

    Args:
        count: How many scans; training takes one epoch of their slices.
        folder: An empty folder for scans, store and predictions.
        size: How large a scan is.
    """
    before = resident_bytes()
    network = segformer_b0(in_channels=_NEIGHBOURS, out_channels=len(ORGANS))
    scans = [
        write_scan(folder, number=n, slices=size.slices, size_px=(size.side_px, size.side_px))
        for n in range(count)
    ]
    # The first scan pays for what is set up once: buffers, kernels, the parts of the bundle.
    for work in _phases(scans[:1], folder / "warm", network, size).values():
        work()
    phases = _phases(scans, folder / "work", network, size)
    return {name: _cost(work, before) for name, work in phases.items()}


def resident_bytes() -> int:
    """Return the memory that the system counts for this process."""
    return int(psutil.Process().memory_info().rss)


def _phases(
    scans: Sequence[Scan], folder: Path, network: nn.Module, size: Size
) -> dict[str, Callable[[], Any]]:
    """Return the phases by name, to be run in their order."""
    side, window = (size.side_px, size.side_px), (size.window_px, size.window_px)
    items = [item_of(scan) for scan in scans]
    chain = preprocessing(organs=ORGANS, roi_px=side)
    store = folder / "store"

    def train() -> None:
        data = SliceDataset(items, chain, store_dir=store, roi_px=window, neighbours=_NEIGHBOURS)
        sampler = EpochSampler(data)
        SupervisedTrainer(
            device="cpu",
            max_epochs=1,
            train_data_loader=SliceBatches(
                data, batch_size=size.batch, sampler=sampler, resident=False
            ),
            network=network,
            optimizer=Adam(network.parameters(), 1e-4),
            loss_function=dice_bce(),
            inferer=StepInferer(),
            prepare_batch=AugmentedBatch(BatchAugment()),
            decollate=False,
        ).run()

    def predict() -> None:
        write_checkpoint(folder / "model.pt", network.state_dict())
        settings = {
            "network_def::_target_": "medseg.models.segformer_b0",
            "checkpoint": str(folder / "model.pt"),
            "output_dir": str(folder / "predictions"),
            "roi_px": side,
            "batch_size": size.batch,
            "device": "cpu",
        }
        unlabelled = [{key: item[key] for key in item if key != "label"} for item in items]
        config = find_bundle(_BUNDLE).config("inference", settings=settings)
        predict_items(config, unlabelled, Silent())

    return {
        "prepare": lambda: Store(store).prepare(items, chain, workers=WORKERS),
        "train": train,
        "predict": predict,
    }


def _cost(work: Callable[[], Any], before: int) -> Cost:
    """Run a phase while a thread looks at the memory."""
    peak, done = resident_bytes(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_EVERY_S):
            peak = max(peak, resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    try:
        work()
    finally:
        cpu_s = time.process_time() - began
        done.set()
        watcher.join()
    return Cost(peak - before, cpu_s)
