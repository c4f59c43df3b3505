"""Every bundle keeps MONAI's specification, and the bundles differ only where they mean to."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import load

import medseg
from medseg import models, resources
from medseg.bundle import Bundle, Opened, find_bundle
from medseg.bundle.checks import CHECKS, outcomes
from medseg.bundle.examined import Examined
from medseg.bundle.listing import described
from medseg.bundle.measuring import Measured
from medseg.bundle.recipe import preset_of, recipe_of
from medseg.bundle.writing import files_of, write_bundle
from medseg.data import read_manifest
from medseg.engine import cost_of
from medseg.engine.checkpoints import write_checkpoint
from medseg.stages.bundle_new import new_bundle

ROOT = Path(__file__).parents[2] / "bundles"
BUNDLES = resources.names("bundles")
each_bundle = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in BUNDLES])

PRESETS = [name for name in models.__all__ if name.islower()]

# Checks that read scans: all bundles of a data set are wired alike, so one of each stands for them.
SCANS = {"preprocessing", "train properties", "inference properties"}
READING = ["uwmgi_segformer_25d", "lgg_unext", "cells_unet"]
# Checks that take long: an export, and a process that imports MONAI.
LONG = {"TorchScript", "runs elsewhere"}
LONGEST = ["uwmgi_segformer_25d"]
# A second or more to count.
COSTLY = {"lgg_maskdino", "uwmgi_maskdino", "uwmgi_segformer", "uwmgi_segformer_25d"}


def states(name, folder, data, checks):
    """Return the state and the reason of each check, made with the demo's network."""
    examined = Examined(Bundle(ROOT / name), folder, data=data, demo=True)
    chosen = {check: function for check, function in CHECKS.items() if check in checks}
    return {outcome.check: outcome[1:] for outcome in outcomes(examined, chosen)}


@each_bundle
def test_it_stands_the_checks(name, tmp_path):
    found = states(name, tmp_path, None, CHECKS.keys() - LONG - SCANS)
    assert found.pop("weights") == ("left out", "there are no weights, models/model.pt")
    assert found == dict.fromkeys(found, ("ok", ""))


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in READING])
def test_it_stands_the_checks_that_read_scans(name, bundle_phantom, tmp_path):
    assert states(name, tmp_path, bundle_phantom(name), SCANS) == dict.fromkeys(SCANS, ("ok", ""))


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in LONGEST])
def test_monai_exports_it_and_runs_it_from_another_folder(name, bundle_phantom, tmp_path):
    assert states(name, tmp_path, bundle_phantom(name), LONG) == dict.fromkeys(LONG, ("ok", ""))
    assert "val_dice_mean" in (tmp_path / "out" / "metrics.csv").read_text()
    assert (tmp_path / "out" / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
@each_bundle
def test_it_stands_every_check(name, bundle_phantom, tmp_path):
    found = states(name, tmp_path, bundle_phantom(name), CHECKS)
    assert found.pop("weights")[0] == "left out"
    assert found == dict.fromkeys(found, ("ok", ""))


@each_bundle
def test_a_new_one_would_be_the_same(name):
    """So a change of the wiring, or of what is told of a network, reaches every bundle."""
    bundle = Bundle(ROOT / name)
    facts, train = bundle.metadata, bundle.written("train")
    network = {key: value for key, value in facts["network"].items() if key != "name"}
    manifest = read_manifest(train["manifest"])
    recipe = recipe_of(manifest, train["manifest"], preset_of(bundle), like=bundle)
    files = files_of(recipe, Measured(**network), name)
    again = json.loads(files.pop("configs/metadata.json"))
    # What it was made with, and its own history.
    own = [key for key in facts if key == "changelog" or "version" in key]
    assert again == facts | {key: again[key] for key in own}
    assert {path: (bundle.root / path).read_text("utf-8") for path in files} == files


@each_bundle
def test_the_size_is_as_listed(name):
    network = undrawn(find_bundle(name).config("train"))
    assert sum(each.numel() for each in network.parameters()) == described(name)["parameters"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, id=n, marks=[pytest.mark.slow] * (n in COSTLY)) for n in BUNDLES]
)
def test_the_cost_is_as_listed(name):
    config = find_bundle(name).config("train")
    channels, (height, width) = config["channels"] * config["neighbours"], config["roi_px"]
    cost = cost_of(undrawn(config), in_channels=channels, size_px=(height, width))
    assert round(cost.macs / 1e9, 2) == described(name)["gmacs"]


def undrawn(config):
    """Return the network of a configuration, of full size, without weights."""
    with torch.device("meta"):
        return Opened(config)["network_def"]


def a_preset_of_each_file():
    """Return the first preset of each module of networks; the others are sizes of the same."""
    return list({getattr(models, name).__module__: name for name in PRESETS[::-1]}.values())


@pytest.mark.parametrize("preset", [pytest.param(n, id=n) for n in a_preset_of_each_file()])
def test_a_new_one_of_any_network_keeps_the_laws(preset, tmp_path):
    manifest = read_manifest("lgg")
    files = files_of(recipe_of(manifest, "lgg", preset), Measured(1, 1.0, "scripted"), "own")
    write_bundle(tmp_path / "own", files)
    cheap = ("directory", "keys", "metadata", "overlays", "targets", "wiring", "channels")
    examined = Examined(Bundle(tmp_path / "own"), tmp_path)
    found = outcomes(examined, {check: CHECKS[check] for check in cheap})
    assert [outcome for outcome in found if outcome.state != "ok"] == []


@pytest.mark.slow
@pytest.mark.parametrize("preset", [pytest.param(name, id=name) for name in PRESETS])
def test_a_new_one_of_any_network_stands_the_checks(preset, tmp_path, tiny_phantom):
    made = new_bundle("uwmgi", preset, out=tmp_path / "own").bundle
    folder = tmp_path / "folder"
    folder.mkdir()
    checks = {name: check for name, check in CHECKS.items() if name != "runs elsewhere"}
    found = list(outcomes(Examined(made, folder, data=tiny_phantom, demo=True), checks))
    assert [(row.check, row.state) for row in found if row.state != "ok"] == [
        ("weights", "left out")
    ]


@each_bundle
def test_it_is_written_for_this_version(name):
    assert Bundle(ROOT / name).metadata["required_packages_version"]["medseg"] == medseg.__version__


@each_bundle
def test_configurations_stay_short(name):
    assert len((ROOT / name / "configs" / "train.json").read_text().splitlines()) <= 80


def test_monai_loads_what_lies_beside_a_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Bundle(ROOT / "uwmgi_segformer").written("inference")
    config["network_def"]["_target_"] = "medseg.models.segformer_b0"
    network = Opened(config)["network_def"]
    configs = tmp_path / "own" / "configs"
    configs.mkdir(parents=True)
    for name in ("metadata", "train", "inference"):
        text = (ROOT / "uwmgi_segformer" / "configs" / f"{name}.json").read_text()
        (configs / f"{name}.json").write_text(text.replace("segformer_b4", "segformer_b0"))
    write_checkpoint(tmp_path / "own" / "models" / "model.pt", network.state_dict())
    loaded = load(name="own", bundle_dir=str(tmp_path), source="local").state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in network.state_dict().items())


def test_a_path_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_bundle("uwmgi_segformer").root == ROOT / "uwmgi_segformer"
    own = tmp_path / "uwmgi_segformer" / "configs"
    own.mkdir(parents=True)
    (own / "metadata.json").write_text(json.dumps({"version": "9.9.9"}))
    assert find_bundle("uwmgi_segformer").metadata == {"version": "9.9.9"}
