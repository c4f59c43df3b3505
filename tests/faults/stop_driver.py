"""Send a real signal to a real process in each stage, and go on after it: a script.

    python tests/faults/stop_driver.py FOLDER every
    python tests/faults/stop_driver.py FOLDER train-SIGTERM,predict-SIGINT

Everything is imported once; each process is a fork that gets its signal when it shows the first
progress of a stage. A JSON line a trial goes to the standard output.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from smallest_training import trained
from untrained_run import untrained_run

from medseg.cli import display, main
from medseg.data import read_manifest, read_scans
from medseg.data.phantom import write_phantom
from medseg.engine import tracking_store

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def prepared(folder):
    return trained(folder / "data", folder / "runs", "-q", epochs=2)


def predicted(folder):
    scans = read_scans(folder / "data", read_manifest("uwmgi"))
    inputs = [str(scan.slice_files[0].parent.parent) for scan in scans]
    words = ["--set", "ranges={}", "--device", "cpu", "-q", "-o", str(folder / "out")]
    return main(["predict", str(folder / "run"), *inputs, *words])


def resumed(folder):
    return trained(folder / "data", folder / "runs", "-q", "--resume", epochs=2)


STAGES = {"prepare": (prepared, resumed), "train": (prepared, resumed)}
STAGES["predict"] = (predicted, predicted)


def forked(work, folder, *, stage="", number=0):
    """Return what work in a fork exits with; a signal comes at the first progress of a stage."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_child(work, folder, stage, tell))
    os.close(tell)
    with os.fdopen(told, "rb") as stream:
        if stage:
            assert stream.read(1) == b"!", f"no {stage}"
            os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _child(work, folder, stage, tell):
    class Telling(display.Quiet):
        def begin(self, stage, _total):
            self.stage = stage

        def advance(self, done, total, _note=""):
            if self.stage == stage and done < total:
                os.write(tell, b"!")
                time.sleep(0.2)

    display.Quiet = Telling
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return work(folder)


def main_(root, wanted):
    """Try what is wanted; a store is made once for all forks."""
    tracking_store._empty_store()
    data = write_phantom(root / "data", patients=3, days=1, tiny=True)
    run = untrained_run(data, root / "untrained")
    for stage, (first, then) in STAGES.items():
        for number in SIGNALS:
            folder = root / f"{stage}-{number.name}"
            if folder.name not in wanted and wanted != ["every"]:
                continue
            folder.mkdir()
            (folder / "data").symlink_to(data)
            (folder / "run").symlink_to(run.folder)
            row = {"stage": stage, "signal": number.name}
            row["code"] = forked(first, folder, stage=stage, number=number)
            row["left over"] = [path.name for path in folder.rglob(".tmp-*")]
            row["locks"] = [path.name for path in folder.rglob("medseg.lock")]
            told = [json.loads(path.read_text()) for path in folder.glob("runs/*/*/prov*.json")]
            row["told"] = [each["exit_status"] for each in told]
            row["saved"] = len(list(folder.glob("runs/*/*/checkpoints/last.pt")))
            row["then"] = forked(then, folder)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main_(Path(sys.argv[1]).resolve(), sys.argv[2].split(","))
