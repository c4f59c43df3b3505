"""A pool of Ray's workers: tasks handed out one at a time, answers in the order of the tasks.

A task is at one worker at most. If that worker dies, or the machine it is on, the task is handed
out again; one that ended three workers is given up, and the others go on. So nothing is lost, and
what was done is done once, but for files that a killed worker had begun to write.
"""

import logging
import math
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from medseg.errors import Problem, ResourceError
from medseg.stages.engines import Needs
from medseg.stages.ray_worker import Answer, Place, Worker

T = TypeVar("T")
R = TypeVar("R")
Lost = Callable[[T, Problem], R]

# What stops once may be another's fault, such as a machine that had no memory left.
TRIES = 3
_LOOK_AGAIN_S, _PATIENCE_S = 1.0, 60.0
_SHORT_OF_MEMORY = re.compile(r"OUT_OF_MEMORY|low on memory|memory pressure \(OOM\)")
_log = logging.getLogger("medseg")


class _Death(NamedTuple):
    """How a worker ended: of too little memory, with its machine, or by itself."""

    memory: bool
    machine: bool


class _Hand(NamedTuple):
    """A worker, and the machine it is on: empty until it is ready."""

    actor: Any
    node: str = ""


def spread(
    work: Callable[[T], R],
    tasks: Sequence[T],
    *,
    needs: Needs,
    lost: Lost[T, R] | None = None,
    again: Callable[[T], None] | None = None,
) -> Iterator[R]:
    """Yield what becomes of each task, in their order; see `medseg.stages.engines.Machines`."""
    needs = _within(needs)
    place = Place(str(Path.cwd()), tuple(sys.path), needs.cpus, _log.level)
    pool = _Pool([ray.put(work)], place, needs)
    waiting, killed = deque(range(len(tasks))), Counter[int]()
    answers: dict[int, Answer] = {}
    try:
        for turn in range(len(tasks)):
            while turn not in answers:
                pool.grow(len(waiting))
                while waiting and pool.free:
                    number = waiting.popleft()
                    pool.give(number, tasks[number])
                for number, answer in pool.wait():
                    if isinstance(answer, Answer):
                        answers[number] = answer
                        continue
                    killed[number] += not answer.machine
                    if killed[number] < TRIES:
                        if again:
                            again(tasks[number])
                        waiting.appendleft(number)
                    else:
                        answers[number] = _given_up(tasks[number], answer, lost)
            yield _value(answers.pop(turn))
    finally:
        pool.close()


def _given_up(task: T, death: _Death, lost: Lost[T, R] | None) -> Answer:
    """Return the answer for a task that no worker survived."""
    if death.memory:
        found = f"its worker ran out of memory, {TRIES} times"
        problem = Problem("E-MEMORY", "worker", found, fix="use a machine with more memory")
    else:
        found = f"ended its worker process before it was done, {TRIES} times"
        problem = Problem("E-WORKER", "worker", found, fix="run it by itself, with --engine local")
    return Answer(lost(task, problem)) if lost else Answer(error=ResourceError(problem))


def _value(answer: Answer) -> Any:  # noqa: ANN401 - what the work returned
    for level, text in answer.warnings:
        _log.log(level, "%s", text)
    if answer.error is not None:
        raise answer.error
    return answer.value


class _Pool:
    """Workers that begin, are free or are at work, as many as the cluster has room for."""

    def __init__(self, work: list[Any], place: Place, needs: Needs) -> None:
        self.needs = needs
        self.free: list[_Hand] = []
        self._beginning: dict[Future[Any], _Hand] = {}
        self._busy: dict[Future[Any], tuple[_Hand, int]] = {}
        self._told_s = time.monotonic() + _PATIENCE_S
        self._failed = 0
        self._made_of = (work, place)
        self._actor = ray.remote(Worker).options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory_bytes
        )

    def grow(self, waiting: int) -> None:
        """Begin workers for the tasks that wait, where there is room; let go of those too many."""
        there = len(self.free) + len(self._beginning)
        while self.free and len(self.free) > waiting:
            ray.kill(self.free.pop().actor)
        room = max(fitting(self.needs), 1) - there - len(self._busy)
        for _ in range(min(room, waiting - there)):
            actor = self._actor.remote(*self._made_of)
            self._beginning[actor.node.remote().future()] = _Hand(actor)

    def give(self, number: int, task: object) -> None:
        """Hand a task to a free worker."""
        hand = self.free.pop()
        self._busy[hand.actor.do.remote(task).future()] = (hand, number)

    def wait(self) -> Iterator[tuple[int, Answer | _Death]]:
        """Yield the tasks that ended, a moment from now at the latest, and how."""
        # Not in ray.wait, which makes every signal a Ctrl-C.
        ended = wait([*self._busy, *self._beginning], _LOOK_AGAIN_S, FIRST_COMPLETED).done
        if not self._busy and time.monotonic() > self._told_s:
            self._told_s = math.inf
            found = "no worker has begun yet: others may be using the cluster"
            _log.warning("%s", Problem("W-WAIT", "Ray", found, level="warning"))
        for ready in ended & self._beginning.keys():
            self._begun(ready)
        for told in ended & self._busy.keys():
            hand, number = self._busy.pop(told)
            try:
                answer = told.result()
            except RayTaskError as error:  # what the work returned cannot be sent
                answer = Answer(error=error)
            except RayError as error:
                # One that only seems dead must not end the task a second time.
                ray.kill(hand.actor)
                yield number, _death(error, hand)
                continue
            self.free.append(hand)
            yield number, answer

    def _begun(self, ready: Future[Any]) -> None:
        hand = self._beginning.pop(ready)
        try:
            self.free.append(hand._replace(node=ready.result()))
            self._failed = 0
        except RayError as error:
            self._failed += 1
            if self._failed < TRIES:
                return
            found = f"no worker could be begun: {_last_line(error)}"
            raise ResourceError(Problem("E-WORKER", "Ray", found)) from error

    def close(self) -> None:
        """End all workers."""
        hands = [*self.free, *self._beginning.values(), *(hand for hand, _ in self._busy.values())]
        for hand in hands:
            ray.kill(hand.actor)


def fitting(needs: Needs) -> int:
    """Return how many workers the cluster has room for, if nobody else uses it."""
    return sum(_fitting_on(node["Resources"], needs) for node in ray.nodes() if node["Alive"])


def _fitting_on(resources: dict[str, float], needs: Needs) -> int:
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_bytes}
    return int(min(resources.get(name, 0) // of for name, of in wanted.items() if of))


def _within(needs: Needs) -> Needs:
    """Return needs that the largest machine can fill; an estimate is no reason to refuse.

    Raises:
        ResourceError: E-RESOURCES, no machine has so many devices.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    able = [node for node in nodes if node.get("GPU", 0) >= needs.gpus and node.get("CPU", 0) >= 1]
    if not able:
        found = f"no machine of the cluster has {'a CUDA device and ' * bool(needs.gpus)}a core"
        raise ResourceError(Problem("E-RESOURCES", "Ray", found, fix="add one, or use another"))
    cpus = min(needs.cpus, int(max(node["CPU"] for node in able)))
    large = [node.get("memory", 0) for node in able if node["CPU"] >= cpus]
    return needs._replace(cpus=cpus, memory_bytes=min(needs.memory_bytes, int(max(large))))


def _death(error: RayError, hand: _Hand) -> _Death:
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return _Death(bool(_SHORT_OF_MEMORY.search(str(error))), hand.node not in alive)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
