"""The step, its batch, and the Dice that chooses checkpoints."""

import platform

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from medseg.engine import AugmentedBatch, ScanDice, StepInferer
from medseg.engine.device import amp_dtype, autocast, keep_freed_memory
from medseg.errors import UsageError


def masks(*columns):
    """One organ a row; a column index is a voxel that is set. Shape (organs, 4, 1, 1)."""
    out = torch.zeros(len(columns), 4, 1, 1, dtype=torch.uint8)
    for organ, voxels in enumerate(columns):
        out[organ, list(voxels)] = 1
    return out


def test_scan_dice_is_worked_out_by_hand():
    metric = ScanDice(["a", "b"])
    metric.reset()
    # a: 1 shared of 2 and 1 voxels: 2/3. b: both empty in this scan: says nothing.
    metric.update((masks({0, 1}, set()), masks({0}, set())))
    # a: missed: 0. b: exact: 1.
    metric.update((masks(set(), {2}), masks({3}, {2})))
    assert metric.per_organ() == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert metric.compute() == pytest.approx(2 / 3)


def test_scan_dice_of_nothing_is_zero():
    metric = ScanDice(["a"])
    metric.reset()
    assert metric.compute() == 0.0


def test_scan_dice_tells_the_engine_each_organ():
    engine = Engine(lambda _engine, batch: batch)
    ScanDice(["a", "b"]).attach(engine, "val_dice_mean")
    engine.run([{"pred": masks({0}, {1}), "label": masks({0}, {2})}])
    assert engine.state.metrics == {"val_dice_mean": 0.5, "val_dice_a": 1.0, "val_dice_b": 0.0}


def test_a_batch_is_augmented_with_its_own_seeds():
    seen = {}

    def augment(image, label, seeds):
        seen["seeds"] = seeds
        return image + 1, label

    batch = {
        "image": torch.zeros(2, 1, 3, 3),
        "label": torch.ones(2, 1, 3, 3, dtype=torch.uint8),
        "draw": torch.tensor([7, 8]),
    }
    image, label, given, _ = AugmentedBatch(augment)(batch, torch.device("cpu"), False)
    assert seen["seeds"].tolist() == [7, 8]
    assert image.unique().tolist() == [1.0]
    assert label.unique().tolist() == [1]
    assert given == (label,)


class _Curious(nn.Conv2d):
    """A network that has more to say where it is shown the masks."""

    takes_masks = True

    def forward(self, images, masks=None):
        logits = super().forward(images)
        return logits if masks is None else (logits, masks.sum())


def test_the_step_gives_masks_to_a_network_that_takes_them():
    masks = torch.ones(1, 1, 4, 4)
    logits, total = StepInferer(amp=False)(torch.ones(1, 1, 4, 4), _Curious(1, 1, 1), masks)
    assert logits.shape == (1, 1, 4, 4)
    assert total == 16
    plain = StepInferer(amp=False)(torch.ones(1, 1, 4, 4), nn.Conv2d(1, 1, 1), masks)
    assert plain.shape == (1, 1, 4, 4)


@pytest.mark.parametrize("amp", [pytest.param(True, id="amp"), pytest.param(False, id="float32")])
def test_the_step_computes_in_the_precision_asked_for(amp):
    logits = StepInferer(amp=amp)(torch.ones(1, 1, 4, 4), nn.Conv2d(1, 1, 1))
    expected = amp_dtype(torch.device("cpu")) if amp else None
    assert logits.dtype == (expected or torch.float32)


def test_the_step_compiles_its_first_network_once_in_the_mode_asked_for(monkeypatch):
    asked = []

    def compiled(network, images, *, mode):
        asked.append((network, images.shape, mode))
        return network

    monkeypatch.setattr("medseg.engine.training.compiled", compiled)
    network, images = nn.Conv2d(1, 1, 1), torch.ones(1, 1, 4, 4)
    step = StepInferer(compile="reduce-overhead")
    step(images, network)
    step(images, network)
    StepInferer(compile=False)(images, network)
    assert asked == [(network, (1, 1, 4, 4), "reduce-overhead")]


def test_a_network_that_takes_masks_is_not_compiled_which_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr("medseg.engine.training.compiled", None)
    step, images = StepInferer(compile="default"), torch.ones(1, 1, 4, 4)
    for _ in range(2):
        assert len(step(images, _Curious(1, 1, 1), images)) == 2
    (record,) = [each for each in caplog.records if each.name.startswith("medseg")]
    assert "warning[W-COMPILE]: _Curious: takes masks in training" in record.getMessage()


@pytest.mark.parametrize(
    "mode", [pytest.param("fastest", id="unknown"), pytest.param(True, id="no name")]
)
def test_an_unknown_mode_of_compilation_is_refused(mode):
    with pytest.raises(UsageError, match=r"E-CONFIG.*compile.*false or one of default, reduce"):
        StepInferer(compile=mode)


def test_freed_memory_is_kept_where_the_c_library_is_glibc(monkeypatch):
    keep_freed_memory.cache_clear()
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")

    def no_library(_name):
        raise OSError

    keep_freed_memory.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", no_library)
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()


def test_autocast_leaves_an_unknown_device_alone():
    assert amp_dtype(torch.device("meta")) is None
    with autocast(torch.device("meta")):
        assert not torch.is_autocast_enabled("cpu")
