"""Kill a tiny training wherever it writes, go on with it, and judge what was left: a script.

    python tests/faults/kill_driver.py FOLDER POINTS [--out FILE]

POINTS are words of `WritePoints`, separated by commas: ``replace last.pt#2`` kills at the second
such call, and with ``full`` before it the disk is full there. ``every`` kills at every point in
turn, ``random:N`` at N random moments, and ``points`` tells what there is. Everything is imported
once; each training is a fork that dies alone. A JSON line a trial goes to the standard output:
``unreadable`` files, finished epochs ``lost``, what ``differs`` at the end from a training that
nobody killed. --out keeps the counts beside those of other ways to be killed.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import torch
from write_points import WritePoints

from medseg.data.phantom import write_phantom
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


def work(folder, *, resume=True, stages=(prepare, train)):
    """Do what ``medseg run --stage prepare --stage train`` does."""
    current = begin(request(folder, resume=resume), Silent())
    with tracked(current, None, output=folder / "work") as tracker:
        for stage in stages:
            stage(current, tracker, Silent())


def forked(folder, points, *, kill_after_s=None):
    """Train in a fork; return how it ended, the points it passed, and the epochs it finished."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        code = 70
        try:
            code = _child(folder, points, tell)
        finally:
            os._exit(code)
    os.close(tell)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(told) as stream:
        lines = stream.read().splitlines()
    _, status = os.waitpid(child, 0)
    passed = next((json.loads(line) for line in lines if line.startswith("[")), [])
    return os.waitstatus_to_exitcode(status), passed, lines.count("epoch")


def _child(folder, points, tell):
    finish = TrackingHandler._finish

    def finished(self, trainer):
        os.write(tell, b"epoch\n")
        finish(self, trainer)

    TrackingHandler._finish = finished
    points.install()
    try:
        work(folder)
    except MedsegError as error:
        return error.exit_code
    os.write(tell, json.dumps(points.passed).encode() + b"\n")
    return 0


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


def outcome(run):
    """Return what a finished training is compared by."""
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


def trial(folder, expected, points, *, kill_after_s=None, label=""):
    """Begin anew, kill, judge, go on, and judge again."""
    shutil.rmtree(folder / "work")
    shutil.copytree(folder / "base", folder / "work")
    code, _, finished = forked(folder, points, kill_after_s=kill_after_s)
    run = run_of(folder)
    row = {"point": label, "code": code, "finished": finished, "unreadable": unreadable(run)}
    row |= {"lost": finished - saved(run)}
    code, _, _ = forked(folder, WritePoints())
    row["resumed"] = code
    found = outcome(run) if code == 0 else {}
    row["differs"] = [key for key, value in expected.items() if found.get(key) != value]
    return row


def begun(folder):
    """Prepare a run once; return the points of a training that nobody kills, its end and its time.

    The first run, elsewhere, loads what is loaded once: a fork begins with that.
    """
    write_phantom(folder / "data", patients=3, days=2, tiny=True)
    (folder / "warm").mkdir()
    (folder / "warm" / "data").symlink_to(folder / "data")
    work(folder / "warm", resume=False)
    if os.fork() == 0:
        work(folder, resume=False, stages=(prepare,))
        os._exit(0)
    os.wait()
    shutil.copytree(folder / "work", folder / "base")
    began_s = time.monotonic()
    code, passed, _ = forked(folder, WritePoints())
    if code:
        sys.exit(f"the training that nobody killed ended with {code}")
    seconds = time.monotonic() - began_s
    return passed, outcome(run_of(folder)), seconds


def trials(wanted, passed, seconds):
    """Yield the trials that are asked for: points, kill time, and what they are called."""
    kind, _, count = wanted.partition(":")
    if kind == "random":
        draw = random.Random(0)
        for _ in range(int(count)):
            after_s = draw.uniform(0, seconds)
            yield WritePoints(), after_s, f"after {after_s:.2f} s"
        return
    if kind == "every":
        wanted = ",".join(map(str, range(1, len(passed) + 1)))
    for word in wanted.split(","):
        full = word.startswith("full ")
        name, _, nth = word.removeprefix("full ").partition("#")
        places = [n + 1 for n, label in enumerate(passed) if label == name]
        number = int(name) if name.isdigit() else places[int(nth or 1) - 1]
        key = "full_at" if full else "kill_at"
        yield WritePoints(**{key: number}), None, word


def counted(rows, seconds):
    """Return the figures of many trials."""
    return {
        "trials": len(rows),
        "killed": sum(row["code"] == -signal.SIGKILL for row in rows),
        "unreadable": sum(bool(row["unreadable"]) for row in rows),
        "most finished epochs lost": max(row["lost"] for row in rows),
        "resumed to the same end": sum(not row["differs"] for row in rows),
        "seconds of a training": round(seconds, 2),
    }


def keep(out, name, figures):
    """Write figures into a JSON file, beside those of other names."""
    told = json.loads(out.read_text()) if out.exists() else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told | {name: figures}, indent=1) + "\n")


def tell(content):
    """Write a line at once: whoever reads may wait for it."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main(folder, wanted, out=None):
    passed, expected, seconds = begun(folder)
    if wanted == "points":
        tell(passed)
        return
    rows = []
    for points, after_s, label in trials(wanted, passed, seconds):
        rows.append(trial(folder, expected, points, kill_after_s=after_s, label=label))
        tell(rows[-1])
    if out:
        keep(out, f"medseg training, {wanted.partition(':')[0]}", counted(rows, seconds))


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("points")
    asked.add_argument("--out", type=Path)
    told = asked.parse_args()
    main(told.folder.resolve(), told.points, told.out)
