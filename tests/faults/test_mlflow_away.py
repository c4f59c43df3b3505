"""MLflow's store is away while a training runs: it goes on, and what was missed arrives once."""

import subprocess
import sys
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient
from small_disk import small_disk
from smallest_training import run_in, trained

from medseg.cli import main
from medseg.engine import tracking_store
from medseg.engine.tracking import FALLBACK, Tracker, default_uri, pending
from medseg.stages.watch import keep

LOCK = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(output):
    """Let another process hold the database."""
    with Tracker(
        default_uri(output), experiment="e", run_name="r", output=output / "e", params={}, tags={}
    ):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, output / "mlflow.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"locked\n"
        yield
        holder.stdin.close()


@contextmanager
def read_only(output):
    """Let the store lie on a disk that nobody may write to."""
    with small_disk(output, mib=4) as disk:
        remount = ["mount", "-o", "remount,ro", str(disk.folder)]
        subprocess.run(remount, check=True)
        yield
        subprocess.run([*remount[:2], "remount,rw", remount[3]], check=True)


@contextmanager
def in_the_way(output):
    """Let a file lie where the folder of the store should be."""
    output.write_text("")
    yield
    output.unlink()


AWAY = {"locked by another process": locked, "read only": read_only, "no folder": in_the_way}


@pytest.mark.parametrize("away", [pytest.param(away, id=name) for name, away in AWAY.items()])
def test_a_training_goes_on_and_what_was_missed_arrives_once(
    away, tiny_phantom, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(tracking_store, "_LOCK_PATIENCE_S", 0.05)
    store, output = tmp_path / "store", tmp_path / "runs"
    with away(store):
        assert trained(tiny_phantom, output, epochs=3, uri=default_uri(store)) == 0
        require_one_warning(caplog)
        assert pending(run_in(output)) > 5
        assert main(["sync", "--output", str(output)]) == 4
        # Before the disk goes.
        uri = default_uri(tmp_path / "another" if away is read_only else store)
    for _ in range(2):
        assert main(["sync", "--output", str(output), "--tracking-uri", uri]) == 0
    require_whole(uri)
    assert pending(run_in(output)) == 0


def require_one_warning(caplog):
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in told if "W-TRACKING" in text]) == len(told) == 1, told


def require_whole(uri):
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("uwmgi_unext_demo").experiment_id])
    assert run.info.status == "FINISHED"
    for name in ("train/loss", "val/dice/mean"):
        told = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in told] == [1, 2, 3]
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"training.json", "provenance.json", "checkpoints", "splits.json"} <= names


def test_a_database_that_is_removed_while_a_training_runs_costs_no_epoch(
    tiny_phantom, tmp_path, monkeypatch, caplog
):
    store, output = tmp_path / "store", tmp_path / "runs"

    def kept(run, sizes, rows):
        keep(run, sizes, rows)
        if len(rows) == 2:
            (store / "mlflow.db").unlink()

    monkeypatch.setattr("medseg.stages.train.keep", kept)
    assert trained(tiny_phantom, output, epochs=3, uri=default_uri(store)) == 0
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "W-TRACKING" in told[0]
    assert (run_in(output) / FALLBACK).exists()
    # What it had told before is gone; what it kept goes into a run of its own, wherever that is.
    uri = default_uri(tmp_path)
    assert main(["sync", "--output", str(output), "--tracking-uri", uri]) == 0
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("uwmgi_unext_demo").experiment_id])
    told = client.get_metric_history(run.info.run_id, "train/loss")
    assert [metric.step for metric in told] == [3]
    assert run.info.status == "FINISHED"
