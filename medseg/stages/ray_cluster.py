"""A Ray cluster as the machines of a command: one that runs already, or one begun on this machine.

A Ray that medseg begins listens on 127.0.0.1 alone, asks for a token that nobody else knows, has no
dashboard and ends with the command. Ray's own lines stay in its log files, and its usage statistics
are off.
"""

import logging
import os
import platform
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp
from typing import Any, TypeVar

from medseg import __version__
from medseg.errors import DataError, Problem, ResourceError, UsageError
from medseg.stages.engines import ONE_CORE, Needs
from medseg.stages.ray_address import require_answer, settings
from medseg.stages.workers import cores

T = TypeVar("T")
R = TypeVar("R")

# Items and results are small; volumes go over the disk.
_OBJECT_STORE_BYTES = 128 << 20
_LOOK_S = 60.0


@contextmanager
def cluster(address: str | None) -> Iterator["Cluster"]:
    """Give a cluster, and leave it at the end; one that was begun here ends then.

    A Ray that this process is connected to already is used as it is.

    Args:
        address: ``auto``, HOST:PORT or ``ray://HOST:PORT`` of a running cluster; None begins a Ray
            on this machine.

    Raises:
        UsageError: The address is none, or the cluster has another version or token.
        ResourceError: It does not answer.
    """
    # Read by Ray when it is imported, and by what it begins.
    with ExitStack() as kept:
        kept.enter_context(settings(address))
        import ray

        if ray.is_initialized():
            yield Cluster(own=False)
            return
        kept.enter_context(_quiet())
        _read_settings_again(own=address is None)
        if address is None:
            # Ray opens its folder to everyone; the one around it stays closed.
            folder = mkdtemp(prefix="medseg-", dir=_short())
            kept.callback(shutil.rmtree, folder, ignore_errors=True)
            own: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False}
            own |= {"object_store_memory": _OBJECT_STORE_BYTES, "_temp_dir": f"{folder}/ray"}
            _connect({"address": "local", **own})
        else:
            require_answer(address)
            _connect({"address": address})
        kept.callback(ray.shutdown)
        yield Cluster(own=address is None)


class Cluster:
    """The machines of a cluster; see `medseg.stages.engines.Machines`.

    Args:
        own: Whether it is this machine alone, begun for this process.
    """

    def __init__(self, *, own: bool) -> None:
        self.own = own

    def device(self, asked: str) -> str:
        """Return ``cuda`` where a machine has one and it is not refused, else ``cpu``."""
        import ray

        if ":" in asked:
            found, fix = "on a cluster Ray says which device is free", "give --device cuda"
            raise UsageError(Problem("E-DEVICE", asked, found, fix=fix))
        there = ray.cluster_resources().get("GPU", 0) > 0
        if asked == "cuda" and not there:
            found, fix = "no machine of the cluster has a CUDA device", "use --device auto"
            raise ResourceError(Problem("E-DEVICE", asked, found, fix=fix))
        return "cuda" if there and asked != "cpu" else "cpu"

    def require(self, read: Iterable[Path], *, written: Path | None = None) -> None:
        """Make sure that each machine reads what is read here, and writes where is written here.

        Raises:
            DataError: E-PATH, a path is not there; every machine and path is told.
            UsageError: A machine has another medseg, or none.
        """
        if self.own:
            return
        paths = {str(path.resolve()): str(path.resolve()) for path in read}
        with ExitStack() as kept:
            if written:
                written.mkdir(parents=True, exist_ok=True)
                # A folder of the same name on another disk does not have this one.
                here = written.resolve()
                mark = kept.enter_context(NamedTemporaryFile(dir=here, prefix=".medseg-"))
                paths[mark.name] = str(here)
            told = list(_looks(list(paths)))
        faults = [row for node, seen in told for row in _unlike(node, seen)]
        if faults:
            raise UsageError(*faults)
        missing = [(node, path) for node, seen in told for path in seen.missing]
        fix = "put it on a disk that all machines share, under one path"
        told_of = [
            Problem("E-PATH", paths[path], f"is not seen on {node}", fix=fix)
            for node, path in missing
        ]
        if told_of:
            raise DataError(*told_of)

    def spread(
        self,
        work: Callable[[T], R],
        tasks: Sequence[T],
        *,
        needs: Needs = ONE_CORE,
        lost: Callable[[T, Problem], R] | None = None,
        again: Callable[[T], None] | None = None,
    ) -> Iterator[R]:
        """Yield what `work` makes of each task; see `medseg.stages.engines.Machines`."""
        from medseg.stages.ray_pool import spread

        return spread(work, tasks, needs=needs, lost=lost, again=again)


