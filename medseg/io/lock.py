"""Locks: of all processes that would write into a folder, one may.

The lock is a file, ``medseg.lock`` in the folder, made in one step together with what it says: who
holds it, on which machine, and since when. It goes when the work ends. One that a killed process
left is taken over without a word, which this machine can judge for its own processes only: a lock
from another machine, or from another container, is refused until somebody removes it, unless a
scheduler has started the same job again: Slurm, torchrun, or whoever sets ``MEDSEG_JOB``.

No lock is renewed while the work goes on. A process that stands still, for its machine sleeps or
its disk does not answer, would lose such a lock, and wake up beside the next one.
"""

import fcntl
import hashlib
import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from medseg.errors import Problem, ResourceError
from medseg.io.atomic import alive, beside, disk_problem, remove_orphans, sync_folder

LOCK = "medseg.lock"

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MACHINE = Path("/etc/machine-id")
_CONTAINER = Path("/proc/self/ns/pid")
_PROCESSES = Path("/proc")
_DEAD = "dead"

# Where a file is another one whenever it is looked at, nobody may wait for ever.
_LOOKS = 100

_log = logging.getLogger(__name__)

Holder = dict[str, Any]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep all others from writing into a folder, which is made where there is none.

    Raises:
        ResourceError: Somebody else is at work there (E-LOCKED), or nothing can be written there.
    """
    own = holder()
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _take(folder / LOCK, own)
    except OSError as error:
        raise ResourceError(disk_problem(folder / LOCK, error)) from error
    try:
        yield
    finally:
        _release(folder / LOCK, own)
        if made:
            with suppress(OSError):  # it holds something, as it should
                folder.rmdir()


def holder() -> Holder:
    """Return what a lock of this process says, different each time."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "process": _began(os.getpid()),
        "machine": _machine(),
        "boot": _text(_BOOT),
        "container": _container(),
        **_job(),
        "token": uuid.uuid4().hex,
    }


def _job() -> Holder:
    """Return which start of which job this is; empty where no scheduler says so.

    A scheduler starts a job again only when its start before has ended, wherever that was; torchrun
    has one rank 0 at a time, which may move to another machine.
    """
    name, elastic = os.environ.get("MEDSEG_JOB", ""), os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if name or elastic != "none":
        start = f"{_machine()} {_text(_BOOT)} {_container()}"
        return {"job": name or f"torchrun {elastic}", "start": start}
    name = os.environ.get("SLURM_JOB_ID", "")
    return {"job": name and f"slurm {name}", "start": os.environ.get("SLURM_RESTART_COUNT", "0")}


def _container() -> str:
    return str(_CONTAINER.readlink()) if _CONTAINER.exists() else ""


def refused(path: str, held: Holder, *, fix: str) -> ResourceError:
    """Return the error that somebody else holds the lock at `path`."""
    folder = path.rpartition("/")[0] or path
    who = f"process {held.get('pid', 'unknown')} on {held.get('host', 'an unknown machine')}"
    found = f"{who} has been at work there since {held.get('since', 'an unknown time')}"
    return ResourceError(Problem("E-LOCKED", folder, found, fix=fix))


def _take(path: Path, own: Holder) -> None:
    remove_orphans(path.parent, path.name)
    temporary = beside(path)
    try:
        with temporary.open("wb") as stream:
            stream.write((json.dumps(own) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())
        # Neither: it went between the two looks.
        tries = (_made(temporary, path) or _taken_over(temporary, path, own) for _ in range(_LOOKS))
        if not any(tries):
            raise refused(str(path), {}, fix=f"try again; if nobody is, remove {path}")
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _made(temporary: Path, path: Path) -> bool:
    """Whether there was no lock, and now there is the own one."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without links: a lock is there first, and says whose it is after that.
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(temporary.read_bytes())
            stream.flush()
            os.fsync(stream.fileno())
    return True


def _taken_over(temporary: Path, path: Path, own: Holder) -> bool:
    """Whether the lock was one that a dead process left, and is now the own one.

    Raises:
        ResourceError: It is somebody's (E-LOCKED).
    """
    try:
        stream = path.open("r+b" if os.access(path, os.W_OK) else "rb")
    except FileNotFoundError:
        return False
    with stream:
        # Two that find the same dead lock must not both replace it, the second one the first's.
        with suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        if not _is_still(path, stream.fileno()):
            return False
        held = said(stream.read())
        # Over a network the answer that a link was made may be lost, and the link is there.
        if held == own:
            return True
        require_dead(path, held, own)
        _log.debug("%s: taken over from process %s, which is dead", path, held["pid"])
        temporary.replace(path)
    return True


def require_dead(path: Path | str, held: Holder, own: Holder) -> None:
    """Refuse a lock unless the process that made it is known to be dead.

    Args:
        path: Where the lock is; an address in an object store is a text.
        held: What it says.
        own: What a lock of this process says.

    Raises:
        ResourceError: It is somebody's (E-LOCKED).
    """
    if own["job"] and held.get("job") == own["job"] and held.get("start") != own["start"]:
        return
    wait = "wait until it is done, or stop it"
    if held.get("machine") != own["machine"] or not isinstance(held.get("pid"), int):
        raise refused(str(path), held, fix=f"{wait}; if it is dead, remove {path}")
    if held["boot"] != own["boot"]:
        return
    if held["container"] != own["container"]:
        fix = f"{wait}; it is in another container, so if it is dead, remove {path}"
        raise refused(str(path), held, fix=fix)
    # When a process of somebody else began may be hidden.
    if alive(held["pid"]) and _began(held["pid"]) in ("", held["process"]):
        raise refused(str(path), held, fix=wait)


def _release(path: Path, own: Holder) -> None:
    """Remove the own lock; a forked process leaves its parent's alone."""
    with suppress(OSError):
        if os.getpid() == own["pid"] and said(path.read_bytes()) == own:
            path.unlink()


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def said(content: bytes) -> Holder:
    """Return what a lock says; nothing for one that its maker did not come to fill."""
    try:
        told = json.loads(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _began(pid: int) -> str:
    """Return when a process began, in ticks or seconds of its own machine; empty if nobody tells.

    Linux counts ticks since it was booted, which setting the clock does not change.
    """
    try:
        fields = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        try:
            process = psutil.Process(pid)
            return _DEAD if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
        except psutil.Error:
            return ""
    return _DEAD if fields[0] in "ZX" else fields[19]


def _machine() -> str:
    """Return what stands for this machine; hosts of one name are told apart where they can be."""
    told = f"{socket.gethostname()}\n{_text(_MACHINE)}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
