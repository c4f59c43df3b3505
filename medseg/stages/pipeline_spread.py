"""Spread: the trainings of a pipeline on the machines of a cluster, a task each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from medseg.bundle.trust import trusting
from medseg.errors import MedsegError, Problem, ResourceError
from medseg.io.lock import LOCK
from medseg.runs import Run
from medseg.stages.display import Display, Silent
from medseg.stages.engines import Machines, needs_of
from medseg.stages.pipeline_attempts import Attempt, Study, attempted, name_of
from medseg.stages.pipeline_tasks import Task, begun, done, runs_by_key

_MEMORY_BYTES = 4 << 30


class Outcome(NamedTuple):
    """What a training left beside its run: a fault where it failed, and the lines that it told."""

    fault: MedsegError | None
    lines: tuple[str, ...] = ()


class Given(NamedTuple):
    """A task and the run that is begun for it."""

    task: Task
    run: Run


class _Lines(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        """Keep the line."""
        self.said.append(line)


def spread_attempts(
    tasks: Sequence[Task], study: Study, display: Display, machines: Machines
) -> Iterator[Attempt]:
    """Yield what became of each task, in their order; see `pipeline_attempts.attempts`.

    The lines of a training are told when it is its turn and it has ended.
    """
    known = runs_by_key(study.parent)
    given: dict[str, Given] = {}
    for task in tasks:
        before = known.get(task.key)
        if task.key not in given and not (before and done(before)):
            given[task.key] = Given(task, begun(task, before, study.parent, study.splits))
    outcomes = _outcomes(list(given.values()), study, machines)
    display.begin("pipeline", len(given))
    told = 0
    for number, task in enumerate(tasks, 1):
        name = f"{number}/{len(tasks)}: {name_of(task)}"
        if task.key not in given:
            display.say(f"{name}: done before")
            yield Attempt(task, known[task.key])
            continue
        run = given.pop(task.key).run
        outcome = next(outcomes)
        display.say(f"{name}{': goes on' if task.key in known else ''}")
        for line in outcome.lines:
            display.say(line)
        if outcome.fault:
            display.say(f"{name}: failed: {outcome.fault}")
        told += 1
        display.advance(told, told + len(given), task.name)
        known[task.key] = run
        yield Attempt(task, run, outcome.fault)


def _outcomes(given: Sequence[Given], study: Study, machines: Machines) -> Iterator[Outcome]:
    configs = [each.run.config for each in given]
    read = {Path(config[name]) for config in configs for name in ("dataset_dir", "bundle_root")}
    machines.require(sorted(read), written=study.request.output)
    needs = needs_of(study.request.device)._replace(memory_bytes=_MEMORY_BYTES)
    alone = study._replace(request=replace(study.request, machines=None))
    work = partial(_done_there, study=alone)
    return machines.spread(work, given, needs=needs, lost=_lost, again=_unlock)


def _done_there(given: Given, *, study: Study) -> Outcome:
    """Do a task in a worker; one that a killed worker had begun goes on where that was."""
    task, run = given
    if run.read("provenance.json"):
        run = Run(run.folder, {**run.config, "resume": True})
    shown = _Lines()
    with trusting():  # what it runs was looked at before it was begun
        attempt = attempted(task, run, study, shown)
    return Outcome(attempt.fault, tuple(shown.said))


def _lost(given: Given, problem: Problem) -> Outcome:
    return Outcome(ResourceError(replace(problem, subject=given.run.name)))


def _unlock(given: Given) -> None:
    """Remove the lock of a worker that is dead, which another machine could not tell."""
    (given.run.folder / LOCK).unlink(missing_ok=True)
