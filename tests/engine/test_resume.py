"""With every setting on, as the bundles wire them, a resumed training is one in one go."""

import signal

import pytest
import torch
from ignite.engine import Events

from medseg.bundle import Opened, find_bundle
from medseg.data import SliceBatches
from medseg.engine import device
from medseg.engine.checkpoints import read_checkpoint
from medseg.errors import Stopped

EVERY_SETTING = {
    "head_factor": 4.0,
    "decay_all": False,
    "clip_norm": 0.5,
    "ema_decay": 0.8,
    "patience": 40,
    "optimizer": {
        "_target_": "torch.optim.SGD",
        "params": "@parameters",
        **{"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    },
    "lr_scheduler": {
        "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "optimizer": "@optimizer",
        **{"mode": "max", "factor": 0.5, "patience": 0, "threshold": 1.0, "threshold_mode": "abs"},
    },
}
NETWORKS = {"unet": "single", "dynunet": "deep", "maskformer": "segments"}


def opened(network, folder, data, **changed):
    """A bundle on the tests' phantom, with a small network and every setting on."""
    settings = {
        **{"dataset_dir": str(data), "output_dir": str(folder), "device": "cpu", "amp": False},
        **{"roi_px": [48, 48], "spacing_mm": [6.0, 6.0, 6.0], "store_dir": str(data) + "-store"},
        **{"epochs": 3, "epoch_length": 3, "batch_size": 2, "folds": 3},
        **EVERY_SETTING,
    }
    config = find_bundle("uwmgi_segformer").config("train", settings=settings | changed)
    losses = {
        "single": config["loss"],
        "deep": {"_target_": "medseg.losses.deep_supervision", "loss": config["loss"]},
        "segments": {"_target_": "medseg.losses.mask_classification", "overlapping": False},
    }
    sizes = {"name": network, "channels": 1, "classes": 4, "overlapping": False}
    built = {"_target_": "small_networks.small", **sizes}
    return Opened(config | {"network_def": built, "loss": losses[NETWORKS[network]]})


def trained(network, folder, data, *, stop_at=None, **changed):
    """Train to the end, or to a step in which a signal comes; return the parts."""
    parts = opened(network, folder, data, **changed)
    parts["initialize"]
    trainer = parts["train::trainer"]
    if stop_at is None:
        parts["run"]
        return parts
    trainer.add_event_handler(
        Events.ITERATION_STARTED(once=stop_at), lambda: signal.raise_signal(signal.SIGTERM)
    )
    with pytest.raises(Stopped):
        parts["run"]
    return parts


def assert_same(found, expected, where=""):
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}/{number}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert found == expected, where


def test_in_bfloat16_too_a_resumed_training_is_one_in_one_go(tiny_phantom, tmp_path, monkeypatch):
    """As on fast machines; and what goes on reads no batch ahead."""
    monkeypatch.setattr(device, "amp_dtype", lambda _device: torch.bfloat16)
    trained("unet", tmp_path / "whole", tiny_phantom, amp=True)
    trained("unet", tmp_path / "float32", tiny_phantom)
    trained("unet", tmp_path / "parts", tiny_phantom, stop_at=5, amp=True)
    monkeypatch.setitem(SliceBatches.__init__.__kwdefaults__, "ahead", 0)
    trained("unet", tmp_path / "parts", tiny_phantom, resume=True, amp=True)
    states = [
        read_checkpoint(tmp_path / part / "checkpoints" / "last.pt")
        for part in ("parts", "whole", "float32")
    ]
    assert all(state.pop("provenance")["started"] for state in states)
    assert_same(*states[:2])
    weight = "classifier.weight"
    assert not torch.equal(states[2]["network"][weight], states[1]["network"][weight])


@pytest.mark.parametrize("network", [pytest.param(name, id=name) for name in NETWORKS])
def test_a_resumed_training_is_one_in_one_go(network, tiny_phantom, tmp_path):
    whole = trained(network, tmp_path / "whole", tiny_phantom)
    trained(network, tmp_path / "parts", tiny_phantom, stop_at=5)
    rest = trained(network, tmp_path / "parts", tiny_phantom, resume=True)
    assert rest["train::trainer"].state.iteration == 9
    for name in ("last.pt", "best.pt"):
        files = (tmp_path / part / "checkpoints" / name for part in ("parts", "whole"))
        states = [read_checkpoint(file) for file in files]
        assert all(state.pop("provenance")["started"] for state in states)
        assert_same(*states)
    # Halved at the second and the third validation: no score rises by 1.
    assert {group["lr"] for group in whole["optimizer"].param_groups} == {0.02 / 4, 0.08 / 4}


def test_the_average_is_validated_kept_and_told_apart(tiny_phantom, tmp_path):
    parts = trained("unet", tmp_path, tiny_phantom, epochs=1)
    assert parts["validate::evaluator"].network is parts["averaged"]
    state = read_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert_same(state["network"], parts["averaged"].state_dict())
    assert_same(state["learning"], parts["network"].state_dict())
    weight = "classifier.weight"
    assert not torch.equal(state["network"][weight], state["learning"][weight])


def test_without_an_average_the_network_is_written_once(tiny_phantom, tmp_path):
    parts = trained("unet", tmp_path, tiny_phantom, epochs=1, epoch_length=1, ema_decay=None)
    path = tmp_path / "checkpoints" / "last.pt"
    state = read_checkpoint(path)
    assert_same(state["network"], state["learning"])
    numbers = sum(tensor.nbytes for tensor in parts["network"].state_dict().values())
    assert path.stat().st_size < 2.5 * numbers  # the network, and momentum of its parameters
