"""Let processes ask for one lock at the same moment, again and again: a script.

    python tests/io/lock_race.py FOLDER ROUNDS [none|stale]

A line a round: how many got it and how many were refused. With ``stale`` a dead process has left
one each time.
"""

import json
import os
import sys
import time
from pathlib import Path

from medseg.errors import ResourceError
from medseg.io.lock import LOCK, holder, locked

RACERS = 4


def left_by_the_dead(folder):
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, json.dumps(holder()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    folder.mkdir()
    (folder / LOCK).write_bytes(os.read(told, 65536))
    os.close(told)
    os.close(tell)


def racer(folder, at_s, tell, done):
    while time.monotonic() < at_s:
        pass
    try:
        with locked(folder):
            os.write(tell, b"w")
            os.read(done, 1)  # till all have told
    except ResourceError as error:
        os.write(tell, b"r" if error.problems[0].code == "E-LOCKED" else b"?")


def raced(folder):
    told, tell = os.pipe()
    done, finish = os.pipe()
    at_s = time.monotonic() + 0.02
    children = []
    for _ in range(RACERS):
        child = os.fork()
        if child == 0:
            os.close(finish)
            racer(folder, at_s, tell, done)
            os._exit(0)
        children.append(child)
    os.close(tell)
    answers = b""
    while len(answers) < RACERS:
        answers += os.read(told, RACERS) or b"?"
    os.close(finish)
    for child in children:
        os.waitpid(child, 0)
    os.close(told)
    os.close(done)
    return answers.count(b"w"), answers.count(b"r")


def main(folder, rounds, before):
    for number in range(rounds):
        place = folder / str(number)
        if before == "stale":
            left_by_the_dead(place)
        sys.stdout.write("{} {}\n".format(*raced(place)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
