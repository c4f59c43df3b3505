"""What tests have Ray's workers do: a module of its own, so that workers find it by its name."""

import logging
import os
import signal
import time
from pathlib import Path

from medseg.errors import GeometryError, Problem

_log = logging.getLogger("medseg.tests")


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def square(number):
    return number * number


def refuse(number, *, at):
    if number == at:
        raise GeometryError(Problem("E-GRID", f"scan {number}", "lies elsewhere", fix="look"))
    return number


def warn(number):
    _log.warning("scan %d is odd", number)
    return number


class FirstIsLast:
    """Ends the first task when all the others are done, and not before."""

    def __init__(self, folder, *, tasks):
        self.folder, self.others = folder, tasks - 1

    def __call__(self, number):
        ends = time.monotonic() + 60
        while number == 0 and len(list(self.folder.iterdir())) < self.others:
            assert time.monotonic() < ends
            time.sleep(0.01)
        (self.folder / str(number)).touch()
        return number, os.getpid()


class Loaded:
    """Work that counts how often it was brought to a worker, in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        self.__dict__.update(state)
        (self.folder / f"loaded-{time.monotonic_ns()}").touch()

    def __call__(self, _number):
        return os.getpid(), os.environ["OMP_NUM_THREADS"]


class Deadly:
    """Kills the worker of some tasks: ``once`` the first time, ``always`` each time."""

    def __init__(self, folder, *, once=(), always=()):
        self.folder, self.once, self.always = folder, once, always

    def __call__(self, number):
        begun = self.folder / f"begun-{number}"
        again = begun.exists()
        begun.touch()
        if number in self.always or (number in self.once and not again):
            kill_self()
        with (self.folder / "done").open("a") as stream:
            stream.write(f"{number}\n")
        return number


class Slow:
    """Tells where each task is done and that it is, and takes its time."""

    def __init__(self, folder, *, seconds):
        self.folder, self.seconds = Path(folder), seconds

    def __call__(self, number):
        import ray

        node = ray.get_runtime_context().get_node_id()
        (self.folder / f"begun-{number}-{os.getpid()}-{node}").touch()
        time.sleep(self.seconds)
        with (self.folder / "done").open("a") as stream:
            stream.write(f"{number}\n")
        return number


class Hungry:
    """Asks for so much memory at one of the tasks, and keeps it for a while."""

    def __init__(self, *, gib, at):
        self.gib, self.at = gib, at

    def __call__(self, number):
        if number == self.at:
            taken = b"x" * int(self.gib * (1 << 30))
            time.sleep(20)
            return len(taken)
        return number