def _read_settings_again(*, own: bool) -> None:
    """Make Ray read anew what it reads once, for a process may go to two clusters.

    That is its token, and whether it is for one machine, on whose own address it then listens.
    """
    from ray import _raylet
    from ray._private import ray_constants

    constants: Any = ray_constants
    if own or sys.platform == "linux":  # elsewhere Ray joins others only where it is told to
        constants.ENABLE_RAY_CLUSTER = not own
    inside: Any = _raylet  # its types do not tell of these
    inside.AuthenticationTokenLoader.instance().reset_cache()
    inside.Config.initialize("")


def _connect(how: Mapping[str, Any]) -> None:
    import ray

    options = {"log_to_driver": False, "configure_logging": False, **how}
    try:
        with _signals_kept(), _no_stderr():
            ray.init(**options)
    except RuntimeError as error:
        if "Version mismatch" not in str(error):
            raise
        found = " ".join(str(error).partition(":")[2].split())
        fix = "use the cluster's versions here, or start it with these"
        raise UsageError(Problem("E-RAY-VERSION", how["address"], found, fix=fix)) from error
    except (ConnectionError, ValueError, ImportError) as error:
        found = " ".join(str(error).split())
        fix = "give --address HOST:PORT, or leave it out for a Ray on this machine"
        raise ResourceError(Problem("E-RAY-ADDRESS", how["address"], found, fix=fix)) from error


def _looks(paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield what each machine with cores says of paths and versions, by the machine's name."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from medseg.stages.ray_worker import look

    asked = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(look).options(num_cpus=0, scheduling_strategy=there)
            name = f"{node['NodeManagerHostname']} ({node['NodeName']})"
            asked[task.remote(list(paths))] = name
    for reference, name in asked.items():
        try:
            yield name, ray.get(reference, timeout=_LOOK_S)
        except RayError as error:
            found = f"a worker fails there: {str(error).strip().splitlines()[-1]}"
            fix = "install medseg[scale] there as it is here"
            raise UsageError(Problem("E-RAY-WORKER", name, found, fix=fix)) from error


def _unlike(node: str, seen: Any) -> Iterator[Problem]:  # noqa: ANN401 - a Seen; Ray is not loaded
    here = {"medseg": __version__, "Python": platform.python_version()}
    there = {"medseg": seen.medseg, "Python": seen.python}
    for name, version in here.items():
        if there[name] != version:
            found, fix = f"has {name} {there[name]}", "install the same versions everywhere"
            yield Problem("E-RAY-VERSION", node, found, version, fix)


def _short() -> str | None:
    """Return a folder for Ray's sockets, whose paths may have 107 characters."""
    return "/tmp" if Path("/tmp").is_dir() else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray would print of its own off the terminal, and out of ``--json``."""
    from ray._private import worker

    # What machines report, such as a worker that was killed, is told here in medseg's own words.
    printing, worker.print_to_stdstream = worker.print_to_stdstream, _nothing
    level = logging.getLogger("ray").level
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        worker.print_to_stdstream = printing
        logging.getLogger("ray").setLevel(level)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Leave out what Ray's libraries write to stderr while they begin; faults are raised, too."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _nothing(*_: object, **__: object) -> None:
    """Print nothing."""


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give SIGTERM back to whom it belongs to: Ray takes it when it begins."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
