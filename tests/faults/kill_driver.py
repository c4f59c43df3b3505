"""Kill medseg wherever it writes, go on, and judge what was left: a script.

    python tests/faults/kill_driver.py FOLDER POINTS [--of predictions] [--out FILE]

POINTS are words of `WritePoints`, separated by commas: ``replace last.pt#2`` kills at the second
such call, and with ``full`` before it the disk is full there. ``every`` kills at every point in
turn, ``random:N`` at N random moments, and ``points`` tells what there is. What is killed is a tiny
training, or predictions of a small cohort: see `killed_training` and `killed_predictions`.
Everything is imported once; each trial is a fork that dies alone. A JSON line a trial goes to the
standard output: ``unreadable`` files, finished epochs or studies that are ``lost``, what
``differs`` at the end from work that nobody killed. --out keeps the counts beside those of other
ways to be killed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import killed_predictions
import killed_training
from write_points import WritePoints

from medseg.errors import MedsegError

SUBJECTS = {"training": killed_training, "predictions": killed_predictions}


def forked(subject, folder, points, *, kill_after_s=None, again=False):
    """Work in a fork, the first time or `again`.

    Returns how it ended, the points that it passed, and how much it finished.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        code = 70
        try:
            code = _child(subject, folder, points, tell, again=again)
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
    return os.waitstatus_to_exitcode(status), passed, lines.count("finished")


def _child(subject, folder, points, tell, *, again):
    subject.tell_each(lambda: os.write(tell, b"finished\n"))
    points.install()
    try:
        subject.work(folder, again=again)
    except MedsegError as error:
        return error.exit_code
    os.write(tell, json.dumps(points.passed).encode() + b"\n")
    return 0


def trial(subject, folder, expected, points, *, kill_after_s=None, label=""):
    """Begin anew, kill, judge, go on, and judge again."""
    shutil.rmtree(folder / "work")
    shutil.copytree(folder / "base", folder / "work")
    code, _, finished = forked(subject, folder, points, kill_after_s=kill_after_s)
    row = {"point": label, "code": code, "finished": finished, **subject.judged(folder, finished)}
    points = WritePoints()
    row["resumed"], _, row["finished then"] = forked(subject, folder, points, again=True)
    found = subject.outcome(folder) if row["resumed"] == 0 else {}
    row["differs"] = [key for key, value in expected.items() if found.get(key) != value]
    return row


def begun(subject, folder):
    """Begin once; return the points of work that nobody kills, its end and its time."""
    subject.begun(folder)
    shutil.copytree(folder / "work", folder / "base")
    began_s = time.monotonic()
    code, passed, _ = forked(subject, folder, WritePoints())
    if code:
        sys.exit(f"the work that nobody killed ended with {code}")
    seconds = time.monotonic() - began_s
    return passed, subject.outcome(folder), seconds


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


def main(folder, wanted, *, of="training", out=None):
    subject = SUBJECTS[of]
    passed, expected, seconds = begun(subject, folder)
    if wanted == "points":
        tell(passed)
        return
    rows = []
    for points, after_s, label in trials(wanted, passed, seconds):
        rows.append(trial(subject, folder, expected, points, kill_after_s=after_s, label=label))
        tell(rows[-1])
    if out:
        keep(out, f"medseg {of}, {wanted.partition(':')[0]}", counted(rows, seconds))


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("points")
    asked.add_argument("--of", choices=SUBJECTS, default="training")
    asked.add_argument("--out", type=Path)
    told = asked.parse_args()
    main(told.folder.resolve(), told.points, of=told.of, out=told.out)
