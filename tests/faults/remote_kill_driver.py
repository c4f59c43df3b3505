"""Kill a training whose runs lie in an object store, and go on with it elsewhere: a script.

    PYTHONPATH=tests python tests/faults/remote_kill_driver.py FOLDER POINTS

POINTS are names of what is sent, such as ``put last.pt#2`` for the second time, or ``every``, with
commas between them: the process is killed before it. What the store holds is judged, then a
process with an empty folder of copies goes on, and its end is compared with that of a training that
nobody killed. A JSON line a trial goes to the standard output.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from killed_training import SETTINGS, TIMED, TIMES, digest, saved
from object_store import ObjectStore, forget

from medseg.data.phantom import write_phantom
from medseg.engine.checkpoint_files import fault_of
from medseg.engine.checkpoints import read_checkpoint
from medseg.engine.history import TrackingHandler
from medseg.errors import MedsegError
from medseg.io import remote, remote_copy
from medseg.io.remote_work import working_folder
from medseg.runs import latest_run, open_run
from medseg.stages.begin import Request, begin
from medseg.stages.display import Silent
from medseg.stages.prepare import prepare
from medseg.stages.track import tracked
from medseg.stages.train import train

SHORT = SETTINGS | {"epochs": "3"}


def work(data, output, *, resume):
    """Prepare and train, as ``medseg run`` does."""
    stages, given = ("prepare", "train"), {"settings": SHORT, "resume": resume, "demo": True}
    asked = Request("uwmgi_unext", data=data, device="cpu", output=output, stages=stages, **given)
    current = begin(asked, Silent())
    with tracked(current, None, output=output) as tracker:
        prepare(current, tracker, Silent())
        train(current, tracker, Silent())


def forked(folder, address, *, resume, kill_at=None):
    """Train in a fork with no copies; return how it ended, what was sent, and finished epochs."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    told, tell_ = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            _watch(tell_, kill_at)
            work(folder / "data", working_folder(address), resume=resume)
            code = 0
        except MedsegError as error:
            sys.stderr.write(f"{error}\n")
            code = error.exit_code
        finally:
            os._exit(code)
    os.close(tell_)
    with os.fdopen(told) as stream:
        lines = stream.read().splitlines()
    _, status = os.waitpid(child, 0)
    sent = [line for line in lines if line != "epoch"]
    return os.waitstatus_to_exitcode(status), sent, lines.count("epoch")


def _watch(tell_, kill_at):
    """Tell of what is sent and of epochs that end, and die when it is time."""
    passed, finish, called = [], TrackingHandler._finish, remote.called

    def finished(self, trainer):
        os.write(tell_, b"epoch\n")
        finish(self, trainer)

    def sending(place, call, *words):
        kind = {"_put_file": "put", "_cp_file": "copy", "put_file": "put", "cp_file": "copy"}
        name = kind.get(getattr(call, "__name__", ""))
        if name:
            passed.append(f"{name} {place.path.rpartition('/')[2]}")
            os.write(tell_, f"{passed[-1]}\n".encode())
            if f"{passed[-1]}#{passed.count(passed[-1])}" == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return called(place, call, *words)

    TrackingHandler._finish = finished
    remote_copy.called = sending


def outcome(folder):
    """Return what a finished training is compared by."""
    state = read_checkpoint(folder / "checkpoints" / "last.pt")
    rows = json.loads((folder / "training.json").read_text())["epochs"]
    return {
        "state": digest({key: value for key, value in state.items() if key not in TIMED}),
        "weights": digest(read_checkpoint(folder / "weights.safetensors")),
        "rows": [{k: v for k, v in row.items() if k not in TIMES} for row in rows],
    }


def trial(folder, store, name, expected, *, point):
    code, _, finished = forked(folder, store.address(name), resume=False, kill_at=point)
    there = store.fill(name, folder / name)
    runs = sorted(path.parent for path in there.glob("*/*/config.json"))
    row = {"point": point, "code": code, "finished": finished, "runs": len(runs)}
    if runs:
        run = open_run(runs[0])
        row |= {"unreadable": _unreadable(run), "lost": finished - saved(run)}
    again, _, _ = forked(folder, store.address(name), resume=bool(runs))
    row["resumed"] = again
    shutil.rmtree(there, ignore_errors=True)
    end = latest_run(store.fill(name, there) / "uwmgi_unext_demo", fold=0) if not again else None
    found = outcome(end.folder) if end else {}
    row["differs"] = [key for key, value in expected.items() if found.get(key) != value]
    # Killed before it sent anything else, a run leaves its lock, and nobody will work there.
    names = store.names(name)
    locks = [key for key in names if key.endswith("/medseg.lock")]
    beside = {key.rpartition("/")[0] for key in names if key not in locks}
    row["locks"] = [key for key in locks if key.rpartition("/")[0] in beside]
    return row


def _unreadable(run):
    bad = []
    for path in run.folder.rglob("*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            bad.append(path.name)
    bad += [p.name for p in run.folder.rglob("*.pt") if fault_of(p)]
    return bad


def every(folder, store):
    """Return all points of a training that nobody kills."""
    _, sent, _ = forked(folder, store.address("whole"), resume=False)
    return [f"{name}#{sent[: n + 1].count(name)}" for n, name in enumerate(sent)]


def main(folder, wanted):
    os.environ["MEDSEG_CACHE"] = str(folder / "cache")
    write_phantom(folder / "data", patients=3, days=2, tiny=True)
    work(folder / "data", folder / "plain", resume=False)
    expected = outcome(latest_run(folder / "plain" / "uwmgi_unext_demo", fold=0).folder)
    store = ObjectStore()
    os.environ.update(store.environment)
    forget()
    try:
        points = every(folder, store) if wanted == "every" else wanted.split(",")
        for number, point in enumerate(points):
            row = trial(folder, store, f"trial{number}", expected, point=point)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    finally:
        store.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
