"""Engines: where the parts of a command's work are done, here or on the machines of a cluster.

A stage that can spread its work takes `Machines`; None stands for this process and its own. What
is handed out, an item of a cohort or a training, is the same for both, and so is what comes of it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from medseg.errors import Problem, UsageError
from medseg.scan import Scan, Series

ENGINES = ("local", "ray")

T = TypeVar("T")
R = TypeVar("R")

_GIB = 1 << 30
# Read, resampled, segmented and drawn, a compressed file's voxels are in memory several times.
_TIMES_THE_FILE = 32


class Needs(NamedTuple):
    """What each worker needs of its machine.

    Attributes:
        cpus: Cores, and threads.
        gpus: CUDA devices, all of its own.
        memory_bytes: An estimate. A machine that has less gets one worker.
    """

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = _GIB


ONE_CORE = Needs()


class Machines(Protocol):
    """Machines that work is spread over."""

    def device(self, asked: str) -> str:
        """Return the device for ``auto``, ``cpu`` or ``cuda`` on these machines.

        Raises:
            MedsegError: None of them has it.
        """

    def require(self, read: Iterable[Path], *, written: Path | None = None) -> None:
        """Make sure that each machine sees these paths as this one does.

        Args:
            read: What is read.
            written: The folder that is written to; made when needed.

        Raises:
            DataError: E-PATH, one does not; every machine and path is told.
        """

    def spread(
        self,
        work: Callable[[T], R],
        tasks: Sequence[T],
        *,
        needs: Needs = ONE_CORE,
        lost: Callable[[T, Problem], R] | None = None,
        again: Callable[[T], None] | None = None,
    ) -> Iterator[R]:
        """Yield what `work` makes of each task, in the order of the tasks.

        A task whose worker or machine is killed is done again elsewhere.

        Args:
            work: Sent once to each worker, which keeps it: what it loads is loaded once.
            tasks: Handed out one at a time.
            needs: What a worker needs.
            lost: What stands for a task that killed its worker every time.
            again: Called with a task whose worker died, before it is handed out again.

        Raises:
            ResourceError: No machine has what is needed, or, without `lost`, a task killed its
                worker every time.
            Exception: What `work` raises; tasks that have not begun are dropped then.
        """


@contextmanager
def machines_of(engine: str, address: str | None = None) -> Iterator[Machines | None]:
    """Give the machines of an engine, None for ``local``; whatever was begun for them ends.

    Args:
        engine: One of `ENGINES`.
        address: Of a running cluster: ``auto``, HOST:PORT or ``ray://HOST:PORT``. None begins a
            Ray on this machine.

    Raises:
        UsageError: The engine is not installed, or the address is of no cluster.
        ResourceError: The cluster does not answer.
    """
    if engine == "local":
        if address is not None:
            found, fix = "--address goes with --engine ray", "give both"
            raise UsageError(Problem("E-USAGE", address, found, fix=fix))
        yield None
        return
    if find_spec("ray") is None:
        fix = 'pip install "medseg[scale]"'
        raise UsageError(Problem("E-PACKAGE", "ray", "is not installed", fix=fix))
    from medseg.stages.ray_cluster import cluster

    with cluster(address) as machines:
        yield machines


def device_of(asked: str, machines: Machines | None) -> str:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, here or where work goes.

    Raises:
        MedsegError: It is not there.
    """
    from medseg.engine.device import device_of as local_device  # torch, which takes seconds

    return machines.device(asked) if machines else local_device(asked)


def needs_of(device: str, images: Iterable[object] = ()) -> Needs:
    """Return what a worker with a network needs.

    Args:
        device: Where it computes.
        images: What it reads: paths, scans and series; the largest one counts.
    """
    largest = max(map(_file_bytes, images), default=0)
    gpus = int(device.startswith("cuda"))
    return Needs(cpus=2, gpus=gpus, memory_bytes=2 * _GIB + _TIMES_THE_FILE * largest)


def paths_of(images: Iterable[object]) -> list[Path]:
    """Return the folders and files that images are read from, a folder for those of a scan."""
    found: dict[Path, None] = {}
    for image in images:
        if isinstance(image, Scan | Series):
            found |= dict.fromkeys(path.parent for path in image.files)
        elif isinstance(image, Path):
            found[image] = None
    return list(found)


def _file_bytes(image: object) -> int:
    if isinstance(image, Scan | Series):
        files = list(image.files)
    elif isinstance(image, Path):
        files = [image] if image.is_file() else list(image.rglob("*"))
    else:
        files = []
    return sum(path.stat().st_size for path in files if path.is_file())
