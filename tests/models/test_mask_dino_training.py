"""A step of training and a validation, as the bundles wire them."""

import pytest

from medseg.bundle import Opened, find_bundle


@pytest.mark.slow
def test_mask_dino_trains_and_validates_where_segformer_did(tiny_phantom, tmp_path):
    settings = {
        **{"dataset_dir": str(tiny_phantom), "output_dir": str(tmp_path), "device": "cpu"},
        **{"roi_px": [64, 64], "batch_size": 4, "epochs": 1, "epoch_length": 1, "val_interval": 1},
        "network_def": {
            "_target_": "medseg.models.maskdino_r18",
            "in_channels": "$@channels * @neighbours",
            "out_channels": 4,
            "two_stage": True,
        },
        "loss": {
            "_target_": "medseg.losses.mask_dino",
            "painting_order": "$@labels.painting_order",
            "points": 100,
        },
    }
    opened = Opened(find_bundle("uwmgi_segformer").config("train", settings=settings))
    trainer, evaluator = opened["train::trainer"], opened["validate::evaluator"]
    before = opened["network"].decoder.classes.weight.detach().clone()
    opened["run"]
    assert trainer.state.iteration == 1
    assert trainer.state.output["loss"].isfinite()
    assert opened["network"].decoder.classes.weight.ne(before).any()
    assert 0.0 <= evaluator.state.metrics["val_dice_mean"] <= 1.0
