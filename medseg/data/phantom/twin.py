"""How a twin is made: the part that is the same for every data set.

A twin is drawn by independent tasks into a hidden folder, which is renamed when all are done, so
that a stopped call leaves nothing that looks whole. ``OUT/PHANTOM.txt`` keeps anybody, and the
report of a run, from taking it for real data.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from medseg.errors import Problem, UsageError

_MARK = "PHANTOM.txt"
_MARK_TEXT = "Made by medseg. Nobody and nothing was scanned: these pictures are computed.\n"
_PARTIAL = ".phantom.part"  # all lies here until it is done; a later call clears it


class Order(NamedTuple):
    """What was asked for: how many of what, the seed, and whether small ones for tests will do."""

    counts: Mapping[str, int]
    seed: int
    tiny: bool


class Twin(NamedTuple):
    """How the twin of one data set is made.

    Attributes:
        counts: What may be chosen: the default and the most of each, the least is 1.
        entries: The names that an order's twin has in its folder.
        tasks: Parts of the work on an order, which may be done in any order; each writes files
            below a folder and returns what `finish` needs.
        finish: Write what holds facts of all parts, given their results.
    """

    counts: Mapping[str, tuple[int, int]]
    entries: Callable[[Order], Sequence[str]]
    tasks: Callable[[Path, Order], Sequence[Callable[[], Any]]]
    finish: Callable[[Path, Sequence[Any]], None]


def order(twin: Twin, *, seed: int, tiny: bool, counts: Mapping[str, int]) -> Order:
    """Return a sound order.

    Raises:
        UsageError: A number is out of range, or the twin does not count such things.
    """
    limits = {name: (1, most) for name, (_, most) in twin.counts.items()}
    limits["seed"] = (0, 2**63 - 1)
    problems = []
    for name, value in {**counts, "seed": seed}.items():
        if name not in limits:
            found = f"{value}, but this data set has none"
            problems.append(Problem("E-PHANTOM", name, found, " and ".join(twin.counts)))
            continue
        least, most = limits[name]
        if not least <= value <= most:
            problems.append(Problem("E-PHANTOM", name, str(value), f"{least} to {most}"))
    if problems:
        raise UsageError(*problems)
    defaults = {name: default for name, (default, _) in twin.counts.items()}
    return Order({**defaults, **counts}, seed, tiny)


def make(
    twin: Twin, out: Path, wanted: Order, *, progress: Callable[[int, int], object] | None
) -> None:
    """Fill a folder with a twin.

    Raises:
        UsageError: The folder already holds an entry of the twin.
    """
    entries = twin.entries(wanted)
    there = [out / name for name in entries if (out / name).exists()]
    if there:
        fix = "choose an empty folder"
        raise UsageError(
            *(Problem("E-EXISTS", str(path), "already there", "", fix) for path in there)
        )
    partial = out / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tasks = twin.tasks(partial, wanted)
    results = []
    with ThreadPoolExecutor(_workers()) as pool:
        for done, result in enumerate(pool.map(lambda task: task(), tasks), 1):
            results.append(result)
            if progress is not None:
                progress(done, len(tasks))
    twin.finish(partial, results)
    (partial / _MARK).write_text(_MARK_TEXT, encoding="utf-8")
    for name in (_MARK, *entries):
        (partial / name).rename(out / name)
    partial.rmdir()


def is_phantom(root: Path) -> bool:
    """Whether a data folder, or the folder it lies in, says of itself that medseg made it."""
    return any((folder / _MARK).is_file() for folder in (root, root.absolute().parent))


def _workers() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
