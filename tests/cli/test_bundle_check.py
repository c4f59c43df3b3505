"""``medseg bundle check`` tells each check of a bundle, and ends with 2 when one failed."""

import json
import shutil

import pytest

from medseg import resources
from medseg.bundle import laws, specification
from medseg.cli import main

CHEAP = {
    "directory": specification.directory,
    "version": specification.versions,
    "preprocessing": laws.preprocessing,
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A bundle of the user's own, of a data set without a phantom; of the checks a few."""
    monkeypatch.setattr("medseg.stages.bundle_check.CHECKS", CHEAP)
    root = tmp_path / "hearts_unet"
    shutil.copytree(resources.shipped("bundles", "uwmgi_segformer"), root)
    file = root / "configs" / "train.json"
    file.write_text(file.read_text().replace('"manifest": "uwmgi"', '"manifest": "hearts"'))
    return root


def test_a_line_a_check_and_what_was_left_out(own, capsys):
    assert main(["bundle", "check", str(own)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "hearts_unet  ok        directory",
        "hearts_unet  ok        version",
        "hearts_unet  left out  preprocessing: "
        "there is no phantom of hearts, and no data was given",
        "1 bundle: 2 ok, 1 left out",
    ]


def test_a_failed_check_ends_with_2_and_quiet_tells_it_alone(own, capsys):
    (own / "LICENSE").unlink()
    assert main(["bundle", "check", str(own), "uwmgi_segformer", "-q"]) == 2
    assert capsys.readouterr().out == "hearts_unet  failed    directory: LICENSE is missing\n"


def test_json_tells_every_outcome(own, capsys):
    (own / "LICENSE").unlink()
    assert main(["bundle", "check", str(own), "--json"]) == 2
    (row,) = json.loads(capsys.readouterr().out)["bundles"]
    assert (row["name"], row["folder"]) == ("hearts_unet", str(own))
    assert row["checks"][0] == {
        "check": "directory",
        "state": "failed",
        "reason": "LICENSE is missing",
    }
    assert [each["state"] for each in row["checks"]] == ["failed", "ok", "left out"]


def test_all_that_are_shipped_are_checked_by_default(monkeypatch, capsys):
    monkeypatch.setattr("medseg.stages.bundle_check.CHECKS", {"keys": specification.keys})
    monkeypatch.setattr("medseg.stages.bundle_check.write_phantom", lambda *_, **__: None)
    assert main(["bundle", "check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == resources.names("bundles")


def test_a_folder_that_is_no_bundle(tmp_path, capsys):
    assert main(["bundle", "check", str(tmp_path)]) == 2
    assert "has no folder configs" in capsys.readouterr().err
