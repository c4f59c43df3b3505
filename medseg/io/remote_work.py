"""Work on folders of an object store, through their copies.

Inputs are fetched: `local_copy`. Where results go is a *working folder*, whose files are sent as
they become whole, one after the other as they were written: wherever the process is killed, the
store holds what the disk held at some moment, and what goes on after a kill on a disk goes on from
there too. To begin and to end such work is `owned`, which everything that works on a run or a
folder of predictions goes through; of a folder of the disk it only takes the lock.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from medseg.errors import MedsegError
from medseg.io.atomic import followed
from medseg.io.lock import LOCK, Holder, holder, locked, refused, require_dead, said
from medseg.io.remote import (
    Place,
    called,
    create,
    files_of,
    known,
    place_of,
    read,
    remove,
    replaced,
)
from medseg.io.remote_copy import Copy

# The working folders of this process by where their copies lie.
_WORKING: dict[Path, Copy] = {}


def local_copy(address: str) -> Path:
    """Return a copy of a folder or file of an object store, as it is there now.

    Raises:
        UsageError: It is no address, or there is nothing at it.
        ResourceError: The store cannot be reached.
    """
    place = place_of(address)
    found = files_of(place)
    if not found:
        called(place, _nothing)
    if set(found) != {""}:
        copy = Copy(place, use="inputs")
        copy.fetch()
        return copy.root
    above, _, name = place.path.rpartition("/")
    copy = Copy(Place(place.protocol, above), use="inputs")
    copy.fetch(name)
    return copy.root / name


def working_folder(address: str, *, fetched: bool = False) -> Path:
    """Return the folder in which to work on what is to lie at an address.

    Args:
        address: Of a folder, which need not be there.
        fetched: Fetch all that is there; else what is needed is fetched by `brought`.
    """
    copy = Copy(place_of(address), use="predictions" if fetched else "runs")
    if fetched:
        copy.fetch()
    else:
        files_of(copy.place.below(LOCK))  # a store that does not answer is told of now
    _WORKING[copy.root] = copy
    return copy.root


def address_of(path: Path) -> str:
    """Return the address of a path in a working folder; any other path as it is."""
    copy = _copy_of(path)
    return str(copy.place.below(copy.name_of(path)) if copy else path)


def brought(folder: Path, *, pattern: str = "") -> Path:
    """Return a folder; in a working folder it is made what the store holds there.

    Args:
        folder: Any.
        pattern: Bring only files of such names, from the folder on, whoever is at work there.

    Raises:
        ResourceError: Another process of this machine is at work there (E-LOCKED).
    """
    if copy := _copy_of(folder):
        with nullcontext() if pattern else locked(folder):
            copy.fetch(copy.name_of(folder), pattern=pattern)
    return folder


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Keep all others from writing into a folder; in a working folder, send what is written.

    Raises:
        ResourceError: Somebody else is at work there (E-LOCKED), or has been since it was read
            (E-REMOTE); or nothing can be written.
    """
    copy = _copy_of(folder)
    with locked(folder):
        if copy is None:
            yield
            return
        with _locked_there(copy.place.below(copy.name_of(folder)).below(LOCK)):
            copy.require_unchanged(folder)
            copy.send_all(folder)
            before = copy.names(copy.name_of(folder))

            def send(path: Path) -> None:
                if path.absolute().is_relative_to(folder.absolute()):
                    copy.send(path)

            try:
                with followed(send):
                    yield
            finally:
                copy.send_all(folder, before=before)


def fetched_whole(folder: Path, into: Path, *, last: str) -> bool:
    """Fetch a folder that is written once and never changed; False where the store lacks it.

    Args:
        folder: In a working folder or not.
        into: A new folder to fetch it to.
        last: The file that is sent last: without it the others are not all there.
    """
    copy = _copy_of(folder)
    if copy is None:
        return False
    there = copy.place.below(copy.name_of(folder))
    found = files_of(there)
    if last not in found:
        return False
    into.mkdir(parents=True)
    for name in found:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        called(there, there.system.get_file, there.below(name).path, str(into / name))
    return True


def send_whole(folder: Path, *, last: str) -> None:
    """Send a folder that is written once and never changed, unless the store has it."""
    copy = _copy_of(folder)
    if copy is None:
        return
    there = copy.place.below(copy.name_of(folder))
    if last in files_of(there):
        return
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == last):
        target = there.below(path.relative_to(folder).as_posix())
        called(target, target.system.put_file, str(path), target.path)


def _copy_of(path: Path) -> Copy | None:
    path = path.absolute()
    return next((c for root, c in _WORKING.items() if path.is_relative_to(root)), None)


def _nothing() -> None:
    raise FileNotFoundError


@contextmanager
def _locked_there(place: Place) -> Iterator[None]:
    own = holder()
    _take(place, own)
    try:
        yield
    finally:
        # One that cannot be removed now is found dead by the next process of this machine.
        with suppress(MedsegError):
            if said(read(place)) == own:
                remove(place)


def _take(place: Place, own: Holder) -> None:
    content = (json.dumps(own) + "\n").encode()
    if create(place, content):
        return
    facts = known(place)
    held = said(read(place))
    require_dead(str(place), held, own)
    if not replaced(place, content, facts.mark):
        raise refused(str(place), held, fix=f"it is dead: remove {place}")
