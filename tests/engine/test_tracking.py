"""Runs are read back from a real SQLite store with MLflow's own client."""

import contextlib
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient
from mlflow.telemetry import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled

from medseg.engine import tracking_store
from medseg.engine.settings import flatten
from medseg.engine.tracking import FALLBACK, Tracker, default_uri, require_store, source_tags
from medseg.errors import UsageError


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder with a space in its name, whose store is made once for all tests."""
    return tmp_path_factory.mktemp("my runs")


def tracker(output, **changes):
    experiment = changes.get("experiment", "uwmgi_segformer")
    given = {
        "uri": default_uri(output),
        "experiment": experiment,
        "run_name": "fold 0",
        "output": output / experiment / "run",
        "params": {"train": {"batch_size": 8}},
        "tags": {"medseg.version": "0.1.0"},
    }
    return Tracker(**given | changes)


def runs(output, name):
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name(name)
    return client.search_runs([experiment.experiment_id]) if experiment else []


def fallback_rows(tracked):
    return [json.loads(line) for line in (tracked.output / FALLBACK).read_text().splitlines()]


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        yield
        store.execute("ROLLBACK")


def test_a_run_is_read_back_whole(output, tmp_path):
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,loss\n1,0.5\n")
    with tracker(output, experiment="whole") as tracked:
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            tracked.log_metrics({"train/loss": loss, "val/dice/stomach": 0.1 * epoch}, step=epoch)
            tracked.flush()
        tracked.log_dataset("uwmgi", "d" * 64, profile={"scans": 3}, context="training")
        tracked.log_artifact(table, "tables")

    (run,) = runs(output, "whole")
    client = MlflowClient(default_uri(output))
    history = client.get_metric_history(run.info.run_id, "train/loss")
    (given,) = run.inputs.dataset_inputs
    assert run.info.run_id == tracked.run_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "fold 0"
    assert run.data.params == {"train.batch_size": "8"}
    assert run.data.tags["medseg.version"] == "0.1.0"
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.25)]
    assert (given.dataset.name, given.dataset.digest) == ("uwmgi", "d" * 36)
    assert json.loads(given.dataset.profile) == {"scans": 3}
    assert [(t.key, t.value) for t in given.tags] == [("mlflow.data.context", "training")]
    assert [f.path for f in client.list_artifacts(run.info.run_id, "tables")] == [
        "tables/metrics.csv"
    ]
    kind = client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"]
    assert kind == "custom_model_development"
    stored = output / "artifacts" / tracked.run_id / "artifacts" / "tables" / "metrics.csv"
    assert stored.read_text() == table.read_text()
    assert tracked.problem is None
    assert not (tracked.output / FALLBACK).exists()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(RuntimeError("no memory"), "FAILED", id="an error fails the run"),
        pytest.param(KeyboardInterrupt(), "KILLED", id="Ctrl-C kills the run"),
        pytest.param(SystemExit(143), "KILLED", id="a signal kills the run"),
    ],
)
def test_the_status_tells_how_a_run_ended(output, error, status):
    name = f"ends {status} by {type(error).__name__}"
    with pytest.raises(type(error)), tracker(output, experiment=name) as tracked:  # noqa: PT012
        tracked.log_metrics({"train/loss": 1.0}, step=1)
        raise error
    (run,) = runs(output, name)
    assert run.info.status == status
    assert run.data.metrics == {"train/loss": 1.0}


def test_a_run_is_resumed_by_its_id_alone(output):
    first = tracker(output, experiment="resumed", params={"epochs": 2, "lr": 0.1})
    first.__enter__()  # never ends, like a run whose process was killed
    with tracker(output, experiment="resumed") as other:
        pass
    again = tracker(
        output, experiment="resumed", params={"epochs": 4, "new": True}, run_id=first.run_id
    )
    with again:
        again.log_metrics({"train/loss": 0.5}, step=3)

    found = {run.info.run_id: run for run in runs(output, "resumed")}
    assert set(found) == {first.run_id, other.run_id}
    resumed = found[first.run_id]
    assert resumed.info.status == "FINISHED"
    assert resumed.data.params == {"epochs": "2", "lr": "0.1", "new": "true"}
    assert resumed.data.tags["resumed.epochs"] == "4"
    assert resumed.data.metrics == {"train/loss": 0.5}
    assert again.began_s == resumed.info.start_time / 1000 == pytest.approx(first.began_s)


def test_two_runs_may_begin_an_experiment_at_once(output, monkeypatch):
    with tracker(output, experiment="at once"):
        pass
    find, asked = MlflowClient.get_experiment_by_name, []

    def find_too_early(client, name):
        asked.append(name)
        return None if len(asked) == 1 else find(client, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", find_too_early)
    with tracker(output, experiment="at once") as second:
        pass
    assert second.problem is None
    assert len(runs(output, "at once")) == 2


def test_a_run_that_left_the_store_starts_anew_and_says_so(output, caplog):
    with (
        caplog.at_level(logging.WARNING, "medseg"),
        tracker(output, experiment="lost", run_id="0" * 32) as tracked,
    ):
        pass
    (run,) = runs(output, "lost")
    assert run.info.run_id == tracked.run_id != "0" * 32
    assert run.data.tags["resumed_from"] == "0" * 32
    assert "W-TRACKING-RUN" in caplog.text


def test_what_was_deleted_in_the_ui_comes_back_when_it_is_used_again(output):
    client = MlflowClient(default_uri(output))
    with tracker(output, experiment="deleted") as tracked:
        pass
    client.delete_run(tracked.run_id)
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    with tracker(output, experiment="deleted", run_id=tracked.run_id):
        pass
    assert [run.info.run_id for run in runs(output, "deleted")] == [tracked.run_id]


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("file:///data/mlruns", id="file uri"),
        pytest.param("file:mlruns", id="relative file uri"),
        pytest.param("runs/mlruns", id="plain folder"),
    ],
)
def test_a_folder_of_files_is_refused_and_the_sqlite_uri_named(tmp_path, uri):
    with pytest.raises(UsageError, match=r"E-TRACKING-URI.*use 'sqlite:////.*mlruns/mlflow\.db'"):
        tracker(tmp_path, uri=uri)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("sqlite:///mlflow.db", id="sqlite"),
        pytest.param("postgresql://host/db", id="database"),
        pytest.param("https://host", id="server"),
        pytest.param("databricks", id="databricks"),
    ],
)
def test_databases_and_servers_are_taken(uri):
    assert require_store(uri) is None


def test_a_missing_store_falls_back_to_a_file_with_one_warning(tmp_path, caplog):
    (tmp_path / "blocked").write_text("a file where the folder of the store should be")
    uri = default_uri(tmp_path / "blocked")
    with caplog.at_level(logging.INFO, "medseg"), tracker(tmp_path, uri=uri) as tracked:
        for epoch in (1, 2):
            tracked.log_metrics({"train/loss": 0.5}, step=epoch)
            tracked.flush()
        tracked.log_dataset("uwmgi", "abc", profile={}, context="training")
        tracked.log_artifact(tmp_path / "blocked")
    rows = fallback_rows(tracked)
    assert tracked.run_id is None
    assert [r for r in caplog.records if r.levelno == logging.WARNING] == caplog.records[:1]
    assert caplog.records[0].getMessage() == str(tracked.problem)
    assert "warning[W-TRACKING]" in str(tracked.problem)
    assert str(tmp_path) not in str(tracked.problem)
    assert [row["event"] for row in rows] == [
        *("run", "metrics", "metrics", "dataset", "artifact", "end")
    ]
    assert rows[0]["params"] == {"train.batch_size": "8"}
    assert [row[:2] + row[3:] for row in rows[2]["values"]] == [["train/loss", 0.5, 2]]
    assert rows[2]["values"][0][2] == pytest.approx(time.time() * 1000, abs=60_000)
    assert rows[-1]["status"] == "FINISHED"


def test_a_locked_store_catches_up_when_the_run_ends(output, monkeypatch):
    monkeypatch.setattr(tracking_store, "_LOCK_PATIENCE_S", 0.05)
    late = tracker(output, experiment="locked")
    with locked(output / "mlflow.db"):
        late.__enter__()
        late.log_metrics({"train/loss": 0.5}, step=1)
        late.flush()
    assert "locked" in str(late.problem)
    late.log_metrics({"train/loss": 0.25}, step=2)
    late.__exit__(None, None, None)
    (run,) = runs(output, "locked")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.batch_size": "8"}
    history = MlflowClient(default_uri(output)).get_metric_history(late.run_id, "train/loss")
    assert [m.step for m in history] == [1, 2]
    assert fallback_rows(late)[-1] == {"event": "sent", "rows": 4, "run_id": late.run_id}


def test_a_store_that_fails_midway_costs_one_warning(output, monkeypatch, caplog):
    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    with caplog.at_level(logging.WARNING, "medseg"), tracker(output, experiment="mid") as tracked:
        tracked.log_metrics({"train/loss": 0.5}, step=1)
        tracked.flush()
        monkeypatch.setattr(MlflowClient, "log_batch", fail)
        for epoch in (2, 3):
            tracked.log_metrics({"train/loss": 0.25}, step=epoch)
            tracked.flush()
    rows = fallback_rows(tracked)
    assert len(caplog.records) == 1
    assert "disk full" in str(tracked.problem)
    assert rows[0]["run_id"] == tracked.run_id
    assert [row["values"][0][3] for row in rows if row["event"] == "metrics"] == [2, 3]


def test_a_server_that_is_down_does_not_stop_a_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    caplog.set_level(logging.INFO, logger="medseg")
    with tracker(tmp_path, uri=f"http://ann:secret@127.0.0.1:{port}") as tracked:
        tracked.log_metrics({"train/loss": 0.5}, step=1)
    assert "secret" not in str(tracked.problem)
    assert [r["event"] for r in fallback_rows(tracked)] == ["run", "metrics", "end"]
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [str(tracked.problem)]
    assert "the store missed the rest" in caplog.text
    assert "secret" not in caplog.text


def test_a_missing_artifact_is_a_warning_and_the_store_goes_on(output, tmp_path, caplog):
    with (
        caplog.at_level(logging.WARNING, "medseg"),
        tracker(output, experiment="no file") as tracked,
    ):
        tracked.log_artifact(tmp_path / "overlay.png")
    assert "W-TRACKING-FILE" in caplog.text
    assert tracked.problem is None


def test_mlflow_does_not_call_home(output):
    with tracker(output, experiment="quiet"):
        assert is_telemetry_disabled()
        assert get_telemetry_client() is None


def test_importing_mlflow_after_medseg_leaves_no_installation_id(tmp_path):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_") and k != "CI"}
    code = "import medseg, mlflow; from mlflow.telemetry import get_telemetry_client as client; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(client())"],
        env=inherited | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"
    assert not list(tmp_path.rglob("telemetry.json"))


def test_nothing_is_printed(output, capfd):
    with tracker(output, experiment="quiet") as tracked:
        tracked.log_metrics({"train/loss": 0.5}, step=1)
    assert capfd.readouterr() == ("", "")


def test_settings_become_dotted_names():
    nested = {
        "lr": 3e-4,
        "train": {"amp": True, "handlers": [{"_target_": "A"}, {"_target_": "B"}], "none": {}},
        "val::x@y": None,
    }
    assert flatten(nested) == {
        "lr": "0.0003",
        "train.amp": "true",
        "train.handlers.0._target_": "A",
        "train.handlers.1._target_": "B",
        "train.none": "{}",
        "val::x_y": "null",
    }


def test_settings_hold_no_absolute_path(tmp_path):
    flat = flatten({"dataset_dir": tmp_path / "uwmgi", "seen": [str(tmp_path / "a"), 1]})
    assert flat == {"dataset_dir": "…/uwmgi", "seen": '["…/a", 1]'}


def test_a_long_setting_is_cut_and_ends_with_its_hash(output):
    long = {"organs": "x" * 6001}
    with tracker(output, experiment="long", params=long) as tracked:
        pass
    (run,) = runs(output, "long")
    assert tracked.problem is None
    assert len(run.data.params["organs"]) == 6000
    # printf 'x%.0s' {1..6001} | sha256sum
    assert run.data.params["organs"].endswith("x...sha256:e12d2a8f900180c3")
    assert flatten({"organs": "x" * 6000}) == {"organs": "x" * 6000}


def test_hundreds_of_settings_fit(output):
    with tracker(output, experiment="many", params={f"p{n}": n for n in range(250)}) as tracked:
        pass
    assert tracked.problem is None
    assert len(runs(output, "many")[0].data.params) == 250


def test_source_tags_name_command_and_commit():
    told = {
        "command": ["medseg", "run"],
        "medseg": "0.1.0",
        "git": {"commit": "c0ffee", "dirty": True},
    }
    assert source_tags(told) == {
        "mlflow.source.name": "medseg run",
        "mlflow.source.type": "LOCAL",
        "medseg.version": "0.1.0",
        "mlflow.source.git.commit": "c0ffee",
        "git.dirty": "true",
    }
    assert "git.dirty" not in source_tags(told | {"git": None})
