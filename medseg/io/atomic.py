"""Writing a file so that its name only ever stands for a whole, checked file.

The bytes go to a temporary file in the same folder, are brought to the disk, read back by
`verify`, and only then take the final name. A failure leaves the old file as it was and no
temporary one; what a killed process left is removed by the next write to the same name.
"""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medseg.errors import Problem, ResourceError

_FOLLOWERS: list[Callable[[Path], object]] = []
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path, *, verify: Callable[[Path], object] | None = None) -> Iterator[BinaryIO]:
    """Open a stream whose bytes become the file `path` when the block ends without an error.

    Args:
        path: The file to make or replace; missing folders are made.
        verify: Called with the temporary file, whose name ends as `path` does; it raises when
            what lies on the disk is not what was meant.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(path.parent, path.name)
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if verify is not None:
            verify(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
        _tell(path)
    except OSError as error:
        raise ResourceError(disk_problem(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def also_called(source: Path, path: Path) -> None:
    """Make `path` another name of the file `source`, in place of what it was a name of.

    Where the file system has no links, `path` becomes a copy.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    temporary = beside(path)
    remove_orphans(path.parent, path.name)
    try:
        os.link(source, temporary)
        temporary.replace(path)
    except OSError:
        with replacing(path) as stream, source.open("rb") as file:
            shutil.copyfileobj(file, stream)
    finally:
        # Two names of one file cannot replace each other: then both are still there.
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    _tell(path)


@contextmanager
def followed(follower: Callable[[Path], object]) -> Iterator[None]:
    """Call `follower` with each file that becomes whole within the block, in any thread.

    What it raises reaches whoever wrote the file, which is there all the same.
    """
    _FOLLOWERS.append(follower)
    try:
        yield
    finally:
        _FOLLOWERS.remove(follower)


def _tell(path: Path) -> None:
    for follower in tuple(_FOLLOWERS):
        follower(path)


def beside(path: Path) -> Path:
    """Return where this process writes what is to become `path`."""
    return path.with_name(f".tmp-{os.getpid()}@{_host()}-{path.name}")


def disk_problem(path: Path, error: OSError) -> Problem:
    """Return what the system said of a file that cannot be written, and what to do."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return Problem("E-DISK", str(path), reason, "room to write", "free some space")
    return Problem("E-IO", str(path), reason, "a folder that can be written", "check its rights")


def remove_orphans(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files that processes no longer alive left for a name, or for any.

    Those of another machine that shares the disk stay: nobody here knows whether they live.
    """
    for orphan in folder.glob(f".tmp-*@{_host()}-*"):
        owner, meant = orphan.name.removeprefix(".tmp-").split("-", 1)
        pid = owner.partition("@")[0]
        if name in (None, meant) and pid.isdigit() and not alive(int(pid)):
            orphan.unlink(missing_ok=True)


def _host() -> str:
    return "".join(c for c in socket.gethostname() if c.isalnum())


def alive(pid: int) -> bool:
    """Whether this machine has a process of that number, whose ever it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk; a new name is there only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
