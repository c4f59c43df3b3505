"""A training step of every bundle with its demo's network: nothing waits for the device."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from torch.utils._python_dispatch import TorchDispatchMode

from medseg.bundle import Opened, find_bundle
from medseg.engine.history import TrackingHandler
from medseg.stages.display import Silent
from medseg.stages.watch import Watch

ROOT = Path(__file__).parents[2] / "bundles"
BUNDLES = sorted(path.parents[1].name for path in ROOT.glob("*/configs/train.json"))
aten = torch.ops.aten

# What a CUDA device must finish before the host goes on: the result, or its size, is a number.
WAITS = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten._unique2.default,
    aten.unique_dim.default,
}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}


# Mask DINO is taught by segments: how many there are, a number, decides the shapes of its step.
MAY_WAIT = {"lgg_maskdino": 9, "uwmgi_maskdino": 9}
# Networks that another bundle has too.
AGAIN = {"cells_unet", "lgg_maskdino", "lgg_unet", "lgg_unext", "uwmgi_segformer"}


class Waits(TorchDispatchMode):
    """Count what would wait for a device, while switched on."""

    def __init__(self):
        super().__init__()
        self.on, self.found, self.operations = False, Counter(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func in INDEXED and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if self.on:
            self.operations += 1
            self.found[str(func)] += func in WAITS or by_mask
        return func(*args, **(kwargs or {}))


def test_the_counter_counts():
    masks = torch.tensor([True, False])
    with Waits() as waits:
        masks.any().item()
        waits.on = True
        float(masks.sum())
        torch.zeros(2)[masks] = 1.0
        assert bool(masks.any())
        masks.nonzero()
        torch.where(masks, 1, 0)
    assert +waits.found == {
        "aten._local_scalar_dense.default": 2,
        "aten.index_put_.default": 1,
        "aten.nonzero.default": 1,
    }


class Log:
    def log_metrics(self, metrics, step):
        """Keep nothing."""

    def flush(self):
        """Send nothing."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, id=n, marks=[pytest.mark.slow] * (n in AGAIN)) for n in BUNDLES]
)
def test_a_step_waits_for_nothing(name, bundle_phantom, tmp_path, monkeypatch):
    settings = {
        "dataset_dir": str(bundle_phantom(name)),
        "output_dir": str(tmp_path),
        **{"device": "cpu", "roi_px": [64, 64], "batch_size": 2},
        **{"epochs": 1, "epoch_length": 3, "val_interval": 9},
    }
    opened = Opened(find_bundle(name).config("train", "demo", settings=settings))
    trainer, evaluator = opened["train::trainer"], opened["validate::evaluator"]
    monkeypatch.setattr("medseg.stages.watch.EVERY_S", 1e9)
    history = TrackingHandler(Log(), organs=(), evaluator=evaluator)
    history.attach(trainer)
    watch = Watch(history, evaluator, Silent())
    trainer.add_event_handler(Events.ITERATION_COMPLETED, watch.step)
    waits, prepare = Waits(), trainer.prepare_batch

    def prepared(*args, **kwargs):
        batch = prepare(*args, **kwargs)
        # The batch comes from the host; from here to the end of the step nothing goes back to it.
        # The first step and the last are shown.
        waits.on = 1 < trainer.state.iteration < trainer.state.epoch_length
        return batch

    def stop(_engine):
        waits.on = False

    trainer.prepare_batch = prepared
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    opened["initialize"]
    with waits:
        trainer.run()
    assert waits.operations > 100
    assert sum(waits.found.values()) <= MAY_WAIT.get(name, 0), +waits.found
