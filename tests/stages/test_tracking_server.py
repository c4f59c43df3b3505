"""A real MLflow server that goes away and comes back: a training goes on, and nothing is lost."""

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from medseg.cli import main
from medseg.engine.tracking import Tracker, pending, sync

PATIENCE_S = 120


class Server:
    """MLflow's server with a database and files of its own, on one port for good."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self.port = trial.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        words = [
            *("server", "--workers", "1", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", f"sqlite:///{self.folder}/server.db"),
            *("--serve-artifacts", "--artifacts-destination", str(self.folder / "files")),
        ]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **quiet},
            cwd=self.folder,
            start_new_session=True,
        )
        until = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.2)

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.kill()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """One attempt a call: what is not there does not come while it is waited for."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def tracker(server, folder, **changes):
    given = {
        "uri": server.uri,
        "experiment": "remote",
        "run_name": folder.name,
        "output": folder,
        "params": {"lr": 0.1},
        "tags": {"medseg.network": "unet"},
    }
    return Tracker(**given | changes)


def epoch(tracked, number):
    tracked.log_metrics({"train/loss": 1 / number, "val/dice/stomach": number / 8}, step=number)
    tracked.flush()


def steps(server, run_id):
    metrics = MlflowClient(server.uri).get_metric_history(run_id, "train/loss")
    return [(metric.step, metric.value) for metric in metrics]


def names(server, run_id, folder=None):
    return {file.path for file in MlflowClient(server.uri).list_artifacts(run_id, folder)}


def test_a_run_is_tracked_by_a_server(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "swordfish")
    (tmp_path / "metrics.csv").write_text("epoch,loss\n")
    with tracker(server, tmp_path) as tracked:
        epoch(tracked, 1)
        tracked.log_dataset("uwmgi", "abc", profile={"scans": 3}, context="training")
        tracked.log_artifact(tmp_path / "metrics.csv")
        tracked.log_document("config.json", {"lr": 0.1})
    run = MlflowClient(server.uri).get_run(tracked.run_id)
    assert tracked.problem is None
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.1"}
    assert run.data.metrics["val/dice/stomach"] == 0.125
    assert names(server, tracked.run_id) == {"metrics.csv", "config.json"}
    assert run.inputs.dataset_inputs[0].dataset.name == "uwmgi"
    kept = [file.read_bytes() for file in server.folder.rglob("*") if file.is_file()]
    assert not [content for content in kept if b"swordfish" in content]


def dies_under(server, tracked):
    """Track a run whose server is killed after its first epoch."""
    tracked.__enter__()
    epoch(tracked, 1)
    server.kill()
    epoch(tracked, 2)
    tracked.log_dataset("uwmgi", "def", profile={"scans": 3}, context="test")
    (tracked.output / "overlays").mkdir()
    (tracked.output / "overlays" / "a.png").write_bytes(b"picture")
    tracked.log_artifact(tracked.output / "overlays", "overlays")
    epoch(tracked, 4)
    tracked.__exit__(None, None, None)


def test_a_server_that_dies_and_comes_back_gets_everything_once(server, tmp_path, caplog):
    """Three runs: one begun before the server died, a parent and its fold begun after."""
    midway = tracker(server, tmp_path / "midway")
    dies_under(server, midway)
    assert len([record for record in caplog.records if "W-TRACKING" in record.getMessage()]) == 1
    assert str(server.port) in caplog.text
    began_s = time.time()
    with tracker(server, tmp_path / "folds") as parent:
        fold = tracker(server, tmp_path / "fold0", parent=parent.output)
        with pytest.raises(RuntimeError, match="no memory"), fold:  # noqa: PT012
            epoch(fold, 1)
            raise RuntimeError("no memory")
    folders = [tmp_path / name for name in ("midway", "folds", "fold0")]
    # Two epochs, a data set, a folder; the settings and the end, which all three have.
    assert [pending(folder) for folder in folders] == [6, 2, 3]
    with pytest.raises(Exception, match=r"Max retries|Connection refused"):
        sync(folders[0])
    time.sleep(1.1)

    server.start()
    sent = [sync(folder) for folder in folders]
    assert [sync(folder) for folder in folders] == sent
    assert [pending(folder) for folder in folders] == [0, 0, 0]
    require_midway(server, midway.run_id)
    client = MlflowClient(server.uri)
    one, above, below = (client.get_run(run_id) for run_id in sent)
    assert one.info.run_id == midway.run_id
    assert above.info.status == "FINISHED"
    assert above.info.start_time / 1000 == pytest.approx(began_s, abs=0.5)
    assert below.info.status == "FAILED"
    assert below.data.tags["mlflow.parentRunId"] == above.info.run_id
    assert steps(server, below.info.run_id) == [(1, 1.0)]
    every = client.search_runs([one.info.experiment_id], max_results=100)
    assert len([run for run in every if run.info.run_name in {"midway", "folds", "fold0"}]) == 3


def require_midway(server, run_id):
    """Assert that the server has everything of `dies_under`, once."""
    run = MlflowClient(server.uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert steps(server, run_id) == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert [given.dataset.digest for given in run.inputs.dataset_inputs] == ["def"]
    assert names(server, run_id, "overlays") == {"overlays/a.png"}


def test_the_command_tracks_by_a_server_and_tells_it_no_place(
    server, tiny_phantom, tmp_path, monkeypatch
):
    """Folders, machine and user have names that must not get out, the data that of a patient."""
    monkeypatch.setattr(socket, "gethostname", lambda: "SECRET_HOST")
    monkeypatch.setattr(platform, "node", lambda: "SECRET_HOST")
    monkeypatch.setenv("LOGNAME", "SECRET_USER")
    home = tmp_path / "SECRET_HOME_x"
    shutil.copytree(tiny_phantom, home / "DOE^JANE")
    words = ["run", "uwmgi_segformer", "--demo", "--device", "cpu", "-q"]
    words += ["--data", str(home / "DOE^JANE"), "--output", str(home / "runs")]
    words += ["--tracking-uri", server.uri]
    settings = ("roi_px=[64, 64]", "epochs=1", "epoch_length=1", "batch_size=4")
    assert main([*words, *(word for each in settings for word in ("--set", each))]) == 0
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("uwmgi_segformer_demo")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert names(server, run.info.run_id) >= {"config.json", "metrics.csv", "model", "checkpoints"}
    (version,) = client.search_model_versions("name = 'uwmgi_segformer_demo'")
    assert version.run_id == run.info.run_id

    files = [file for file in (server.folder / "files").rglob("*") if file.is_file()]
    assert any(file.name == "weights.safetensors" for file in files)
    private = ("SECRET_", "DOE^JANE", f"{Path.home()}/", str(tmp_path))
    for file in [*files, server.folder / "server.db"]:
        content = file.read_bytes()
        assert [word for word in private if word.encode() in content] == [], file.name
