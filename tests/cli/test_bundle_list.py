"""``medseg bundle list`` tells the bundles that are shipped."""

import json

import pytest

from medseg import resources
from medseg.cli import main


@pytest.fixture
def bundles(tmp_path, monkeypatch):
    """Two bundles, one of which has a title."""
    for name, metadata in {
        "lgg_unet": {"name": "Glioma in brain MR", "version": "1.2.0"},
        "uwmgi_segformer": {},
    }.items():
        configs = tmp_path / "bundles" / name / "configs"
        configs.mkdir(parents=True)
        (configs / "metadata.json").write_text(json.dumps(metadata))
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medseg")
    return tmp_path / "bundles"


def test_a_line_each(bundles, capsys):
    assert main(["bundle", "list"]) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "lgg_unet         Glioma in brain MR",
        "uwmgi_segformer",
    ]


def test_json_tells_version_and_folder(bundles, capsys):
    assert main(["bundle", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["bundles"]
    assert rows[0] == {
        "name": "lgg_unet",
        "title": "Glioma in brain MR",
        "version": "1.2.0",
        "folder": str(bundles / "lgg_unet"),
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="missing"),
        pytest.param("{", id="broken"),
    ],
)
def test_metadata_that_cannot_be_read_is_a_usage_error(bundles, capsys, text):
    file = bundles / "lgg_unet" / "configs" / "metadata.json"
    file.unlink() if text is None else file.write_text(text)
    assert main(["bundle", "list"]) == 2
    assert capsys.readouterr().err.startswith(f"error[E-METADATA]: {file}: cannot be read")


def test_no_bundles_is_an_empty_list(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medseg")
    assert main(["bundle", "list"]) == 0
    assert capsys.readouterr().out == ""
