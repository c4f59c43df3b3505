"""A recipe takes its values from the bundles of its data set and of its network."""

import pytest

from medseg.bundle import find_bundle
from medseg.bundle.recipe import preset_called, recipe_of
from medseg.data import read_manifest
from medseg.errors import UsageError

HEARTS = """
name: hearts
title: Hearts
source: {url: none, about: Made up.}
licence: {name: none}
citation: {text: None}
layout: {reader: volumes, images: "images/{case}.nii.gz", labels: "labels/{case}.nii.gz"}
channels: [early, late]
labels:
  - {name: left, code: 1, colour: [1, 2, 3], meaning: Left}
  - {name: right, code: 2, colour: [4, 5, 6], meaning: Right}
priority: [left, right]
split: {by: patient, folds: 4, balance: scans}
"""
DICE_CE = {"_target_": "medseg.losses.dice_ce", "painting_order": "$@labels.painting_order"}


@pytest.fixture
def hearts(tmp_path):
    """The manifest of a data set that no bundle is of, and where it lies."""
    file = tmp_path / "hearts.yaml"
    file.write_text(HEARTS)
    return read_manifest(file), str(file)


def shipped(dataset, preset, **options):
    return recipe_of(read_manifest(dataset), dataset, preset, **options)


def test_its_own_bundle_comes_first():
    recipe = shipped("lgg", "unet")
    assert [home.name for home in recipe.homes] == ["lgg_unet", "lgg_unet"]
    assert recipe.train["network_def"]["base"] == 32
    assert recipe.train["loss"]["smooth"] == 1.0
    assert recipe.train["_desc_"].startswith("The training of Buda's published U-Net")


def test_a_network_of_another_data_set_learns_at_the_pace_of_this_one():
    recipe = shipped("uwmgi", "resunet")
    assert [home.name for home in recipe.homes] == ["uwmgi_autoencoder", "lgg_resunet"]
    train = recipe.train
    assert (train["optimizer"]["lr"], train["epochs"], train["batch_size"]) == (1e-3, 100, 12)
    assert (train["spacing_mm"], train["channels"]) == ([1.5, 1.5, 3.0], 1)
    # The lesion of LGG is alone; organs exclude each other.
    assert train["loss"] == DICE_CE
    assert train["network_def"]["out_channels"] == 4
    assert recipe.demo["spacing_mm"] == [2.4, 2.4, 3.0]
    assert recipe.demo["optimizer::lr"] == 0.001
    assert recipe.demo["_desc_"]
    assert train["_desc_"] == (
        "Values of the data set from uwmgi_autoencoder, of the network from lgg_resunet; "
        "not yet tried."
    )


def test_another_size_of_a_network_is_trained_as_the_one_there_is():
    recipe = shipped("uwmgi", "maskformer_swin_t")
    assert recipe.homes.network.name == "uwmgi_maskformer"
    assert recipe.train["network_def"] == {
        "_target_": "medseg.models.maskformer_swin_t",
        "in_channels": "$@channels * @neighbours",
        "out_channels": 4,
        "overlapping": "$@label_mode == 'overlapping'",
    }
    assert recipe.train["clip_norm"] == 0.01
    assert recipe.demo["network_def::_target_"] == "medseg.models.maskformer_r18"


def test_a_bundle_may_be_taken_after_another():
    recipe = shipped("uwmgi", "unet", like=find_bundle("uwmgi_segformer_25d"))
    train = recipe.train
    assert [home.name for home in recipe.homes] == ["uwmgi_segformer_25d", "uwmgi_unet"]
    assert (train["neighbours"], train["label_mode"], train["per_organ"]) == (
        5,
        "overlapping",
        True,
    )
    assert train["network_def"]["out_channels"] == 3
    assert train["loss"] == {"_target_": "medseg.losses.dice_bce"}


def test_a_share_of_cross_entropy_is_kept_where_organs_come_to_exclude_each_other():
    there, here = (
        shipped("lgg", "unext").train["loss"],
        shipped("uwmgi", "unext_paper").train["loss"],
    )
    assert there["bce_weight"] == here["ce_weight"] == 0.5
    assert here["_target_"].endswith("dice_ce")
    unext = find_bundle("uwmgi_unext")
    other = shipped("uwmgi", "unext", like=find_bundle("uwmgi_segformer_25d")).train["loss"]
    assert unext.written("train")["loss"]["ce_weight"] == other["bce_weight"] == 0.5


def test_of_a_new_data_set_the_manifest_tells_what_it_can(hearts):
    manifest, path = hearts
    recipe = recipe_of(manifest, path, "unet")
    assert (recipe.homes.data, recipe.homes.network.name) == (None, "cells_unet")
    train = recipe.train
    assert (train["manifest"], train["dataset_dir"]) == (path, "data/hearts")
    assert (train["channels"], train["label_mode"]) == (2, "exclusive")
    assert (train["spacing_mm"], train["roi_px"]) == (None, [256, 256])
    assert train["network_def"]["out_channels"] == 3
    assert not {"spacing_mm", "roi_px"} & recipe.demo.keys()


def test_the_usual_spacing_and_size_are_the_new_bundles(hearts):
    manifest, path = hearts
    usual = {"spacing_mm": (0.8, 0.9, 5.0), "size_px": [700, 160]}
    train = recipe_of(manifest.model_copy(update=usual), path, "unet").train
    assert train["spacing_mm"] == [0.8, 0.9, 5.0]
    assert train["roi_px"] == [160, 512]  # rows, columns; larger slices are seen by windows
    unknown = usual | {"spacing_known": False}
    train = recipe_of(manifest.model_copy(update=unknown), path, "unet").train
    assert (train["spacing_mm"], train["roi_px"]) == (None, [256, 256])


def test_of_a_new_network_the_template_tells_how_it_is_trained(hearts):
    train = recipe_of(*hearts, "mednext_s").train
    assert train["optimizer"]["lr"] == 0.0003
    assert train["loss"] == DICE_CE
    assert "weights" not in train["network_def"]
    supervised = recipe_of(*hearts, "dynunet")
    assert supervised.train["loss"] == {
        "_target_": "medseg.losses.deep_supervision",
        "loss": DICE_CE,
    }
    assert not [key for key in supervised.demo if key.startswith("network_def")]


def test_a_network_that_there_is_not():
    with pytest.raises(UsageError, match=r"unett: is no network .* did you mean unet\?") as caught:
        preset_called("unett")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="choose one of them"):
        preset_called("heart")
