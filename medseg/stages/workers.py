"""Work on many scans at once, each in a process of its own: results in order, one at a time.

The processes begin from nothing (`spawn`): a copy of this one would hold locks of threads that it
has not. A script that asks for more than one worker needs ``if __name__ == "__main__"`` therefore.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TypeVar

from medseg.errors import Problem, ResourceError
from medseg.stages.engines import Machines

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int], None]

# To begin a process takes as long as some ten scans do.
_WORTH_A_PROCESS = 10
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worked(
    work: Callable[[T], R],
    tasks: Sequence[T],
    *,
    workers: int | None = 1,
    progress: Progress | None = None,
    machines: Machines | None = None,
    lost: Callable[[T, Problem], R] | None = None,
) -> list[R]:
    """Return what `work` makes of each task, in the order of the tasks.

    Args:
        work: A function at the top of a module, or a partial of one.
        tasks: What it is called with; small, for it is sent to another process.
        workers: Processes. With 1, or with one task, all is done in this process; None takes as
            many as there are cores, each with ten tasks at least.
        progress: Called with the tasks done and their number.
        machines: Where to spread the tasks, in place of processes here.
        lost: What stands for a task that killed its worker there every time.

    Raises:
        ResourceError: A process was ended from outside.
        Exception: What `work` raises; tasks that have not begun are dropped then.
    """
    if workers is None:
        workers = min(cores(), len(tasks) // _WORTH_A_PROCESS)
    results: list[R] = []
    spread = partial(machines.spread, lost=lost) if machines else None
    with nullcontext(spread) if spread else _mapping(min(workers, len(tasks))) as mapped:
        for done, result in enumerate(mapped(work, tasks), 1):
            results.append(result)
            if progress is not None:
                progress(done, len(tasks))
    return results


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[[Callable[[T], R], Sequence[T]], Iterator[R]]]:
    """Give a function like `map`; whatever ends the block ends the processes too."""
    if workers < 2:
        yield map
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin) as pool:

        def spread(work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
            with _interrupts_held():
                return pool.map(work, tasks)

        try:
            yield spread
        except BrokenProcessPool:
            found = "a worker process ended before its scan was done"
            fix = "memory may be short: give --workers 1"
            raise ResourceError(Problem("E-WORKER", "workers", found, fix=fix)) from None
        except BaseException:
            # What a process is at it ends first, a scan or two: cut short, pools of Python 3.11
            # may fail in a thread of their own.
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back; processes that are begun meanwhile never see it.

    It reaches every process of a terminal, but the first one decides, and ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Prepare a new process, before it imports anything that starts threads."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave with the process that began this one, however it ended: nobody else would tell."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
