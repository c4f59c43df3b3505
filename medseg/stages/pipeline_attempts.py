"""Attempts: trainings of a pipeline one after another; one that fails does not stop the others."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from medseg.data import Splits
from medseg.errors import MedsegError, Problem
from medseg.pipeline import Pipeline
from medseg.runs import Run
from medseg.stages.begin import STAGES, Request
from medseg.stages.display import Display
from medseg.stages.pipeline_measures import measure
from medseg.stages.pipeline_tasks import Task, begun, done, left, runs_by_key
from medseg.stages.run import work

# The page that tells of all of them is written at the end; `medseg report` writes one of a run.
_STAGES = tuple(stage for stage in STAGES if stage != "report")
_log = logging.getLogger(__name__)


class _Brief:
    """A display that leaves out what takes more than a line: each run's own tables.

    Args:
        display: Where to show the rest.
    """

    def __init__(self, display: Display) -> None:
        self.begin, self.advance, self._say = display.begin, display.advance, display.say

    def say(self, line: str) -> None:
        """Tell a line."""
        if "\n" not in line:
            self._say(line)


class Attempt(NamedTuple):
    """A task and what became of it: a run, and why it failed where it did."""

    task: Task
    run: Run
    fault: MedsegError | None = None


class Study(NamedTuple):
    """What all trainings of a pipeline have in common.

    Attributes:
        pipeline: The content of its file.
        request: How to run it.
        parent: The run below which MLflow shows them.
        splits: Who is on which side.
    """

    pipeline: Pipeline
    request: Request
    parent: Run
    splits: Splits


def attempts(tasks: Sequence[Task], study: Study, display: Display) -> Iterator[Attempt]:
    """Yield what became of each task; those that are done are left as they are.

    Raises:
        Stopped: A signal asked to stop; the training at hand goes on when it is asked for again.
    """
    known = runs_by_key(study.parent)
    for number, task in enumerate(tasks, 1):
        name = f"{number}/{len(tasks)}: {name_of(task)}"
        before = known.get(task.key)
        if before is not None and done(before):
            display.say(f"{name}: done before")
            yield Attempt(task, before)
            continue
        display.say(f"{name}{': goes on' if before else ''}")
        run = begun(task, before, study.parent, study.splits)
        attempt = attempted(task, run, study, display)
        if attempt.fault:
            display.say(f"{name}: failed: {attempt.fault}")
        known[task.key] = attempt.run
        yield attempt


def name_of(task: Task) -> str:
    """Return what lines call a task."""
    return f"{task.entry.name}, seed {task.config['seed']}, fold {task.config['fold']}"


def attempted(task: Task, run: Run, study: Study, display: Display) -> Attempt:
    """Return what becomes of a task, whatever goes wrong with it, in the run begun for it."""
    roles = ("test", "train") if task.entry.source.train_dice is not None else ("test",)
    last = partial(measure, roles=roles, costs=study.pipeline.costs)
    request = replace(study.request, stages=tuple(left(run, _STAGES)))
    try:
        work(run, request, _Brief(display), parent=study.parent, then=last)
    except MedsegError as error:
        return Attempt(task, run, error)
    except Exception as error:
        _log.debug("%s failed", run.name, exc_info=True)
        found = " ".join(f"{type(error).__name__}: {error}".split())
        return Attempt(task, run, MedsegError(Problem("E-FAULT", task.entry.name, found)))
    return Attempt(task, run)
