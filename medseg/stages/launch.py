"""Launch: one command line in several processes of this machine, under torch's elastic agent.

The agent starts them all again, some times, when one was killed; rank 0 then goes on with the run
that it had begun. A command that ends with an error of its own, or on a signal, is not started
again: it leaves its exit code in a file that all of them know.
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from uuid import uuid4

import psutil

from medseg import ranks
from medseg.errors import MedsegError, Problem, ResourceError
from medseg.machine import cores

RESTARTS = 3
OUTCOME = "MEDSEG_OUTCOME"
_LOOPBACK = "127.0.0.1"
_HEEDED = 2


def launch(words: Sequence[str], *, processes: int) -> int:
    """Run a command line in several processes, and return its exit code.

    A signal to this process goes to each of them, and what they save they save.

    Args:
        words: What comes after ``medseg``.
        processes: How many.

    Raises:
        ResourceError: One was killed again and again.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with TemporaryDirectory(prefix="medseg-") as folder:
        outcome = Path(folder) / "exit_code"
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=str(outcome.with_name("agents")),
            rdzv_configs={"store_type": "file"},
            local_addr=_LOOPBACK,
            max_restarts=RESTARTS,
            signals_to_handle="SIGHUP,SIGQUIT",  # the others are passed on here
        )
        with _told(_environment(outcome, processes)), _passed_on(outcome):
            try:
                elastic_launch(config, sys.executable)("-m", "medseg.cli.launched", *words)
            except ChildFailedError as failed:
                if not outcome.exists():
                    return _code(failed.get_first_failure()[1].exitcode)
            return int(outcome.read_text()) if outcome.exists() else 0


@contextmanager
def lasting() -> Iterator[None]:
    """Keep the exit code of what would come again, were the command started again."""
    try:
        yield
    except Exception as error:
        codes = {each.code for each in error.problems} if isinstance(error, MedsegError) else set()
        if OUTCOME in os.environ and ranks.LOST not in codes:
            Path(os.environ[OUTCOME]).write_text(str(getattr(error, "exit_code", 1)))
        raise


def _environment(outcome: Path, processes: int) -> dict[str, str]:
    """Return what the processes are told beside what torch tells them."""
    told = {OUTCOME: str(outcome), ranks.MEETING: str(outcome.with_name("meeting"))}
    # A store by TCP is open to every network that the machine is part of.
    told |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // processes))}
    own = "lo" if sys.platform == "linux" else "lo0"
    ways = {"GLOO_SOCKET_IFNAME": own, "NCCL_SOCKET_IFNAME": own}
    less = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # DDP's remarks on how it was asked, once a process
    wanted = threads | ways | less
    return told | {name: value for name, value in wanted.items() if name not in os.environ}


@contextmanager
def _told(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _passed_on(outcome: Path) -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on: the processes are out of the terminal's reach.

    From the third on they are killed: one that waits for another within torch heeds no signal.
    """
    asked = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        outcome.write_text(str(128 + number))
        asked.append(number)
        for process in psutil.Process().children():
            process.send_signal(number if len(asked) <= _HEEDED else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _code(code: int) -> int:
    if code >= 0:
        return code
    found = f"a process was ended by {signal.Signals(-code).name}, {RESTARTS + 1} times"
    fix = "memory may be short: fewer processes or a smaller batch_size need less; then --resume"
    raise ResourceError(Problem(ranks.LOST, "training", found, fix=fix))
