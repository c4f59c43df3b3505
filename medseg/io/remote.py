"""Object stores: addresses such as ``s3://bucket/folder``, and calls that end in a clear line.

fsspec and what it needs for a store are imported when an address is used. Credentials come from
where each store's own tools look for them, the environment or their files, never from an address.
What a store's library says of a fault may hold anything and is not passed on: only what kind of
fault it was.
"""

import errno
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from medseg.errors import MedsegError, Problem, ResourceError, UnsafeError, UsageError

T = TypeVar("T")

# What knows each, and whether it replaces a file only where that is as it was told: see `create`.
PACKAGES: Mapping[str, str] = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
}
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
_PAUSES_S = (0.5, 2.0)
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG}
_ASKED_WRONGLY = (PermissionError, FileNotFoundError, FileExistsError, IsADirectoryError)

_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A folder or file of an object store.

    Attributes:
        protocol: Such as ``s3``.
        path: The bucket and what is below it, without a slash at the end.
    """

    protocol: str
    path: str

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}"

    def below(self, name: str) -> "Place":
        """Return a file or folder in this one; itself for an empty name."""
        return Place(self.protocol, f"{self.path}/{name}") if name else self

    @property
    def system(self) -> Any:  # noqa: ANN401 - fsspec has no types
        """The file system that it lies in."""
        return _system(self.protocol)


class Remote(NamedTuple):
    """What is known of a file without reading it.

    Attributes:
        size: In bytes.
        mark: A text that is another one when the content is.
    """

    size: int
    mark: str


def is_remote(text: str) -> bool:
    """Whether a text is an address rather than a path.

    >>> is_remote("s3://bucket/runs"), is_remote("runs/s3"), is_remote("models:/uwmgi@best")
    (True, False, False)
    """
    return _ADDRESS.fullmatch(text) is not None


def place_of(text: str) -> Place:
    """Return the place that an address names.

    Raises:
        UsageError: It names no object store, or holds a login.
    """
    found = _ADDRESS.fullmatch(text)
    protocol, path = found.groups() if found else ("", "")
    path = path.rstrip("/")
    if "@" in path.partition("/")[0]:
        # Nothing of it is told: it would be told in logs and run folders too.
        problem = "an address with a login in it", "one without", "use the store's environment"
        raise UsageError(Problem("E-REMOTE", f"{protocol}://…", *problem))
    if protocol not in PACKAGES:
        known = ", ".join(f"{name}://" for name in PACKAGES)
        raise UsageError(Problem("E-REMOTE", f"{protocol}://", "is no known object store", known))
    if not path or any(part in ("", ".", "..") for part in path.split("/")):
        expected = f"{protocol}://BUCKET/FOLDER"
        raise UsageError(Problem("E-REMOTE", f"{protocol}://{path}", "is no folder", expected))
    return Place(protocol, path)


def files_of(place: Place) -> dict[str, Remote]:
    """Return all files below a place by their names from there; a file's own name is empty.

    Raises:
        UnsafeError: A name leads elsewhere (E-REMOTE-NAME).
    """

    def found() -> dict[str, Any]:
        place.system.invalidate_cache()
        rows: dict[str, Any] = place.system.find(place.path, detail=True)
        return rows

    rows = called(place, found)
    return {
        safe(name[len(place.path) + 1 :], place): _told(facts)
        for name, facts in rows.items()
        if not name.endswith("/")  # what consoles leave for an empty folder
    }


def safe(name: str, place: Place) -> str:
    """Return a name that a store told, which is to become one of the disk.

    Raises:
        UnsafeError: It leads elsewhere, or no file can have it.
    """
    parts = name.split("/")
    if name and (any(p in ("", ".", "..") for p in parts) or re.search(r"[\\:\0]", name)):
        found, fix = f"holds a file called {name!r}", "give it another name in the store"
        raise UnsafeError(Problem("E-REMOTE-NAME", str(place), found, "a plain name", fix))
    return name


def known(place: Place) -> Remote:
    """Return what is known of a file."""

    def asked() -> Remote:
        place.system.invalidate_cache()
        return _told(place.system.info(place.path))

    return called(place, asked)


def create(place: Place, content: bytes) -> bool:
    """Write a file where there is none, in one step; False where there is one.

    Raises:
        ResourceError: The store writes all the same (E-REMOTE): nothing can be locked there.
    """

    def written() -> bool:
        try:
            place.system.pipe_file(place.path, content, mode="create")
        except FileExistsError:
            return False
        return True

    if not called(place, written):
        return False
    if called(place, written):
        remove(place)
        found, fix = "replaces files that it was told to keep", "use another store, or a disk"
        raise ResourceError(Problem("E-REMOTE", str(place), found, "conditional writes", fix))
    return True


def replaced(place: Place, content: bytes, mark: str) -> bool:
    """Replace a file, in one step, if it still has a mark; False where it has not, or nobody knows.

    Only S3 is asked: elsewhere it is False.
    """
    bucket, _, key = place.path.partition("/")

    def written() -> bool:
        asked = {"Bucket": bucket, "Key": key, "Body": content, "IfMatch": mark}
        try:
            place.system.call_s3("put_object", **asked)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True

    return PACKAGES[place.protocol] == "s3fs" and called(place, written)


def remove(place: Place) -> None:
    """Remove a file; one that is gone is as good."""

    def removed() -> None:
        with suppress(FileNotFoundError):
            place.system.rm_file(place.path)

    called(place, removed)


def read(place: Place) -> bytes:
    """Return what a file holds."""
    content: bytes = called(place, place.system.cat_file, place.path)
    return content


def called(place: Place, call: Callable[..., T], *words: object) -> T:
    """Return what a call of a store's file system returns; a hiccup is waited for, twice.

    Raises:
        OSError: The disk of this machine is full, or cannot be written.
        UsageError: There is no such bucket or file.
        ResourceError: The store cannot be reached, or refuses.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            return call(*words)
        except MedsegError:
            raise
        except Exception as error:
            if getattr(error, "errno", None) in _OF_THE_DISK:
                raise
            if pause_s is None or _is_final(error):
                raise _explained(place, error) from error
            _log.info("%s: %s; it is tried again", place, type(error).__name__)
            time.sleep(pause_s)
    raise AssertionError  # the last attempt has no pause


