"""What of a configuration a run tells MLflow."""

import pytest

from medseg.bundle import find_bundle
from medseg.engine.settings import flatten, parameters


@pytest.fixture(scope="module")
def told():
    config = find_bundle("uwmgi_segformer").config("train")
    places = {"dataset_dir": "/srv/DOE^JANE", "output_dir": "/srv/a", "device": "cpu"}
    return flatten(parameters(config | places))


def test_what_tells_runs_apart_is_there_by_short_names(told):
    assert (
        told.items()
        >= {
            "network": "segformer_b4",
            "loss": "dice_ce",
            "optimizer": "Adam",
            "lr": "0.0003",
            "epochs": "100",
            "batch_size": "8",
            "spacing_mm": "[1.5, 1.5, 3.0]",
            "roi_px": "[288, 288]",
            "seed": "0",
            "fold": "0",
            "dataset": "uwmgi",
            "augmentation.rotate_deg": "15",
            "lr_scheduler": "ConstantLR",
        }.items()
    )


def test_neither_wiring_nor_places_nor_hashes_nor_gaps_are(told):
    for name, value in told.items():
        assert not value.startswith(("$", "@")), name
        assert "_target_" not in name
        assert "DOE" not in value
        assert "/" not in value, name
        assert value != "null", name
    assert not [name for name in told if "hash" in name or name.startswith(("train", "validate"))]
    assert not told.keys() & {"bundle_root", "split_file", "initialize", "run", "labels", "resume"}
    assert len(told) <= 45


def test_parts_are_told_as_deep_as_they_go():
    config = {
        "network_def": {"_target_": "a.b.unet", "width": 32, "in_channels": "@neighbours"},
        "lr_scheduler": {"_target_": "LambdaLR", "lr_lambda": {"_target_": "c.warm", "steps": 9}},
        "weights": None,
        "train": {"dataloader": {"_target_": "d.Loader", "workers": 2}},
        "amp": False,
    }
    assert parameters(config) == {
        "network": "unet",
        "network.width": 32,
        "lr_scheduler": "LambdaLR",
        "lr_scheduler.lr_lambda": "warm",
        "lr_scheduler.lr_lambda.steps": 9,
        "amp": False,
    }
