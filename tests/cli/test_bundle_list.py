"""``medseg bundle list`` tells the bundles that are shipped, with size and cost."""

import json

import pytest

from medseg import resources
from medseg.cli import main


@pytest.fixture
def bundles(tmp_path, monkeypatch):
    """Two bundles, one of which tells nothing of its network."""
    network = {"name": "U-Net", "parameters": 31036676, "gmacs": 60.88}
    metadata = {"name": "LGG, U-Net", "task": "Glioma in brain MR", "version": "1.2.0"}
    told = {"lgg_unet": metadata | {"network": network}, "uwmgi_segformer": {}}
    trained = {"manifest": "lgg", "label_mode": "overlapping", "roi_px": [256, 256]}
    for name, facts in told.items():
        configs = tmp_path / "bundles" / name / "configs"
        configs.mkdir(parents=True)
        (configs / "metadata.json").write_text(json.dumps(facts))
        (configs / "train.json").write_text(json.dumps(trained if facts else {}))
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medseg")
    return tmp_path / "bundles"


def test_a_line_each(bundles, capsys):
    assert main(["bundle", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bundle           data set  network  labels       parameters  GMACs  task",
        "lgg_unet         lgg       U-Net    overlapping      31.0 M   60.9  Glioma in brain MR",
        "uwmgi_segformer" + 43 * " " + "–      –",
    ]


def test_json_tells_everything(bundles, capsys):
    assert main(["bundle", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["bundles"]
    assert rows[0] == {
        "name": "lgg_unet",
        "dataset": "lgg",
        "network": "U-Net",
        "label_mode": "overlapping",
        "parameters": 31036676,
        "gmacs": 60.88,
        "window_px": [256, 256],
        "task": "Glioma in brain MR",
        "title": "LGG, U-Net",
        "version": "1.2.0",
        "folder": str(bundles / "lgg_unet"),
    }
    assert (rows[1]["parameters"], rows[1]["gmacs"], rows[1]["network"]) == (None, None, "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(None, "[E-BUNDLE]: lgg_unet: configs/metadata.json is missing", id="missing"),
        pytest.param("{", "[E-JSON]: lgg_unet/configs/metadata.json:1:2: expecting", id="broken"),
        pytest.param("[]", "[E-JSON]: lgg_unet/configs/metadata.json:1:1: holds no", id="a list"),
    ],
)
def test_metadata_that_cannot_be_read_is_a_usage_error(bundles, capsys, text, told):
    file = bundles / "lgg_unet" / "configs" / "metadata.json"
    file.unlink() if text is None else file.write_text(text)
    assert main(["bundle", "list"]) == 2
    assert capsys.readouterr().err.startswith(f"error{told}")


def test_no_bundles_is_an_empty_list(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medseg")
    assert main(["bundle", "list"]) == 0
    assert capsys.readouterr().out == ""