@cache
def _system(protocol: str) -> Any:  # noqa: ANN401 - fsspec has no types
    package = PACKAGES[protocol]
    try:
        import_module(package)
        import fsspec

        # Listings are asked for anew: others write there, too.
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        return fsspec.filesystem(protocol, **options)
    except ImportError as error:
        extra = "medseg[scale]" if package == "s3fs" else package
        fix = f"pip install '{extra}'"
        found = f"needs the package {package}, which is not installed"
        raise UsageError(Problem("E-REMOTE", f"{protocol}://", found, fix=fix)) from error


def _told(facts: Mapping[str, Any]) -> Remote:
    marks = (facts.get(name) for name in ("ETag", "etag", "md5Hash", "mtime"))
    return Remote(int(facts["size"]), str(next(filter(None, marks), "")))


def _is_final(error: Exception) -> bool:
    return isinstance(error, _ASKED_WRONGLY) or "Credential" in type(error).__name__


def _explained(place: Place, error: Exception) -> MedsegError:
    """Return the error with a kind and no word of a library's, which may quote what it was sent."""
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        found, fix = "there is no such bucket, folder or file", "check the name"
        return UsageError(Problem("E-REMOTE", str(place), found, fix=fix))
    if "Credential" in name or "Token" in name:
        found, fix = "no usable credentials were found", "set them as the store's own tools need it"
    elif isinstance(error, PermissionError):
        found, fix = "access was denied", "check the credentials, and what they allow"
    elif isinstance(error, ConnectionError | TimeoutError) or re.search("Connect|Timeout", name):
        found, fix = "the store does not answer", "check its address and the network, and try again"
    else:
        reason = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
        found = f"the store failed ({' '.join((name, reason)).strip()})"
        fix = "try again, and look into the store's own log"
    return ResourceError(Problem("E-REMOTE", str(place), found, fix=fix))
