"""Data, models, runs and predictions in an object store give what they give on a disk."""

import csv
import json

import nibabel
import numpy as np
import pytest
import torch
from driven import rows_of
from monai.data import MetaTensor
from object_store import SECRET, forget
from random_bundle import SMALL, random_bundle

from medseg.cli import main
from medseg.data import Store
from medseg.geometry import Grid
from medseg.io.lock import LOCK
from medseg.io.nifti import write_image
from medseg.io.remote_work import working_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("bundles") / "own")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    voxels = np.random.default_rng(0).random((32, 32, 4), np.float32)
    for name in ("case1_day0", "case2_day0"):
        write_image(folder / f"{name}.nii.gz", voxels, Grid(voxels.shape, np.diag([2, 2, 3, 1])))
    return folder


def test_predictions_from_store_to_store_are_those_on_a_disk(
    s3, model, scans, tmp_path, capsys, monkeypatch
):
    s3.put(model, "models/own")
    s3.put(scans, "scans")
    inputs = [s3.address(f"scans/{path.name}") for path in sorted(scans.iterdir())]
    there = ["predict", s3.address("models/own"), *inputs, "-o", s3.address("out")]
    here = ["predict", str(model), *map(str, sorted(scans.iterdir())), "-o", str(tmp_path / "out")]
    assert main([*there, *SMALL]) == 0
    assert main([*here, *SMALL]) == 0
    got = s3.fill("out", tmp_path / "got")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {path.name for path in got.iterdir()} == names
    assert "case1_day0.nii.gz" in names
    for name in names:
        if not name.endswith(".json"):  # these tell times
            assert (got / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    assert nibabel.load(got / "case1_day0.nii.gz").shape == (32, 32, 4)

    forget()
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "elsewhere"))  # as another machine
    capsys.readouterr()
    assert main([*there, *SMALL]) == 0
    assert capsys.readouterr().out.count("(as before)") == 2
    rows = list(csv.DictReader(s3.read("out/studies.csv").decode().splitlines()))
    assert [row["status"] for row in rows] == ["ok", "ok"]


def test_secrets_are_told_nowhere(s3, model, scans, tmp_path, capfd, monkeypatch):
    s3.put(scans, "scans")
    scan = s3.address("scans/case1_day0.nii.gz")
    words = ["predict", str(model), scan, "-o", s3.address("out"), *SMALL, "-vv"]
    assert main(words) == 0
    assert main(["predict", str(model), f"s3://{SECRET}:{SECRET}@b/x", "-o", "out", "-vv"]) == 2
    s3.write(f"out/{LOCK}", b"{}")
    assert main(words) == 4
    forget()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert main([*words, "--json"]) == 4
    told = capfd.readouterr()
    assert "E-LOCKED" in told.err
    assert "does not answer" in told.out
    assert SECRET not in told.out + told.err
    left = s3.fill("out", tmp_path / "got") if not monkeypatch.undo() else None
    files = [path for folder in (left, tmp_path / "cache") for path in folder.rglob("*")]
    held = [path for path in files if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert held == []
    assert len(files) > 10


def test_code_of_a_model_in_a_store_is_not_run(s3, model, scans, tmp_path, capsys):
    s3.put(model, "models/own")
    config = json.loads((model / "configs" / "inference.json").read_text())
    config["network"] = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    s3.write("models/own/configs/inference.json", json.dumps(config).encode())
    scan = str(scans / "case1_day0.nii.gz")
    words = ["predict", s3.address("models/own"), scan, "-o", str(tmp_path / "out"), *SMALL]
    assert main(words) == 5
    assert "E-TRUST" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_what_one_machine_prepared_another_fetches(s3, scans, tmp_path, monkeypatch):
    item = {"scan_id": "case1_day0", "case_id": "case1", "image": scans / "case1_day0.nii.gz"}
    grid = Grid((4, 5, 6), np.eye(4))
    made = []

    def transform(scan):
        made.append(scan["scan_id"])
        image = MetaTensor(torch.ones(1, 4, 5, 6), affine=np.eye(4))
        return {**scan, "image": image, "native": grid}

    monkeypatch.setattr("medseg.data.store.describe", lambda _transform: "the same")
    one = Store(working_folder(s3.address("runs")) / "store").prepare([item], transform)
    names = [name.rpartition("/")[2] for name in s3.names("runs/store")]
    assert names == ["entry.json", "image.npy"]
    forget()
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "elsewhere"))
    two = Store(working_folder(s3.address("runs")) / "store").prepare([item], transform)
    assert made == ["case1_day0"]
    assert two[0].folder != one[0].folder
    assert np.array_equal(two[0].image, one[0].image)

    forget()  # what was sent in part, without its last file, is made again
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "third"))
    key = next(name for name in s3.names("runs/store") if name.endswith("entry.json"))
    s3.client.delete_object(Bucket=s3.bucket, Key=key)
    Store(working_folder(s3.address("runs")) / "store").prepare([item], transform)
    assert made == ["case1_day0"] * 2
    assert key in s3.names("runs/store")


def judged(folder, points):
    rows = rows_of("remote_kill_driver.py", folder, points)
    for row in rows:
        assert (row["code"], row["resumed"]) == (-9, 0), row
        assert row["differs"] == [], row
        assert row["locks"] == [], row
        assert not row["runs"] or (row["unreadable"] == [] and row["lost"] <= 1), row
    return rows


def test_a_killed_training_goes_on_where_there_is_nothing(tmp_path):
    (row,) = judged(tmp_path, "put last.pt#2")
    assert row["runs"] == 1
    assert row["finished"] >= 2


@pytest.mark.slow
def test_a_training_killed_before_anything_that_it_sends_goes_on(tmp_path):
    assert len(judged(tmp_path, "every")) > 15
