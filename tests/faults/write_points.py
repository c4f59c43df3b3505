"""Every place where a process writes to the disk, as points at which it can be ended.

Imported by processes that are made to die only. Nothing in medseg knows of it.
"""

import errno
import os
import signal
from pathlib import Path


class WritePoints:
    """Count what is written, and at one point end the process or let the disk be full.

    Attributes:
        passed: What each point was, such as ``replace last.pt``.
    """

    def __init__(self, *, kill_at=None, full_at=None):
        self.kill_at, self.full_at = kill_at, full_at
        self.passed = []

    def install(self):
        """Put a point before each call that changes what a name stands for, and in each write."""
        for name in ("fsync", "replace", "link"):
            setattr(os, name, self._before(name, getattr(os, name)))
        opened = Path.open

        def open_(path, mode="r", *args, **kwargs):
            stream = opened(path, mode, *args, **kwargs)
            return _Stream(stream, path.name, self) if "w" in mode and "b" in mode else stream

        Path.open = open_

    def tick(self, label):
        """Pass a point; True when the process is to die here."""
        self.passed.append(label)
        if len(self.passed) == self.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(self.passed) == self.kill_at

    def _before(self, name, real):
        def call(*args, **kwargs):
            target = Path(args[-1]).name if name != "fsync" else _name_of(args[0])
            if self.tick(f"{name} {_plain(target)}"):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call


class _Stream:
    """A file of which half a write arrives when the process dies in it."""

    def __init__(self, stream, name, points):
        self._stream, self._name, self._points = stream, _plain(name), points
        self._written = False

    def write(self, data):
        # An archive is written in many pieces: the first one is a point, and so is the last sync.
        if not self._written and self._points.tick(f"write {self._name}"):
            self._stream.write(memoryview(data)[: len(data) // 2])
            self._stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self._written = True
        return self._stream.write(data)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stream.close()


def _name_of(descriptor):
    link = Path(f"/proc/self/fd/{descriptor}")
    return link.readlink().name if link.exists() else "file"


def _plain(name):
    """Return a temporary file's name without its process."""
    return name.split("-", 2)[-1] if name.startswith(".tmp-") else name
