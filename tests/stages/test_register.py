"""The model that a run registers: loaded by MLflow, it predicts what ``medseg predict`` does."""

import json
import shutil
import zipfile
from importlib.metadata import version

import mlflow
import nibabel
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from random_bundle import random_bundle
from untrained_run import untrained_run

from medseg import runs
from medseg.data import read_manifest, read_scans
from medseg.engine.tracking import Tracker, default_uri
from medseg.errors import DataError, UsageError
from medseg.runs import inference_config
from medseg.stages.display import Silent
from medseg.stages.register import register
from medseg.stages.segment import Segmentation, segment
from medseg.transforms import ReadVolumed, grid_of

NAME = "uwmgi_segformer_demo"


def a_run(data, output, *, score, seed=0):
    run = untrained_run(data, output, score=score, seed=seed)
    run.write("ranges.json", {"scans": 4, "modality": "MR", "slices": [80, 144]})
    return run


def registered(run, output):
    tracker = Tracker(
        default_uri(output),
        experiment=run.experiment,
        run_name=run.name,
        output=run.folder,
        params={},
        tags={},
    )
    with tracker:
        register(run, tracker)
    assert tracker.problem is None
    return tracker


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("a private place")


@pytest.fixture(scope="module")
def run(tiny_phantom, output):
    made = a_run(tiny_phantom, output, score=0.25)
    made.write("run_id.json", registered(made, output).run_id)
    return made


@pytest.fixture(scope="module")
def folder(run, output):
    """The model's files in MLflow's store."""
    return output / "artifacts" / run.read("run_id.json") / "artifacts" / "model"


@pytest.fixture(scope="module")
def model(run, output):
    mlflow.set_tracking_uri(default_uri(output))
    yield mlflow.pyfunc.load_model(f"models:/{NAME}@best")
    mlflow.set_tracking_uri(None)  # else processes begun later inherit it


@pytest.fixture(scope="module")
def scan(tiny_phantom):
    return read_scans(tiny_phantom, read_manifest("uwmgi"))[0]


def test_it_predicts_what_the_command_predicts(model, run, scan, tmp_path):
    volume = ReadVolumed("image")({"image": scan})["image"]
    given = {"spacing_mm": list(scan.grid.spacing_mm)}
    masks = model.predict({"image": volume.numpy()[0]}, params=given)["masks"]
    settings = {"output_dir": str(tmp_path), "per_organ": True, "ranges": {}}
    folder = scan.slice_files[0].parent.parent
    segment(Segmentation(str(run.folder), settings, (folder,)), Silent())
    organs = read_manifest("uwmgi").labels.names
    assert model.metadata.metadata == {"organs": list(organs)}
    assert (masks.dtype, masks.shape) == (np.uint8, (3, *grid_of(volume).shape))
    for organ, mask in zip(organs, masks, strict=True):
        file = nibabel.load(tmp_path / f"{scan.scan_id}_{organ}.nii.gz")
        assert np.array_equal(mask, np.asarray(file.dataobj))
    assert masks.any()
    assert not masks.all()


@pytest.mark.parametrize("alias", [pytest.param("@best", id="alias"), pytest.param("/1", id="1")])
def test_the_command_takes_its_address(run, output, scan, tmp_path, alias):
    folder, store = scan.slice_files[0].parent.parent, default_uri(output)
    for name, model in (("own", str(run.folder)), ("registered", f"models:/{NAME}{alias}")):
        settings = {"output_dir": str(tmp_path / name), "ranges": {}, "device": "cpu"}
        segment(Segmentation(model, settings, (folder,), tracking_uri=store), Silent())
    own, registered = (tmp_path / name / f"{scan.scan_id}.nii.gz" for name in ("own", "registered"))
    assert own.read_bytes() == registered.read_bytes()


def test_a_model_without_medseg_s_files_is_refused(run, output, scan):
    address = f"runs:/{run.read('run_id.json')}/elsewhere"
    asked = Segmentation(address, {}, (scan.files[0],), tracking_uri=default_uri(output))
    with pytest.raises(UsageError, match=r"E-MODEL.*runs:/.*cannot be fetched|lacks"):
        segment(asked, Silent())


def test_a_run_of_another_major_version_is_refused(run, tmp_path):
    copy = tmp_path / "old"
    shutil.copytree(run.folder, copy)
    (copy / "provenance.json").write_text('{"medseg": "99.1.0"}')
    with pytest.raises(UsageError, match=r"E-MODEL.*made by medseg 99\.1\.0"):
        inference_config(copy, {})


def test_other_models_of_another_major_version_are_refused(tmp_path, monkeypatch):
    told = {"medseg": "99.1.0"}
    monkeypatch.setattr(runs, "_of_mlflow", lambda *_: {"origin": told})
    with pytest.raises(UsageError, match=r"E-MODEL\]: models:/any@best: was made by medseg 99"):
        inference_config("models:/any@best", {})
    monkeypatch.setattr(runs, "_origin", lambda *_: told)
    with pytest.raises(UsageError, match=r"E-MODEL\]: own: was made by medseg 99\.1\.0"):
        inference_config(random_bundle(tmp_path / "own"), {})


