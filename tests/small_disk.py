"""A disk of a few MB that fills up: a real one, in memory, which only root can mount."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

PAGE = 4096


class SmallDisk:
    """A mounted disk; ``folder`` is where it is."""

    def __init__(self, folder):
        self.folder, self._ballast = folder, folder / "ballast"

    def leave(self, n_bytes):
        """Fill the disk until so many bytes are free, in whole pages."""
        self.empty()
        with self._ballast.open("wb") as stream:
            stream.truncate(0)
            free = os.statvfs(self.folder).f_bavail * PAGE
            os.posix_fallocate(stream.fileno(), 0, max(free - n_bytes, PAGE))

    def empty(self):
        """Remove what fills it."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder, *, mib):
    """Mount a disk on a new folder; skip the test where that is not allowed."""
    folder.mkdir()
    mount = shutil.which("mount")
    words = [mount, "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own can only be mounted by root on Linux")
    try:
        yield SmallDisk(folder)
    finally:
        # MLflow keeps its files open as long as the process is there.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
