"""Kill ways to write checkpoints at random moments, and judge what is left: a script.

    python tests/faults/peer_driver.py FOLDER TRIALS [--out FILE]

Each way trains the same toy network in ignite's engine and writes the same state of some
megabytes after each epoch of one step, so that most of the time something is being written: by
medseg, by ignite's ModelCheckpoint as it is by default, the same without its atomic option, and by
torch.save alone.
"""

import argparse
import os
import random
import shutil
import signal
import time
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers import ModelCheckpoint
from kill_driver import keep
from torch import nn

from medseg.engine.checkpoint_files import LAST, PREVIOUS, fault_of
from medseg.engine.checkpoints import TrainingCheckpoints, read_checkpoint
from medseg.errors import UnsafeError

EPOCHS = 12
WIDTH = 1000


class Order:
    """A sampler for the checkpoints of medseg; nothing is drawn."""

    def start_at(self, epoch, number):
        """Begin anywhere."""


class Counter:
    """What ignite's checkpoints keep beside the network, so that it can be told how old it is."""

    def __init__(self, engine):
        self.engine = engine

    def state_dict(self):
        return {"epoch": self.engine.state.epoch}


def with_medseg(engine, network, folder):
    TrainingCheckpoints(folder, {"network": network}, sampler=Order()).attach(engine)


def with_ignite(engine, network, folder, *, atomic=True):
    handler = ModelCheckpoint(
        folder, n_saved=2, require_empty=False, atomic=atomic, global_step_transform=_epoch
    )
    parts = {"network": network, "counter": Counter(engine)}
    engine.add_event_handler(Events.EPOCH_COMPLETED, handler, parts)


def with_ignite_not_atomic(engine, network, folder):
    with_ignite(engine, network, folder, atomic=False)


def with_torch_save(engine, network, folder):
    @engine.on(Events.EPOCH_COMPLETED)
    def _save():
        state = {"network": network.state_dict(), "counter": {"epoch": engine.state.epoch}}
        torch.save(state, folder / "last.pt")


WAYS = {
    "medseg": with_medseg,
    "ignite ModelCheckpoint": with_ignite,
    "ignite ModelCheckpoint, atomic=False": with_ignite_not_atomic,
    "torch.save": with_torch_save,
}


def _epoch(engine, _event):
    return engine.state.epoch


def work(way, folder, tell):
    """Train, and tell each epoch whose handlers are all done."""
    network = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH))

    def step(_engine, _batch):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(1)

    engine = Engine(step)
    WAYS[way](engine, network, folder)
    # medseg writes an epoch when the next one starts; the others have written it by then, too.
    engine.add_event_handler(Events.EPOCH_STARTED(every=1), lambda: os.write(tell, b"e"))
    engine.run([0], max_epochs=EPOCHS)


def forked(way, folder, kill_after_s):
    """Train in a fork that is killed, if it is not done before; return the epochs that it wrote."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(way, folder, tell)
        finally:
            os._exit(0)
    os.close(tell)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(told, "rb") as stream:
        return max(0, len(stream.read()) - 1)


def epoch_of(path):
    """Return the epoch of the checkpoint at a path, None where it cannot be read."""
    try:
        state = read_checkpoint(path)
    except UnsafeError:
        return None
    return state["iteration"] if "iteration" in state else state["counter"]["epoch"]


def judged(way, folder, epochs):
    """Return whether the newest file is unreadable, the epochs that a resume loses."""
    files = sorted(folder.glob("*.pt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    if way == "medseg":
        files = [path for name in (LAST, PREVIOUS) if (path := folder / name).exists()]
    found = [None if way == "medseg" and fault_of(path) else epoch_of(path) for path in files]
    newest = next((epoch for epoch in found if epoch is not None), 0)
    return {
        "newest unreadable": bool(found) and found[0] is None,
        "lost": max(0, epochs - newest),
        "all lost": bool(epochs) and not newest,
    }


def left_over(way, folder):
    """Return how many files that are no checkpoints are there after the next training."""
    forked(way, folder, None)
    return sum(p.suffix not in (".pt", ".json") or p.name[0] == "." for p in folder.iterdir())


def figures_of(way, folder, trials):
    """Kill a way at random moments of its time; return the counts."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    began_s = time.monotonic()
    forked(way, folder, None)
    seconds = time.monotonic() - began_s
    rows = []
    for _ in range(trials):
        shutil.rmtree(folder)
        folder.mkdir()
        rows.append(judged(way, folder, forked(way, folder, draw.uniform(0, seconds))))
        rows[-1]["left over"] = left_over(way, folder)
    return {
        "trials": trials,
        "seconds of a training": round(seconds, 2),
        "newest checkpoint unreadable": sum(row["newest unreadable"] for row in rows),
        "all epochs lost": sum(row["all lost"] for row in rows),
        "most finished epochs lost": max(row["lost"] for row in rows),
        "with files left over after the next training": sum(bool(row["left over"]) for row in rows),
    }


def main(folder, trials, out=None):
    for way in WAYS:
        figures = figures_of(way, folder / way.replace(" ", "-"), trials)
        keep(out or folder / "faults.json", f"checkpoints, {way}", figures)


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("trials", type=int)
    asked.add_argument("--out", type=Path)
    told = asked.parse_args()
    main(told.folder.resolve(), told.trials, told.out)
