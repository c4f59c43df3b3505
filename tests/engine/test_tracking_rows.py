"""What a store missed is sent later, each thing once, whatever went wrong on the way."""

import json
import time

import pytest
from mlflow import MlflowClient

from medseg.engine.tracking import FALLBACK, Tracker, default_uri, pending, sync
from medseg.engine.tracking_store import found_uri, kept_uri


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder whose store is made once for all tests."""
    return tmp_path_factory.mktemp("runs")


def tracker(store, name, **changes):
    given = {
        "uri": default_uri(store),
        "experiment": name,
        "run_name": name,
        "output": store / name / "run",
        "params": {"lr": 0.1},
        "tags": {"medseg.network": "unet"},
    }
    return Tracker(**given | changes)


def runs(output, name):
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name(name)
    return client.search_runs([experiment.experiment_id]) if experiment else []


def history(output, run_id, key):
    client = MlflowClient(default_uri(output))
    return [(m.step, m.value) for m in client.get_metric_history(run_id, key)]


class Broken:
    """Makes calls of MLflow's client fail, before or after they were done."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def __call__(self, method, *, after=False, times=10**6):
        real, left = getattr(MlflowClient, method), [times]

        def call(client, *args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                return real(client, *args, **kwargs)
            if after:
                real(client, *args, **kwargs)
            raise OSError("the line is dead")

        self.monkeypatch.setattr(MlflowClient, method, call)

    def mend(self):
        self.monkeypatch.undo()


@pytest.fixture
def broken(monkeypatch):
    return Broken(monkeypatch)


def told(tracked, folder, text="a note"):
    """Tell a run one thing of each kind."""
    tracked.log_metrics({"train/loss": 0.5}, step=1)
    tracked.flush()
    tracked.log_metrics({"train/loss": 0.25, "val/dice/mean": float("nan")}, step=2)
    tracked.flush()
    tracked.log_dataset("uwmgi", "abc", profile={"scans": 3}, context="test")
    (folder / "notes").mkdir(parents=True, exist_ok=True)
    (folder / "notes" / "a.txt").write_text(text)
    tracked.log_artifact(folder / "notes", "notes")
    tracked.log_document("config.json", {"lr": 0.1})


def require_whole(output, name, run_id):
    """Assert that MLflow holds the run of `told` whole and once."""
    (run,) = runs(output, name)
    assert run.info.run_id == run_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["medseg.network"] == "unet"
    assert history(output, run_id, "train/loss") == [(1, 0.5), (2, 0.25)]
    assert len(history(output, run_id, "val/dice/mean")) == 1
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.tags[0].value) == ("uwmgi", "test")
    files = output / "artifacts" / run_id / "artifacts"
    assert (files / "notes" / "a.txt").read_text() == "a note"
    assert json.loads((files / "config.json").read_text()) == {"lr": 0.1}


def test_a_run_that_never_reached_its_store_is_sent_whole_with_its_own_times(output, broken):
    broken("get_experiment_by_name")
    before = time.time()
    with tracker(output, "absent") as tracked:
        told(tracked, tracked.output)
    after = time.time()
    assert tracked.run_id is None
    # Its settings, two batches of metrics, a data set, a folder, a document, its end.
    assert pending(tracked.output) == 7
    broken.mend()
    time.sleep(0.05)
    run_id = sync(tracked.output)
    require_whole(output, "absent", run_id)
    info = runs(output, "absent")[0].info
    assert before <= info.start_time / 1000 + 0.001 <= info.end_time / 1000 + 0.001 <= after + 0.002
    assert pending(tracked.output) == 0


@pytest.mark.parametrize(
    ("method", "after", "times"),
    [
        pytest.param("create_run", True, 1, id="the answer to the run's start is lost"),
        pytest.param("log_batch", True, 2, id="the answer to metrics is lost"),
        pytest.param("log_inputs", True, 1, id="the answer to a data set is lost"),
        pytest.param("log_artifacts", False, 1, id="a file does not go through"),
        pytest.param("set_terminated", True, 1, id="the answer to the end is lost"),
    ],
)
def test_a_broken_sync_goes_on_where_it_broke_and_sends_nothing_twice(
    output, broken, method, after, times
):
    name = f"{method} breaks"
    broken("get_experiment_by_name")
    with tracker(output, name) as tracked:
        told(tracked, tracked.output)
    broken.mend()
    broken(method, after=after, times=times)
    for _ in range(times):
        with pytest.raises(OSError, match="the line is dead"):
            sync(tracked.output)
    left = pending(tracked.output)
    assert 0 < left <= 7
    run_id = sync(tracked.output)
    require_whole(output, name, run_id)
    assert pending(tracked.output) == 0


