"""Which files of a folder are DICOM, told by their first bytes; nothing is decoded.

Folders from scanners and discs hold other files as well: viewers, texts, ``DICOMDIR``, hidden
files. Those are passed over and counted. A file that could be a slice and is none is never passed
over: a lost slice stretches the volume. Links are not followed, and neither is what a ``DICOMDIR``
refers to, so that nothing outside the folder is opened.
"""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from medseg.errors import DataError, Problem

COPY_AGAIN = "copy the file again from its source"

_HEAD_BYTES = 512
_OWN_SUFFIXES = {"", ".dcm", ".dic", ".dicom", ".ima"}
# The first group of a data set without preamble, in either byte order: 0002 or 0008.
_FIRST_GROUPS = {b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"}


class Held(io.BufferedReader):
    """A file of which no more is asked than it holds.

    A header may claim elements of 4 GiB, and Python reserves what is asked for before it reads.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, or all that is left."""
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)


class Listing(NamedTuple):
    """The files of a folder that are DICOM, what is wrong with others, and how many are neither.

    Attributes:
        files: Sorted by path.
        problems: A file each that should be DICOM and is not, or cannot be read.
        n_foreign: Files of other kinds, hidden files and folders.
        n_links: Links, which are not followed.
    """

    files: list[Path]
    problems: list[Problem]
    n_foreign: int = 0
    n_links: int = 0


def list_dicom(source: Path) -> Listing:
    """Return the DICOM files of a folder and of all folders in it, or the one file given.

    Problems carry E-IO for what cannot be opened, and E-DCM-TRUNC for an empty file, one without
    file meta information, and one named like DICOM that is none.
    """
    if not source.is_dir():
        return _listing_of_file(source)
    listing = Listing([], [])
    n_foreign = n_links = 0
    for path in _walk(source, listing.problems):
        try:
            mode = path.lstat().st_mode
        except OSError as error:
            listing.problems.append(_unreadable(path, error))
            continue
        if stat.S_ISLNK(mode):
            n_links += 1
        elif _is_hidden(path) or not stat.S_ISREG(mode):
            n_foreign += 1
        else:
            n_foreign += _sorted_into(listing, path)
    listing.files.sort()
    return listing._replace(n_foreign=n_foreign, n_links=n_links)


def _listing_of_file(path: Path) -> Listing:
    listing = Listing([], [])
    if _sorted_into(listing, path):
        raise DataError(Problem("E-FORMAT", str(path), "is not DICOM", "a DICOM file or folder"))
    return listing


def _walk(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield every file, every link, and every hidden folder, which is not entered."""

    def tell(error: OSError) -> None:
        problems.append(_unreadable(Path(str(error.filename)), error))

    for root, folders, names in os.walk(folder, onerror=tell):
        entered = []
        for name in sorted(folders):
            path = Path(root, name)
            if path.is_symlink() or _is_hidden(path):
                yield path
            else:
                entered.append(name)
        folders[:] = entered
        yield from (Path(root, name) for name in sorted(names))


def _sorted_into(listing: Listing, path: Path) -> bool:
    """Put a file among the DICOM files or the problems; return whether it is of another kind."""
    try:
        head = _head(path)
    except OSError as error:
        listing.problems.append(_unreadable(path, error))
        return False
    if _is_directory(path):
        return True
    if _has_magic(head):
        listing.files.append(path)
        return False
    found = _fault(path, head)
    if found:
        expected = "a DICOM file with preamble and file meta information"
        listing.problems.append(Problem("E-DCM-TRUNC", str(path), found, expected, COPY_AGAIN))
    return not found


def _fault(path: Path, head: bytes) -> str:
    """Return what is wrong with a file that could be a slice; nothing if it is something else."""
    if _is_bare(head):
        return "has no file meta information"
    suffix = path.suffix.lower()
    if suffix not in _OWN_SUFFIXES and not suffix[1:].isdigit():
        return ""
    if not head:
        return "is empty"
    is_text = b"\0" not in head and not suffix
    return "" if is_text else f"is not DICOM: its first {len(head)} bytes hold no DICM"


def _is_bare(head: bytes) -> bool:
    """Return whether bytes begin as a data set: an element of the first groups, low length."""
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    implicit = len(head) >= 8 and head[6:8] == b"\0\0"
    return head[:2] in _FIRST_GROUPS and (explicit or implicit)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def _has_magic(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _is_directory(path: Path) -> bool:
    return path.name.upper().startswith("DICOMDIR")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _unreadable(path: Path, error: OSError) -> Problem:
    reason = error.strerror or str(error)
    return Problem("E-IO", str(path), reason, "a file that can be read", "check its rights")
