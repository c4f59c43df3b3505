"""The store: each scan prepared once, kept as memory-mapped arrays.

An entry's name is its *key*: the hash of what the inputs contain, of the transforms and their
parameters, and of the versions of the store and of medseg. A changed input or parameter makes
another key, so an entry is never updated. It is written to a temporary folder, brought to the disk
and renamed: under its name an entry is whole or absent, and two processes may prepare one scan
without harm.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from medseg import __version__
from medseg.data.content import content_hash, describe
from medseg.data.entry import ENTRY, Prepared, arrays_of, read_entry, write_entry
from medseg.errors import DataError, Problem, ResourceError
from medseg.io.atomic import sync_folder
from medseg.io.remote_work import fetched_whole, send_whole

STORE_FORMAT = 2
_SPARE_BYTES = 16 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}

Item = Mapping[str, Any]
Transform = Callable[[Any], Any]
Progress = Callable[[int, int], None]
Attempted = Prepared | tuple[Problem, ...]
Spread = Callable[[Callable[[Item], Attempted], Sequence[Item]], Iterator[Attempted]]


class Store:
    """A folder of prepared scans, shared by all runs.

    Args:
        root: The folder; made when needed.
        verify: Whether to compare an entry's checksums before it is used. Without, its key, sizes
            and headers are looked at, which reads next to nothing.
    """

    def __init__(self, root: str | Path, *, verify: bool = False) -> None:
        self.root = Path(root)
        self.verify = verify
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def prepare(
        self,
        items: Sequence[Item],
        transform: Transform,
        *,
        workers: int = 1,
        progress: Progress | None = None,
        spread: Spread | None = None,
    ) -> list[Prepared]:
        """Return the items prepared, in their order; only what the store lacks is worked out.

        Args:
            items: MONAI items with ``scan_id``, ``case_id``, ``image`` and perhaps ``label``.
            transform: Turns an item into one with ``image`` ``(C, I, J, K)``, ``native`` and
                perhaps ``label`` ``(C, I, J, K)``.
            workers: Threads. Each holds one scan in memory at a time.
            progress: Called with the number of items done and of all.
            spread: A function like `map` that has items prepared elsewhere, in place of threads.

        Raises:
            DataError: Items are faulty. The sound ones are prepared, and the faults of all others
                are told together.
            ResourceError: The disk is full, or the folder cannot be written.
        """
        self._open()
        recipe = describe(transform)
        attempt = partial(self._attempt, transform=transform, recipe=recipe)
        found: list[Prepared] = []
        faults: list[Problem] = []
        with nullcontext(spread) if spread else _threads(workers) as mapped:
            for done, result in enumerate(mapped(attempt, items), 1):
                if isinstance(result, Prepared):
                    found.append(result)
                else:
                    faults += result
                if progress:
                    progress(done, len(items))
        if faults:
            raise DataError(*faults)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the locks behind: they are for the threads of one process."""
        return partial(Store, self.root, verify=self.verify), ()

    def _attempt(self, item: Item, *, transform: Transform, recipe: object) -> Attempted:
        """Return the item prepared, or what is wrong with it.

        An exception would not do: its traceback keeps the arrays of the failed scan alive.
        """
        try:
            return self._prepared(item, transform, recipe)
        except DataError as error:
            return error.problems

    def _prepared(self, item: Item, transform: Transform, recipe: object) -> Prepared:
        with _disk_faults(self.root):
            content = content_hash(item, self.root / "index")
        made_of = json.dumps([STORE_FORMAT, __version__, content, recipe], sort_keys=True)
        key = hashlib.sha256(made_of.encode()).hexdigest()[:32]
        # The same scan may be listed twice; the second waits and finds it done.
        with self._locks[key]:
            prepared = self._entry(key, item) or self._fetched(key, item)
            if prepared is None:
                self._write(key, item, transform(dict(item)))
                send_whole(self.root / key, last=ENTRY)
                prepared = self._entry(key, item)
        if prepared is None:
            raise ResourceError(
                Problem(
                    "E-IO", str(self.root / key), "does not read back as written", "", "try again"
                )
            )
        return prepared

    def _entry(self, key: str, item: Item) -> Prepared | None:
        scan_id, case_id = str(item["scan_id"]), str(item["case_id"])
        return read_entry(
            self.root / key, key, scan_id=scan_id, case_id=case_id, checksum=self.verify
        )

    def _fetched(self, key: str, item: Item) -> Prepared | None:
        """Return an entry that another machine has made, where the store is an object store's."""
        temporary = self.root / f"{_mark(os.getpid())}{uuid.uuid4().hex}"
        with _disk_faults(self.root):
            try:
                if not fetched_whole(self.root / key, temporary, last=ENTRY):
                    return None
                self._publish(temporary, key, item)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return self._entry(key, item)

    def _write(self, key: str, item: Item, prepared: Item) -> None:
        arrays = arrays_of(prepared, subject=str(item["scan_id"]))
        _require_room(self.root, arrays.bytes + _SPARE_BYTES)
        temporary = self.root / f"{_mark(os.getpid())}{uuid.uuid4().hex}"
        with _disk_faults(self.root):
            try:
                write_entry(temporary, key, prepared, arrays)
                self._publish(temporary, key, item)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path, key: str, item: Item) -> None:
        """Give a finished folder its name, in place of a broken entry or none."""
        final = self.root / key
        try:
            temporary.rename(final)
        except OSError:
            # Another process was faster, which is as good; or a broken entry is in the way.
            if self._entry(key, item) is not None:
                return
            broken = temporary.with_name(f"{temporary.name}-broken")
            final.rename(broken)
            temporary.rename(final)
            shutil.rmtree(broken, ignore_errors=True)
        sync_folder(self.root)

    def _open(self) -> None:
        """Make the folder, and remove what killed processes left half-written."""
        with _disk_faults(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            for left in self.root.glob(f"{_mark()}*"):
                pid = left.name.removeprefix(_mark()).split("-")[0]
                if not (pid.isdigit() and psutil.pid_exists(int(pid))):
                    shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _threads(workers: int) -> Iterator[Spread]:
    """Give a function like `map` over threads; those that have not begun end with the block."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _mark(pid: int | None = None) -> str:
    """Return how the names of this machine's temporary folders begin.

    A process number means nothing on another machine that shares the disk, hence its name.
    """
    host = "".join(c for c in socket.gethostname() if c.isalnum())
    return f".tmp-{host}-" if pid is None else f".tmp-{host}-{pid}-"


def _require_room(folder: Path, needed: int) -> None:
    available = shutil.disk_usage(folder).free
    if available < needed:
        raise ResourceError(_no_room(folder, f"{_mib(needed)} needed, {_mib(available)} available"))


@contextmanager
def _disk_faults(folder: Path) -> Iterator[None]:
    """Turn faults of the disk into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            available = shutil.disk_usage(folder).free
            problem = _no_room(folder, f"the disk is full, {_mib(available)} available")
        else:
            reason = error.strerror or str(error)
            problem = Problem("E-IO", str(folder), reason, "a folder that can be written")
        raise ResourceError(problem) from error


def _no_room(folder: Path, found: str) -> Problem:
    fix = "free some space, or put the store on another disk"
    return Problem("E-DISK", str(folder), found, "room for a prepared scan", fix)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
