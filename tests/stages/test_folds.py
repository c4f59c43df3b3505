"""Every fold below one parent, in a store beside the data: what MLflow then holds, and what not."""

import csv
import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from mlflow import MlflowClient
from reported_run import Page

from medseg.cli import main
from medseg.data import read_manifest, read_scans
from medseg.engine.tracking import default_uri
from medseg.errors import UsageError
from medseg.report.scores import read_csv
from medseg.runs import Run, folds_of, latest_run
from medseg.scan import case_id_of
from medseg.stages import folds as stage
from medseg.stages.begin import Request
from medseg.stages.display import Silent
from medseg.stages.folds import run_folds
from medseg.stages.run import run

SHORT = {"roi_px": "[64, 64]", "epochs": "1", "epoch_length": "1", "batch_size": "4"}
SHORT |= {"val_interval": "1"}
EXPERIMENT = "uwmgi_segformer_demo"

# Of a store on this machine MLflow itself must know where the files lie.
PLACES = {
    *(("experiments", "artifact_location"), ("runs", "artifact_uri")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
}


def request(data, output, **changes):
    defaults = {"data": data, "demo": True, "output": output, "device": "cpu", "settings": SHORT}
    return Request("uwmgi_segformer", **(defaults | changes))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder whose name must not get out."""
    return tmp_path_factory.mktemp("SECRET_HOME")


@pytest.fixture(scope="module")
def data(tiny_phantom, home):
    """The phantom in a folder that is called after a patient."""
    return shutil.copytree(tiny_phantom, home / "DOE^JANE")


@pytest.fixture(scope="module")
def output(home):
    return home / "runs"


@pytest.fixture(scope="module")
def study(data, output):
    stages = ("prepare", "train", "predict", "evaluate")
    return run_folds(request(data, output, stages=stages), (), Silent())


@pytest.fixture(scope="module")
def tracked(study, output):
    """The runs in MLflow by the name of their folder, the parent's among them."""
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    found = {}
    for each in runs:
        kind, day, time = each.info.run_name.split("-")
        found[f"{day}-{time}-{kind}"] = each
    return found


def always(run):
    return {name for name in run.data.metrics if "_found/" not in name}


def test_every_patient_is_held_out_once(study, data):
    children = folds_of(study.folder)
    assert [child.config["fold"] for child in children] == [0, 1, 2]
    held_out = [{row.scan_id for row in read_csv(c.folder / "metrics.csv")} for c in children]
    everyone = {scan.scan_id for scan in read_scans(data, read_manifest("uwmgi"))}
    assert sorted(scan for scans in held_out for scan in scans) == sorted(everyone)
    assert {row.scan_id for row in read_csv(study.folder / "metrics.csv")} == everyone


def test_the_parents_scores_are_of_all_scans_together(study, tracked):
    with (study.folder / "metrics.csv").open() as file:
        dice = [float(row["dice"]) for row in csv.DictReader(file) if row["organ"] == "stomach"]
    found = tracked[study.name].data.metrics
    assert len(dice) == 6
    assert found["test/dice/stomach"] == pytest.approx(sum(dice) / 6)
    assert found["test/n/stomach"] == 6
    summary = json.loads((study.folder / "summary.json").read_text())
    assert summary["n_scans"] == 6


def test_the_parents_report_tells_of_all_patients(study, data, capsys):
    assert main(["report", str(study.folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(study.folder / "report.html")
    page = Page((study.folder / "report.html").read_text())
    assert page.faults == []
    assert "Held-out scans of 3 patients (6 scans)" in page.html
    slices = sum(len(s.slice_files) for s in read_scans(data, read_manifest("uwmgi")))
    assert " ".join(page.sections["setup"].split()).endswith(f"Slices test 3 6 {slices}")
    assert "Each fold was trained for itself" in page.sections["training"]
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    cases = {case_id_of(row.scan_id) for row in read_csv(study.folder / "metrics.csv")}
    assert sum(any(f"{case}_day" in alt for alt in alts) for case in cases) > 1
    counted = [run.read("calibration.json") for run in folds_of(study.folder)]
    voxels = sum(sum(each["organs"]["stomach"]["n"]) for each in counted)
    assert f"over {voxels:,} voxels".replace(",", " ") in page.sections["calibration"]


def test_the_folds_are_nested_below_the_parent_and_line_up(study, tracked):
    parent, children = (
        tracked[study.name],
        [tracked[child.name] for child in folds_of(study.folder)],
    )
    assert len(tracked) == 4
    assert parent.data.tags["medseg.fold"] == "all"
    assert "mlflow.parentRunId" not in parent.data.tags
    for number, child in enumerate(children):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["medseg.fold"] == child.data.params["fold"] == str(number)
        # A mean over the scans where an organ was found is not there when it was found in none.
        assert always(child) == always(children[0])
        assert child.data.metrics.keys() >= {"val/dice/stomach", "test/dice/stomach", "train/loss"}
        assert child.data.params.keys() == parent.data.params.keys()
    for each in (parent, *children):
        assert each.info.status == "FINISHED"
        assert each.data.tags["medseg.network"] == each.data.params["network"] == "segformer_b0"
        assert each.data.tags["medseg.dataset"] == each.data.params["dataset"] == "uwmgi"
        assert "system/cpu_utilization_percentage" in each.data.metrics


def test_the_sides_of_a_fold_are_its_inputs(study, tracked):
    used = {}
    for child in folds_of(study.folder):
        for given in tracked[child.name].inputs.dataset_inputs:
            assert given.dataset.name == "uwmgi"
            assert json.loads(given.dataset.profile)["scans"] == 2
            used.setdefault(given.tags[0].value, []).append(given.dataset.digest)
    assert set(used) == {"training", "validation", "test"}
    assert len(set(used["test"])) == 3
    # A patient who is held out in one fold validates another: the same content, the same digest.
    assert set(used["test"]) == set(used["validation"]) == set(used["training"])


def test_the_files_in_the_store_tell_no_place_and_no_patient(study, output):
    files = [file for file in (output / "artifacts").rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"config.json", "MLmodel", "best.pt", "metrics.csv"}
    for file in files:
        content = file.read_bytes()
        assert b"SECRET_HOME" not in content, file.name
        assert b"DOE^JANE" not in content, file.name


def test_the_database_tells_no_place_but_where_its_own_files_are(study, output):
    found = set()
    with closing(sqlite3.connect(output / "mlflow.db")) as store:
        tables = [
            row[0] for row in store.execute("select name from sqlite_master where type='table'")
        ]
        for table in tables:
            rows = store.execute(f"select * from {table}")
            names = [column[0] for column in rows.description]
            found |= {
                (table, name)
                for row in rows
                for name, value in zip(names, row, strict=True)
                if "SECRET_HOME" in str(value) or "DOE^JANE" in str(value)
            }
        text = "\n".join(store.iterdump())
    assert "runs" in tables
    assert found <= PLACES
    assert ("runs", "artifact_uri") in found
    assert "DOE^JANE" not in text


def test_the_portable_configuration_keeps_the_settings_and_the_folder_keeps_its_own(study, output):
    child = folds_of(study.folder)[0]
    run_id = child.read("provenance.json")["mlflow_run_id"]
    shown = json.loads((output / "artifacts" / run_id / "artifacts/config.json").read_text())
    assert shown["dataset_dir"] == "data"
    assert shown["split_file"] == "splits.json"
    places = {"bundle_root", "dataset_dir", "output_dir", "store_dir", "split_file"}
    assert {k: v for k, v in shown.items() if k not in places} == {
        k: v for k, v in child.config.items() if k not in places
    }
    assert "DOE^JANE" in child.config["dataset_dir"]


def test_runs_made_one_by_one_are_scored_together_afterwards(data, tmp_path):
    fast = {"stages": ("prepare", "train"), "settings": SHORT}
    for fold in (2, 0):
        run(request(data, tmp_path, fold=fold, **fast), Silent())
    both = run_folds(request(data, tmp_path, stages=("evaluate",)), (0, 2), Silent())
    assert len({row.scan_id for row in read_csv(both.folder / "metrics.csv")}) == 4
    assert [child.config["fold"] for child in folds_of(both.folder)] == [0, 2]


class Folders:
    """Stands in for the run of a fold: makes its folder, and fails where it is told to."""

    def __init__(self, fails=()):
        self.asked, self.fails = [], list(fails)

    def __call__(self, request, _display, *, parent):
        self.asked.append((request.fold, request.resume))
        made = Run(parent.folder.parent / f"{len(list(parent.folder.parent.iterdir()))}", {})
        made.folder.mkdir()
        made.write("config.json", {**parent.config, "fold": request.fold})
        made.write("provenance.json", {"parent": parent.name})
        made.write("splits.json", {})
        if request.fold in self.fails:
            raise RuntimeError("no memory")
        made.write("summary.json", {"n_scans": 2})
        return made


@pytest.fixture
def folders(monkeypatch, tmp_path):
    """Folds without training: five groups of patients."""
    stand_in = Folders()
    monkeypatch.setattr(stage, "run", stand_in)
    monkeypatch.setattr(
        stage, "read_splits", lambda _path: type("Five", (), {"groups": range(5)})()
    )
    monkeypatch.setattr(stage, "_score", lambda *_: None)
    monkeypatch.setattr(stage, "report", lambda *_, **__: None)
    return stand_in


def test_all_folds_are_as_many_as_there_are_groups(folders, data, tmp_path):
    run_folds(request(data, tmp_path), (), Silent())
    assert folders.asked == [(fold, False) for fold in range(5)]


def test_a_fold_named_twice_is_done_once_and_in_the_order_named(folders, data, tmp_path):
    run_folds(request(data, tmp_path), (3, 1, 3), Silent())
    assert folders.asked == [(3, False), (1, False)]


def test_a_fold_that_no_group_belongs_to_is_told_before_more_is_trained(folders, data, tmp_path):
    with pytest.raises(UsageError, match=r"E-FOLD.*fold 5 does not exist \(expected 0-4\)"):
        run_folds(request(data, tmp_path), (1, 2, 5), Silent())
    assert folders.asked == [(1, False)]


def test_a_fold_beyond_the_settings_is_told_at_once(folders, data, tmp_path):
    with pytest.raises(UsageError, match=r"E-FOLD.*fold 6 does not exist \(expected 0-5\)"):
        run_folds(request(data, tmp_path), (0, 6), Silent())
    assert folders.asked == []
    assert not (tmp_path / EXPERIMENT).exists()


def test_resume_leaves_finished_folds_alone_and_goes_on_with_the_one_that_broke(
    folders, data, tmp_path
):
    run_folds(request(data, tmp_path), (2, 3), Silent())  # an older study, of other folds too
    folders.asked.clear()
    folders.fails = [1]
    with pytest.raises(RuntimeError, match="no memory"):
        run_folds(request(data, tmp_path), (0, 1, 2), Silent())
    assert folders.asked == [(0, False), (1, False)]
    folders.asked.clear()
    folders.fails = []
    again = run_folds(request(data, tmp_path, resume=True), (0, 1, 2), Silent())
    assert folders.asked == [(1, True), (2, False)]
    assert latest_run(tmp_path / EXPERIMENT, fold=2).parent == again.name
    client = MlflowClient(default_uri(tmp_path))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert len(client.search_runs([experiment.experiment_id])) == 2