def test_a_volume_without_spacing_is_refused(model):
    with pytest.raises(DataError, match=r"E-SPACING.*0 x 0 x 0 mm.*params="):
        model.predict({"image": np.zeros((8, 8, 4), np.float32)})


def test_another_form_of_input_is_refused_by_the_signature(model):
    with pytest.raises(MlflowException, match="float32"):
        model.predict({"image": np.zeros((8, 8, 4))})


def test_the_signature_names_what_goes_in_and_out(model):
    told = model.metadata.signature.to_dict()
    (image,), (masks,) = json.loads(told["inputs"]), json.loads(told["outputs"])
    (spacing,) = json.loads(told["params"])
    assert (image["name"], image["tensor-spec"]) == (
        "image",
        {"dtype": "float32", "shape": [-1, -1, -1]},
    )
    assert (masks["name"], masks["tensor-spec"]) == (
        "masks",
        {"dtype": "uint8", "shape": [-1, -1, -1, -1]},
    )
    assert (spacing["name"], spacing["type"]) == ("spacing_mm", "double")


def test_it_knows_what_it_was_trained_on(run, folder):
    values = json.loads(next(folder.rglob("inference.json")).read_text())
    assert values["ranges"] == {"scans": 4, "modality": "MR", "slices": [80, 144]}
    assert inference_config(run.folder, {})["ranges"] == values["ranges"]


def test_nothing_in_it_is_pickled(folder):
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.name for file in files} - {"registered_model_meta"} == {
        *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"),
        *("tracking_pyfunc.py", "weights.safetensors", "inference.json", "manifest.yaml"),
    }
    for file in files:
        start = file.read_bytes()[:2]
        # Protocols 2 to 5 begin so; torch wraps its pickles in zip archives.
        assert start[:1] != b"\x80"
        assert not zipfile.is_zipfile(file)
        if file.suffix != ".safetensors":
            assert file.read_text(encoding="utf-8")


def test_it_holds_no_place_of_this_machine(folder, output):
    for file in folder.rglob("*"):
        if file.is_file():
            assert output.name.encode() not in file.read_bytes()
    code = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert code["model_code_path"] == "tracking_pyfunc.py"


def test_it_asks_for_the_versions_it_was_made_with(folder):
    rows = (folder / "requirements.txt").read_text().split()
    assert rows[0].startswith("medseg==")
    assert any(row.startswith("torch==") for row in rows)
    assert f"monai=={version('monai')}" in rows
    assert not [row for row in rows if "==" not in row or "+" in row]


def test_the_best_is_the_highest_validation_score_not_the_newest(run, tiny_phantom, output):
    client = MlflowClient(default_uri(output))
    first = client.get_model_version_by_alias(NAME, "best")
    assert first.run_id == run.read("run_id.json")
    assert first.tags["medseg.network"] == "segformer_b0"
    assert first.tags["medseg.score"] == "0.25"

    worse = registered(a_run(tiny_phantom, output, score=0.125), output)
    assert client.get_model_version_by_alias(NAME, "best").run_id == first.run_id
    unvalidated = registered(a_run(tiny_phantom, output, score=-1.0), output)
    assert client.get_model_version_by_alias(NAME, "best").run_id == first.run_id
    better = registered(a_run(tiny_phantom, output, score=0.5), output)
    assert client.get_model_version_by_alias(NAME, "best").run_id == better.run_id

    versions = client.search_model_versions(f"name = '{NAME}'")
    everyone = [first.run_id, worse.run_id, unvalidated.run_id, better.run_id]
    assert [v.run_id for v in sorted(versions, key=lambda v: int(v.version))] == everyone


def test_a_run_registered_twice_has_one_version(tiny_phantom, tmp_path):
    made = a_run(tiny_phantom, tmp_path, score=0.5)
    tracker = registered(made, tmp_path)
    with Tracker(
        default_uri(tmp_path),
        experiment=made.experiment,
        run_name=made.name,
        output=made.folder,
        params={},
        tags={},
        run_id=tracker.run_id,
    ) as again:
        register(made, again)
    client = MlflowClient(default_uri(tmp_path))
    (only,) = client.search_model_versions(f"name = '{NAME}'")
    assert only.run_id == tracker.run_id


def test_a_model_that_cannot_be_made_is_a_warning(tiny_phantom, tmp_path, caplog):
    made = a_run(tiny_phantom, tmp_path, score=0.5)
    (made.folder / "weights.safetensors").unlink()
    tracker = registered(made, tmp_path)
    assert "W-TRACKING-MODEL" in caplog.text
    client = MlflowClient(default_uri(tmp_path))
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert client.search_model_versions() == []
