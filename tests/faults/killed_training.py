"""A tiny training that may be killed anywhere, for `kill_driver`: to begin, to do, to judge.

It computes in bfloat16, as fast machines do. What goes on reads no batch ahead, where what was
killed had read two.
"""

import hashlib
import json
import os
import sqlite3
from contextlib import closing

import torch

from medseg.data import SliceBatches
from medseg.data.phantom import write_phantom
from medseg.engine import device
from medseg.engine.checkpoint_files import fault_of
from medseg.engine.checkpoints import read_checkpoint
from medseg.engine.history import TrackingHandler
from medseg.engine.origin import tensors_hash
from medseg.errors import MedsegError
from medseg.runs import latest_run
from medseg.stages.begin import Request, begin, experiment_of
from medseg.stages.display import Silent
from medseg.stages.prepare import prepare
from medseg.stages.track import tracked
from medseg.stages.train import train

EPOCHS, STEPS = 6, 2
SETTINGS = {
    **{"roi_px": "[32, 32]", "spacing_mm": "[9.0, 9.0, 9.0]", "epochs": str(EPOCHS)},
    **{"epoch_length": str(STEPS), "batch_size": "2", "val_interval": "1", "ema_decay": "0.9"},
    **{"patience": "40", "network_def::_target_": "medseg.models.unext"},
}
TIMES = {"train/seconds", "train/slices_per_s"}
# The rows of a checkpoint tell times, too; and each command writes its own provenance into it.
TIMED = {"history", "provenance"}


def request(folder, *, resume):
    return Request(
        "uwmgi_unext",
        data=folder / "data",
        demo=True,
        stages=("prepare", "train"),
        settings=SETTINGS,
        resume=resume,
        device="cpu",
        output=folder / "work",
    )


def run_of(folder):
    return latest_run(experiment_of(request(folder, resume=True)), fold=0)


def begun(folder):
    """Prepare a run in FOLDER/work; what is loaded once is loaded then."""
    write_phantom(folder / "data", patients=3, days=2, tiny=True)
    (folder / "warm").mkdir()
    (folder / "warm" / "data").symlink_to(folder / "data")
    work(folder / "warm", resume=False)
    if os.fork() == 0:
        work(folder, resume=False, stages=(prepare,))
        os._exit(0)
    os.wait()


def work(folder, *, again=False, resume=True, stages=(prepare, train)):
    """Do what ``medseg run --stage prepare --stage train`` does."""
    device.amp_dtype = lambda _device: torch.bfloat16
    SliceBatches.__init__.__kwdefaults__["ahead"] = 0 if again else 2
    current = begin(request(folder, resume=resume), Silent())
    with tracked(current, None, output=folder / "work") as tracker:
        for stage in stages:
            stage(current, tracker, Silent())


def tell_each(tell):
    """Let the process tell of each epoch that is finished."""
    finish = TrackingHandler._finish

    def finished(self, trainer):
        tell()
        finish(self, trainer)

    TrackingHandler._finish = finished


def judged(folder, finished):
    """Return the files that are there and cannot be read, and how many epochs are lost."""
    run = run_of(folder)
    return {"unreadable": unreadable(run), "lost": finished - saved(run)}


def unreadable(run):
    """Return the files of a run and its store that are there and cannot be read."""
    bad = []
    for path in sorted(run.folder.rglob("*")):
        if path.name.startswith(".tmp-") or not path.is_file():
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".pt", ".safetensors"):
                read_checkpoint(path)
                bad += [f"{path.name} {fault_of(path)}"] if fault_of(path) else []
        except (ValueError, MedsegError) as fault:
            bad.append(f"{path.name}: {fault}")
    with closing(sqlite3.connect(run.folder.parents[1] / "mlflow.db")) as store:
        (state,) = store.execute("PRAGMA integrity_check").fetchone()
    return bad + ([] if state == "ok" else [f"mlflow.db: {state}"])


def outcome(folder):
    """Return what a finished training is compared by."""
    run = run_of(folder)
    rows = run.read("training.json")["epochs"]
    with closing(sqlite3.connect(run.folder.parents[1] / "mlflow.db")) as store:
        # Not by MLflow: it keeps a connection, which the next fork would have too.
        told = store.execute(
            "SELECT key, step, value FROM metrics WHERE key IN ('train/loss', 'val/dice/mean',"
            " 'train/lr') AND run_uuid = ? ORDER BY key, step",
            [run.read("provenance.json")["mlflow_run_id"]],
        ).fetchall()
        (runs,) = store.execute("SELECT count(*) FROM runs").fetchone()
    state = read_checkpoint(run.folder / "checkpoints" / "last.pt")
    compared = {key: value for key, value in state.items() if key not in TIMED}
    return {
        "state": digest(compared),
        "weights": tensors_hash(run.folder / "weights.safetensors"),
        "rows": [{k: v for k, v in row.items() if k not in TIMES} for row in rows],
        "mlflow": told,
        "runs": runs,
        "left over": sorted(p.name for p in run.folder.rglob(".tmp-*")),
    }


def digest(value):
    """Return a hash of tensors, numbers and texts, to the bit."""
    if isinstance(value, dict):
        parts = [f"{key}:{digest(each)}" for key, each in value.items()]
    elif isinstance(value, list | tuple):
        parts = map(digest, value)
    elif isinstance(value, torch.Tensor):
        parts = [str(value.dtype), value.numpy().tobytes().hex()]
    else:
        parts = [repr(value)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def saved(run):
    """Return how many epochs the newest checkpoint holds."""
    path = run.folder / "checkpoints" / "last.pt"
    return read_checkpoint(path)["iteration"] // STEPS if path.exists() else 0
