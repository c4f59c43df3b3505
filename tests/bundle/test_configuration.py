"""Configurations: overlays, overrides by id, and what a run hands on to inference."""

import json

import pytest

from medseg.bundle import Opened, carried_over, differences, find_bundle
from medseg.bundle.trust import trusting
from medseg.errors import UsageError


@pytest.fixture
def bundle(tmp_path):
    configs = tmp_path / "toy" / "configs"
    configs.mkdir(parents=True)
    train = {"epochs": 3, "lr": 0.1, "train": {"loader": {"workers": 0}}, "double": "$@epochs * 2"}
    (configs / "train.json").write_text(json.dumps(train))
    (configs / "demo.json").write_text(json.dumps({"epochs": 1, "train::loader::workers": 2}))
    (configs / "metadata.json").write_text(json.dumps({"version": "1.0.0"}))
    with trusting():  # for its double
        return find_bundle(tmp_path / "toy")


def test_overlays_and_settings_are_laid_over_by_id(bundle):
    config = bundle.config("train", "demo", settings={"lr": "0.5", "train#loader#workers": "4"})
    assert (config["epochs"], config["lr"]) == (1, 0.5)
    assert config["train"] == {"loader": {"workers": 4}}
    assert config["bundle_root"] == str(bundle.root)


def test_an_opened_configuration_builds_what_is_asked_for(bundle):
    assert Opened(bundle.config("train"))["double"] == 6


def test_every_fault_of_the_settings_is_told_at_once(bundle):
    with pytest.raises(UsageError, match="E-SETTING") as caught:
        bundle.config("train", settings={"epochz": "3", "lr": "fast"})
    told = str(caught.value)
    assert "has no setting 'epochz'. Fix: did you mean epochs?" in told
    assert "lr is 'fast' (expected a number like 0.1)" in told


def test_a_reference_may_stand_for_a_number(bundle):
    assert bundle.config("train", settings={"lr": "$1 / 4"})["lr"] == "$1 / 4"


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        pytest.param("{", "json:1:2: expecting property name", id="cut off"),
        pytest.param("[]", "json:1:1: holds no object", id="a list"),
    ],
)
def test_metadata_that_cannot_be_read_is_a_usage_error(bundle, content, fact):
    (bundle.root / "configs" / "metadata.json").write_text(content)
    with pytest.raises(UsageError, match=rf"E-JSON.*{fact}"):
        _ = bundle.metadata


def test_a_missing_file_is_named(bundle):
    with pytest.raises(UsageError, match=r"toy: configs/inference\.json is missing"):
        bundle.config("inference")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"E-BUNDLE.*has no folder configs"):
        find_bundle(tmp_path)


def test_a_run_hands_its_values_on_to_inference():
    inference = {
        "roi_px": [288, 288],
        "batch_size": 8,
        "network_def": {"_target_": "b4", "in_channels": 1},
        "preprocessing": {"_target_": "chain"},
    }
    trained = {
        "roi_px": [96, 96],
        "batch_size": 2,
        "network_def": {"_target_": "b0", "in_channels": 1, "weights": "@weights"},
        "train": {},
    }
    assert carried_over(inference, trained) == {
        "roi_px": [96, 96],
        "batch_size": 8,
        "network_def": {"_target_": "b0", "in_channels": 1},
        "preprocessing": {"_target_": "chain"},
    }


def test_differences_are_told_shortly():
    before, now = {"epochs": 3, "same": 1}, {"epochs": 4, "same": 1, "names": ["x" * 80]}
    found = differences(before, now, ignore=set())
    assert found["epochs"] == ("3", "4")
    assert found["names"][0] == "null"
    assert len(found["names"][1]) == 60
    assert differences(before, now, ignore={"epochs", "names"}) == {}
