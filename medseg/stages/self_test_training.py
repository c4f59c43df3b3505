"""Checks of the self-test: a training, one that is killed and goes on, its place in MLflow."""

import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from medseg.data import read_manifest, read_scans
from medseg.data.phantom import write_phantom
from medseg.engine.origin import WEIGHTS, tensors_hash
from medseg.engine.provenance import sha256_of
from medseg.engine.tracking_store import connected, default_uri
from medseg.runs import Run, latest_run
from medseg.stages.begin import begin, experiment_of
from medseg.stages.display import Silent
from medseg.stages.prepare import prepare
from medseg.stages.self_test_ground import (
    DAYS,
    EPOCHS,
    PATIENTS,
    STEPS,
    Ground,
    UnexpectedError,
    expect,
)
from medseg.stages.track import tracked
from medseg.stages.train import train
from medseg.stages.watch import epochs_of

WHOLE, KILLED = "whole", "killed"
_TIMES = ("train/seconds", "train/slices_per_s")
_LONGEST_S = 300


def phantom(ground: Ground) -> str:
    """Write scans, twice, and read them."""
    for folder in (ground.data, ground.folder / "again"):
        write_phantom(folder, patients=PATIENTS, days=DAYS, tiny=True)
    hashes, again = (_hashes(folder) for folder in (ground.data, ground.folder / "again"))
    expect(hashes == again, "the same seed wrote other files the second time")
    scans = read_scans(ground.data, read_manifest("uwmgi"))
    expect(len(scans) == PATIENTS * DAYS, f"{len(scans)} scans of {PATIENTS * DAYS} were read")
    return f"{len(scans)} scans in {len(hashes)} files, the same again"


def training(ground: Ground) -> str:
    """Train for some epochs."""
    run = trained(ground, WHOLE)
    rows = epochs_of(run)
    losses = [row["train/loss"] for row in rows]
    expect(len(rows) == EPOCHS, f"{len(rows)} epochs of {EPOCHS} are told of")
    expect(all(map(math.isfinite, losses)), f"losses are {losses}")
    expect((run.folder / WEIGHTS).exists(), "there are no weights")
    return f"{EPOCHS} epochs of {STEPS} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}"


def kill_and_resume(ground: Ground) -> str:
    """Kill a training with SIGKILL, go on with it, and compare its end with the other's."""
    died = subprocess.run(  # this Python, with arguments of our own
        [sys.executable, "-m", "medseg.stages.self_test_victim", str(ground.folder)],
        capture_output=True,
        timeout=_LONGEST_S,
        check=False,
    )
    said = died.stderr.decode(errors="replace").strip().splitlines()[-1:]
    expect(died.returncode == -signal.SIGKILL, f"it ended with {died.returncode}: {said}")
    before = epochs_of(run_of(ground, KILLED))
    expect(0 < len(before) < EPOCHS, f"it had done {len(before)} of {EPOCHS} epochs")
    run = trained(ground, KILLED, resume=True)
    # Times are those of whoever did the epoch; the last one may have to be done again.
    kept = before[:-1]
    expect(kept and epochs_of(run)[: len(kept)] == kept, "it did not go on, but began anew")
    whole = run_of(ground, WHOLE)
    ends = [tensors_hash(each.folder / WEIGHTS) for each in (run, whole)]
    expect(ends[0] == ends[1], f"weights are {ends[0][:12]}, without a kill {ends[1][:12]}")
    expect(_timeless(run) == _timeless(whole), "losses are not those of the other training")
    return f"killed after epoch {len(before)}, went on to the same weights, {ends[0][:12]}"


def store(ground: Ground) -> str:
    """Ask MLflow what it was told."""
    run = run_of(ground, KILLED)
    client = connected(default_uri(ground.folder / KILLED))
    kept = client.get_run(run.read("provenance.json")["mlflow_run_id"])
    state = kept.info.status
    expect(state == "FINISHED", f"the run is {state}")
    told = client.get_metric_history(kept.info.run_id, "train/loss")
    steps = sorted(each.step for each in told)
    values = [each.value for each in sorted(told, key=lambda each: each.step)]
    expect(len(set(steps)) == len(steps) == EPOCHS, f"epochs {steps} are there")
    losses = [row["train/loss"] for row in epochs_of(run)]
    expect(values == losses, f"losses are {values}, and were {losses}")
    return f"one run, {EPOCHS} epochs, each once"


def trained(ground: Ground, output: str, *, resume: bool = False) -> Run:
    """Prepare and train, or go on, as ``medseg run`` does; return the run."""
    run = begin(ground.request(output, resume=resume), Silent())
    with tracked(run, None, output=ground.folder / output) as tracker:
        prepare(run, tracker, Silent())
        train(run, tracker, Silent())
    return run


def run_of(ground: Ground, output: str) -> Run:
    """Return the run of a folder of runs."""
    run = latest_run(experiment_of(ground.request(output)), fold=0)
    if run is None:
        raise UnexpectedError(f"there is no run in {output}")
    return run


def _hashes(folder: Path) -> list[str]:
    return [sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def _timeless(run: Run) -> list[dict[str, Any]]:
    rows = epochs_of(run)
    return [{key: row[key] for key in row if key not in _TIMES} for row in rows]
