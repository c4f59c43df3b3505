"""Other ways to write than in place of a file: once, by whoever is first, and line after line."""

import os
from contextlib import suppress
from pathlib import Path

from medseg.errors import ResourceError
from medseg.io.atomic import beside, disk_problem, remove_orphans, sync_folder


def write_once(path: Path, content: bytes, *, mode: int = 0o666) -> bool:
    """Make a file that is not there; False where there is one, which stays as it is.

    Of several processes one is the first, and nobody sees less than all of its file.

    Args:
        path: The file to make; missing folders are made.
        content: What it holds.
        mode: Who may read and write it, of those that the user's mask allows.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(path.parent, path.name)
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if not _named(temporary, path):
            return False
        sync_folder(path.parent)
    except OSError as error:
        raise ResourceError(disk_problem(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return True


def append_line(path: Path, line: str) -> None:
    """Add a line to a file and bring it to the disk; where that fails, the file is as before.

    What a killed process left of a line goes first.

    Args:
        path: The file; made with its folders where there is none.
        line: Text without a line feed.

    Raises:
        ResourceError: The disk is full, or the file cannot be written.
    """
    content = f"{line}\n".encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as stream:
            end = _end_of_lines(path)
            stream.truncate(end)
            try:
                while content:  # a disk that fills up takes a part, and refuses the next one
                    content = content[stream.write(content) :]
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(end)
                raise
    except OSError as error:
        raise ResourceError(disk_problem(path, error)) from error


def _named(temporary: Path, path: Path) -> bool:
    """Give a file its name unless that is taken; False where it is."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links has no such step; two may come at once there
        if path.exists():
            return False
        temporary.replace(path)
    return True


def _end_of_lines(path: Path) -> int:
    """Return where the last whole line of a file ends."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - 1))
        if stream.read(1) == b"\n":
            return size
        stream.seek(0)
        return stream.read().rfind(b"\n") + 1
