"""Two ways to do the same work, run in turns: the ratio of their times.

Times of a shared machine drift by tens of percent within minutes, ratios measured in alternation
hardly do. What both sides return is compared first: a ratio of unequal works says nothing.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from medseg.errors import Problem, UsageError


class Timed(NamedTuple):
    """An output, and how long it took to make: by the clock, and of the processor."""

    output: Any
    wall_s: float
    cpu_s: float


Side = Callable[[], Any]
Compare = Callable[[Any, Any], str]


@dataclass(frozen=True)
class Work:
    """Some work, medseg's way to do it and another's.

    Attributes:
        name: What is done.
        against: Who else does it, with its version where it matters.
        reach: The ratio of times, theirs to ours, that medseg aims at.
        ours: Does the work and returns its result.
        theirs: Likewise. A side that measures itself, as one in another process must, returns a
            `Timed`.
        same: Called with both results; returns in a few words how equal they are, and raises
            `AssertionError` where they are not.
        warm: Runs of each side before those that count.
    """

    name: str
    against: str
    reach: float
    ours: Side
    theirs: Side
    same: Compare
    warm: int = 1


class Comparison(NamedTuple):
    """What `compare` found: medians in seconds, and the ratio theirs / ours with its extremes.

    `ratio` is the median of the ratios of the rounds by the clock; `cpu_ratio` is the same by
    processor time, which other work on the machine disturbs less.
    """

    work: str
    against: str
    reach: float
    ratio: float
    lowest: float
    highest: float
    cpu_ratio: float
    ours_s: float
    theirs_s: float
    rounds: int
    same: str

    @property
    def reached(self) -> bool:
        """Whether the ratio is what was aimed at."""
        return self.ratio >= self.reach


def timed(side: Side) -> Timed:
    """Run one side once; garbage of earlier runs is collected before, not during."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    output = side()
    if isinstance(output, Timed):
        return output
    return Timed(output, time.perf_counter() - wall, time.process_time() - cpu)


def require(met: bool, told: str) -> None:
    """Raise AssertionError unless results are what they must be, with ``python -O`` too."""
    if not met:
        raise AssertionError(told)


def compare(work: Work, *, rounds: int = 5) -> Comparison:
    """Run both sides of a work in turns; who goes first changes from round to round.

    Raises:
        AssertionError: The results differ.
        UsageError: `rounds` is below 1.
    """
    if rounds < 1:
        raise UsageError(Problem("E-ROUNDS", work.name, f"{rounds} rounds", "at least 1"))
    same = work.same(timed(work.ours).output, timed(work.theirs).output)
    for _ in range(work.warm - 1):
        timed(work.ours), timed(work.theirs)
    ours: list[Timed] = []
    theirs: list[Timed] = []
    for number in range(rounds):
        sides = [(work.ours, ours), (work.theirs, theirs)]
        for side, times in sides if number % 2 == 0 else sides[::-1]:
            times.append(timed(side)._replace(output=None))
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [other.wall_s / own.wall_s for own, other in pairs]
    # The clock of processor time is coarse: a work too short for it counts as one tick.
    cpu_ratios = [max(other.cpu_s, 1e-9) / max(own.cpu_s, 1e-9) for own, other in pairs]
    return Comparison(
        work=work.name,
        against=work.against,
        reach=work.reach,
        ratio=median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        cpu_ratio=median(cpu_ratios),
        ours_s=median(each.wall_s for each in ours),
        theirs_s=median(each.wall_s for each in theirs),
        rounds=rounds,
        same=same,
    )
