"""``medseg sync`` on run folders whose store was away."""

import json

import pytest
from mlflow import MlflowClient

from medseg.cli import main
from medseg.engine.tracking import FALLBACK, Tracker, default_uri
from medseg.errors import PartialError, ResourceError, UsageError
from medseg.io.lock import locked
from medseg.stages.display import Silent
from medseg.stages.sync import sync_runs


def kept(output, name, monkeypatch):
    """Return a run folder of `output` that kept its run, as the store did not answer."""

    def away(*_args):
        raise OSError("no answer")

    folder = output / "experiment" / name
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps({"medseg": "0.1.0", "mlflow_run_id": None}))
    tracker = Tracker(
        default_uri(output),
        experiment="experiment",
        run_name=name,
        output=folder,
        params={"lr": 0.1},
        tags={},
    )
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "get_experiment_by_name", away)
        with tracker:
            tracker.log_metrics({"train/loss": 0.5}, step=1)
            tracker.log_artifact(folder / "provenance.json")
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def runs(output):
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name("experiment")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_the_command_sends_what_is_waiting_and_then_nothing(output, monkeypatch, capsys):
    one, two = (kept(output, name, monkeypatch) for name in ("one", "two"))
    assert main(["sync", "--output", str(output), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["synced"]
    assert [(row["run"], row["rows"]) for row in told] == [(str(one), 4), (str(two), 4)]
    found = runs(output)
    assert {row["mlflow_run_id"] for row in told} == {run.info.run_id for run in found.values()}
    for folder in (one, two):
        provenance = json.loads((folder / "provenance.json").read_text())
        run = found[folder.name]
        assert provenance == {"medseg": "0.1.0", "mlflow_run_id": run.info.run_id}
        assert run.data.metrics == {"train/loss": 0.5}
        assert run.info.status == "FINISHED"

    assert main(["sync", "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is waiting"
    assert len(runs(output)) == 2
    assert main(["sync", str(one), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"synced": []}


def test_only_the_runs_named_are_sent(output, monkeypatch, capsys):
    three, four = (kept(output, name, monkeypatch) for name in ("three", "four"))
    assert main(["sync", str(four), "--output", str(output)]) == 0
    run_id = runs(output)["four"].info.run_id
    assert f"{four}: 4 rows sent to run {run_id}" in capsys.readouterr().out.splitlines()
    assert "three" not in runs(output)
    assert [done.folder for done in sync_runs((three,), Silent(), output=output)] == [three]


def test_another_store_may_be_named(output, monkeypatch, tmp_path):
    folder = kept(output, "elsewhere", monkeypatch)
    (done,) = sync_runs((folder,), Silent(), output=output, uri=default_uri(tmp_path))
    assert set(runs(tmp_path)) == {"elsewhere"}
    assert runs(tmp_path)["elsewhere"].info.run_id == done.run_id
    assert "elsewhere" not in runs(output)


def test_a_store_that_is_still_away_keeps_everything_waiting(output, monkeypatch, capsys):
    folder = kept(output, "waits", monkeypatch)
    lines = (folder / FALLBACK).read_text()

    def away(*_args):
        raise OSError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "get_experiment_by_name", away)
        assert main(["sync", "--output", str(output)]) == 4
    assert "error[E-SYNC]" in capsys.readouterr().err
    assert (folder / FALLBACK).read_text() == lines
    assert sync_runs((), Silent(), output=output)[0].folder == folder


def test_one_run_that_cannot_be_sent_keeps_no_other_from_it(output, monkeypatch):
    bad, good = (kept(output, name, monkeypatch) for name in ("bad", "good"))
    create = MlflowClient.create_run

    def refuse(client, *args, run_name, **kwargs):
        if run_name == "bad":
            raise OSError("no room")
        return create(client, *args, run_name=run_name, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_run", refuse)
        with pytest.raises(PartialError, match=r"E-SYNC.*bad: MLflow failed: no room"):
            sync_runs((bad, good), Silent(), output=output)
        assert "good" in runs(output)
        with pytest.raises(ResourceError, match=r"E-SYNC.*bad"):
            sync_runs((bad, good), Silent(), output=output)


def test_a_run_that_is_worked_on_is_left_alone(output, monkeypatch):
    folder = kept(output, "at work", monkeypatch)
    lines = (folder / FALLBACK).read_text()
    with locked(folder), pytest.raises(ResourceError, match=r"E-LOCKED.*at work there since"):
        sync_runs((folder,), Silent(), output=output)
    assert (folder / FALLBACK).read_text() == lines
    assert sync_runs((folder,), Silent(), output=output)[0].folder == folder


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"E-RUN.*is no run folder"):
        sync_runs((tmp_path,), Silent(), output=tmp_path)


def test_a_folder_of_files_is_no_store(tmp_path):
    with pytest.raises(UsageError, match="E-TRACKING-URI"):
        sync_runs((), Silent(), output=tmp_path, uri=str(tmp_path))
