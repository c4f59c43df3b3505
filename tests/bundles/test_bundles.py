"""Every bundle keeps MONAI's specification, and the bundles differ only where they mean to."""

import json
from functools import cache
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
from medseg.bundle.recipe import preset_of, recipe_of
from medseg.bundle.telling import Measured
from medseg.bundle.writing import files_of, write_bundle
from medseg.data import read_manifest
from medseg.data.phantom import write_phantom
from medseg.engine import cost_of
from medseg.engine.checkpoints import write_checkpoint
from medseg.stages.bundle_new import new_bundle

ROOT = Path(__file__).parents[2] / "bundles"
BUNDLES = resources.names("bundles")
each_bundle = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in BUNDLES])

PRESETS = [name for name in models.__all__ if name.islower()]

# What takes long: an export, and three processes that import MONAI. A few bundles stand for all.
LONG = {"TorchScript", "runs elsewhere"}
FEW = ["uwmgi_segformer_25d", "lgg_maskdino"]


@pytest.fixture(scope="session")
def phantom(tiny_phantom, tmp_path_factory):
    """A function that gives a small phantom of a bundle's data set."""

    @cache
    def made(like):
        if like == "uwmgi":
            return tiny_phantom
        return write_phantom(tmp_path_factory.mktemp("phantom") / like, like=like, tiny=True)

    return lambda name: made(name.partition("_")[0])


def states(name, folder, data, checks):
    """Return the state and the reason of each check, made with the demo's network."""
    examined = Examined(Bundle(ROOT / name), folder, data=data, demo=True)
    chosen = {check: function for check, function in CHECKS.items() if check in checks}
    return {outcome.check: outcome[1:] for outcome in outcomes(examined, chosen)}


@each_bundle
def test_it_stands_every_check(name, phantom, tmp_path):
    found = states(name, tmp_path, phantom(name), CHECKS.keys() - LONG)
    assert found.pop("weights") == ("left out", "there are no weights, models/model.pt")
    assert found == dict.fromkeys(found, ("ok", ""))


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in FEW])
def test_monai_exports_it_and_runs_it_from_another_folder(name, phantom, tmp_path):
    assert states(name, tmp_path, phantom(name), LONG) == dict.fromkeys(LONG, ("ok", ""))
    assert "val_dice_mean" in (tmp_path / "out" / "metrics.csv").read_text()
    assert (tmp_path / "out" / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
@each_bundle
def test_monai_exports_and_runs_each(name, phantom, tmp_path):
    found = states(name, tmp_path, phantom(name), LONG)
    cannot = ("left out", "the metadata say that the network cannot be exported")
    assert {key: row for key, row in found.items() if row[0] != "ok" and row != cannot} == {}


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
def test_size_and_cost_are_as_listed(name):
    config = find_bundle(name).config("train")
    with torch.device("meta"):
        network = Opened(config)["network_def"]
    channels, (height, width) = config["channels"] * config["neighbours"], config["roi_px"]
    cost = cost_of(network, in_channels=channels, size_px=(height, width))
    listed = described(name)
    assert (listed["parameters"], listed["gmacs"]) == (cost.parameters, round(cost.macs / 1e9, 2))


@pytest.mark.parametrize("preset", [pytest.param(name, id=name) for name in PRESETS])
def test_a_new_one_of_any_network_keeps_the_laws(preset, tmp_path):
    manifest = read_manifest("lgg")
    files = files_of(recipe_of(manifest, "lgg", preset), Measured(1, 1.0, "scripted"), "own")
    write_bundle(tmp_path / "own", files)
    cheap = ("directory", "keys", "metadata", "overlays", "targets", "wiring", "channels")
    examined = Examined(Bundle(tmp_path / "own"), tmp_path)
    found = outcomes(examined, {check: CHECKS[check] for check in (*cheap, "agreement")})
    assert [outcome for outcome in found if outcome.state != "ok"] == []


@pytest.mark.slow
@pytest.mark.parametrize("preset", [pytest.param(name, id=name) for name in PRESETS])
def test_a_new_one_of_any_network_stands_every_check(preset, tmp_path, tiny_phantom):
    made = new_bundle("uwmgi", preset, out=tmp_path / "own").bundle
    folder = tmp_path / "folder"
    folder.mkdir()
    found = outcomes(Examined(made, folder, data=tiny_phantom, demo=True))
    assert [
        outcome for outcome in found if outcome.state != "ok" and outcome.check != "weights"
    ] == []


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