def test_to_sync_again_adds_nothing(output, broken):
    broken("get_experiment_by_name")
    with tracker(output, "twice") as tracked:
        told(tracked, tracked.output)
    broken.mend()
    run_id = sync(tracked.output)
    lines = (tracked.output / FALLBACK).read_text()
    assert sync(tracked.output) == run_id
    assert (tracked.output / FALLBACK).read_text() == lines
    require_whole(output, "twice", run_id)


def test_what_arrived_before_the_fault_is_not_sent_again(output, broken):
    with tracker(output, "midway") as tracked:
        tracked.log_metrics({"train/loss": 0.5}, step=1)
        tracked.flush()
        broken("log_batch")
        tracked.log_metrics({"train/loss": 0.25, "val/dice/mean": float("nan")}, step=2)
        tracked.flush()
        rows = (tracked.output / FALLBACK).read_text().splitlines()
        assert [json.loads(row)["event"] for row in rows] == ["run", "metrics"]
        broken.mend()
    # The store was back when the run ended.
    assert pending(tracked.output) == 0
    assert history(output, tracked.run_id, "train/loss") == [(1, 0.5), (2, 0.25)]
    assert runs(output, "midway")[0].info.status == "FINISHED"


def test_a_resumed_run_first_sends_what_it_kept(output, broken):
    broken("get_experiment_by_name")
    with pytest.raises(RuntimeError, match="no memory"), tracker(output, "later") as first:  # noqa: PT012
        first.log_metrics({"train/loss": 0.5}, step=1)
        raise RuntimeError("no memory")
    broken.mend()
    with tracker(output, "later") as again:
        again.log_metrics({"train/loss": 0.25}, step=2)
    (run,) = runs(output, "later")
    assert run.info.run_id == again.run_id
    assert run.info.status == "FINISHED"
    assert history(output, again.run_id, "train/loss") == [(1, 0.5), (2, 0.25)]


def test_a_fold_takes_its_parent_along(output, broken):
    broken("get_experiment_by_name")
    parent = tracker(output, "above", run_name="folds")
    with parent:
        child = tracker(
            output, "above", run_name="fold0", output=output / "above" / "c", parent=parent.output
        )
        with child:
            pass
    broken.mend()
    below = sync(child.output)
    above = sync(parent.output)
    found = {run.info.run_id: run for run in runs(output, "above")}
    assert set(found) == {above, below}
    assert found[below].data.tags["mlflow.parentRunId"] == above
    assert found[above].data.tags.get("mlflow.parentRunId") is None


def test_a_file_that_left_before_it_could_be_sent_is_a_warning(output, broken, caplog):
    broken("get_experiment_by_name")
    with tracker(output, "gone") as tracked:
        told(tracked, tracked.output)
    (tracked.output / "notes" / "a.txt").unlink()
    (tracked.output / "notes").rmdir()
    broken.mend()
    sync(tracked.output)
    assert "W-TRACKING-FILE" in caplog.text
    assert runs(output, "gone")[0].info.status == "FINISHED"


def test_a_line_cut_short_is_left_for_later(output, broken):
    broken("get_experiment_by_name")
    with tracker(output, "cut") as tracked:
        pass
    broken.mend()
    with (tracked.output / FALLBACK).open("a") as file:
        file.write('{"event": "metr')
    assert pending(tracked.output) == 2
    assert sync(tracked.output) == runs(output, "cut")[0].info.run_id


def test_a_folder_that_kept_nothing_has_nothing_to_send(tmp_path):
    assert pending(tmp_path) == 0
    assert sync(tmp_path) is None


def test_the_kept_address_moves_with_its_folder_and_holds_no_login(tmp_path):
    run = tmp_path / "runs" / "experiment" / "run"
    uri = default_uri(tmp_path / "runs")
    assert kept_uri(uri, run) == "sqlite:///../../mlflow.db"
    assert found_uri("sqlite:///../../mlflow.db", run) == uri
    server = "https://ann:secret@example.org/mlflow"
    assert kept_uri(server, run) == "https://example.org/mlflow"
    assert found_uri("https://example.org/mlflow", run) == "https://example.org/mlflow"
