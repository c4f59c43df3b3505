"""Every bundle keeps MONAI's specification, and the bundles differ only where they mean to."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import load

import medseg
from medseg import resources
from medseg.bundle import Bundle, Opened, find_bundle
from medseg.bundle.checks import CHECKS, outcomes
from medseg.bundle.examined import Examined
from medseg.engine.checkpoints import write_checkpoint

ROOT = Path(__file__).parents[2] / "bundles"
BUNDLES = resources.names("bundles")
each_bundle = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in BUNDLES])

# What takes long: an export, and three processes that import MONAI. A few bundles stand for all.
LONG = {"TorchScript", "runs elsewhere"}
FEW = ["uwmgi_segformer_25d"]


def states(name, folder, data, checks):
    """Return the state and the reason of each check, made with the demo's network."""
    examined = Examined(Bundle(ROOT / name), folder, data=data, demo=True)
    chosen = {check: function for check, function in CHECKS.items() if check in checks}
    return {outcome.check: outcome[1:] for outcome in outcomes(examined, chosen)}


@each_bundle
def test_it_stands_every_check(name, tiny_phantom, tmp_path):
    found = states(name, tmp_path, tiny_phantom, CHECKS.keys() - LONG)
    assert found.pop("weights") == ("left out", "there are no weights, models/model.pt")
    assert found == dict.fromkeys(found, ("ok", ""))


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in FEW])
def test_monai_exports_it_and_runs_it_from_another_folder(name, tiny_phantom, tmp_path):
    assert {state for state, _ in states(name, tmp_path, tiny_phantom, LONG).values()} == {"ok"}
    assert "val_dice_mean" in (tmp_path / "out" / "metrics.csv").read_text()
    assert len(list((tmp_path / "out").glob("case*_day?*.nii.gz"))) >= 6


@pytest.mark.slow
@each_bundle
def test_monai_exports_and_runs_each(name, tiny_phantom, tmp_path):
    found = states(name, tmp_path, tiny_phantom, LONG)
    cannot = ("left out", "the metadata say that the network cannot be exported")
    assert {key: row for key, row in found.items() if row[0] != "ok" and row != cannot} == {}


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
