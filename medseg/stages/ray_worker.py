"""What runs in a process of Ray's: a worker that keeps its work, and a look at a machine."""

import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ray

from medseg import __version__
from medseg.stages.workers import THREADS


class Answer(NamedTuple):
    """What became of a task.

    Attributes:
        value: What the work returned.
        error: What it raised; None where it returned.
        warnings: What it logged: level and text.
    """

    value: Any = None
    error: BaseException | None = None
    warnings: tuple[tuple[int, str], ...] = ()


class Place(NamedTuple):
    """What a worker takes over from the process that it works for.

    Attributes:
        folder: The working folder, where the machine has it: what relative paths begin at.
        path: Where Python finds modules.
        threads: How many it may use.
        level: Of medseg's log.
    """

    folder: str
    path: tuple[str, ...]
    threads: int
    level: int


class Worker:
    """A process that does one task after another with one piece of work.

    Args:
        work: A reference to it in a list: read here, after the number of threads is set.
        place: See `Place`.
    """

    def __init__(self, work: Sequence[Any], place: Place) -> None:
        # Libraries read these when they are imported, which reading the work does.
        for name in THREADS:
            os.environ.setdefault(name, str(place.threads))
        if Path(place.folder).is_dir():
            os.chdir(place.folder)
        sys.path += [each for each in place.path if each not in sys.path]
        logging.getLogger("medseg").setLevel(place.level)
        self._work: Callable[[Any], Any] = ray.get(work[0])

    def node(self) -> str:
        """Return the machine's id; told as soon as the worker is ready."""
        return str(ray.get_runtime_context().get_node_id())

    def do(self, task: object) -> Answer:
        """Return what becomes of a task; an error is an answer too, and stays what it is."""
        with _logged() as warnings:
            try:
                value, error = self._work(task), None
            except Exception as met:
                value, error = None, met
        return Answer(value, error, tuple(warnings))


@contextmanager
def _logged() -> Iterator[list[tuple[int, str]]]:
    """Keep what medseg logs within the block, for the process that asked."""
    kept: list[tuple[int, str]] = []
    log, handler = logging.getLogger("medseg"), _Keep(kept)
    log.addHandler(handler)
    try:
        yield kept
    finally:
        log.removeHandler(handler)


class _Keep(logging.Handler):
    def __init__(self, kept: list[tuple[int, str]]) -> None:
        super().__init__()
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelno, record.getMessage()))


class Seen(NamedTuple):
    """What a machine is like: versions, and which paths are not there."""

    medseg: str
    python: str
    missing: tuple[str, ...]


def look(paths: Sequence[str]) -> Seen:
    """Return which of the paths this machine does not have, and what it runs."""
    missing = tuple(path for path in paths if not os.path.exists(path))  # noqa: PTH110 - millions
    return Seen(__version__, platform.python_version(), missing)
