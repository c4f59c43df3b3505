"""A training follows from its seed, from the first weights on."""

import torch
from safetensors.torch import load_file

from medseg.bundle import find_bundle
from medseg.runs import Run
from medseg.stages.display import Silent
from medseg.stages.train import train


class NoTracker:
    def log_metrics(self, metrics, step):
        """Keep nothing."""

    def flush(self):
        """Send nothing."""

    def log_artifact(self, path, folder=None):
        """Send nothing."""


def weights_after(seed, folder, data):
    settings = {
        **{"dataset_dir": str(data), "output_dir": str(folder), "store_dir": f"{data}-store"},
        **{"roi_px": [32, 32], "spacing_mm": [9.0, 9.0, 9.0], "device": "cpu", "seed": seed},
        **{"epochs": 1, "epoch_length": 1, "batch_size": 2, "val_interval": 9},
        "network_def::_target_": "medseg.models.unext",
    }
    config = find_bundle("uwmgi_unext").config("train", settings=settings)
    folder.mkdir()
    train(Run(folder, config), NoTracker(), Silent())
    return load_file(folder / "weights.safetensors")


def test_the_first_weights_follow_from_the_seed(tiny_phantom, tmp_path):
    torch.seed()  # as in a process of its own
    once = weights_after(1, tmp_path / "once", tiny_phantom)
    torch.seed()
    again = weights_after(1, tmp_path / "again", tiny_phantom)
    other = weights_after(2, tmp_path / "other", tiny_phantom)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["encoder1.weight"], other["encoder1.weight"])
