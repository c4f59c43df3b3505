"""Copies: a folder of the disk that stands for a folder of an object store.

Networks, memory maps and other people's libraries want files, whole and on a disk. So a place is
copied below a folder of the user's own, once: a file is fetched when the store's mark of it, its
size, or the file on the disk is another one than was noted when both were the same. What lies in
the store counts: where the two differ, the copy gives way.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from medseg.errors import Problem, ResourceError
from medseg.io.atomic import beside, disk_problem, replacing
from medseg.io.remote import Place, Remote, called, files_of, known, remove

_THREADS = 8
_OWN = "medseg.lock"

# A file as it was when disk and store held the same: the store's mark and size, and the disk's.
Note = list[str | int]


def cache_folder() -> Path:
    """Return where copies lie: ``$MEDSEG_CACHE``, else ``medseg`` in the user's cache folder."""
    if own := os.environ.get("MEDSEG_CACHE"):
        return Path(own).absolute()
    home = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored: XDG Base Directory Specification 0.8.
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "medseg"


class Copy:
    """The copy of a place.

    Args:
        place: A folder of an object store.
        use: What it is for; each use has a copy of its own, as one may hold what another may not.

    Raises:
        ResourceError: The folder of copies cannot be made.
    """

    def __init__(self, place: Place, *, use: str) -> None:
        self.place = place
        self.home = cache_folder() / use / hashlib.sha256(str(place).encode()).hexdigest()[:16]
        # The names of the folders above a run mean something: its experiment.
        self.root = self.home / "files" / place.path
        self._notes: dict[str, Note] = {}
        self._sent: set[str] = set()
        self._guard = threading.RLock()
        try:
            # Images of patients may come here: nobody else is to look.
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.home.chmod(0o700)
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(disk_problem(self.home, error)) from error

    def name_of(self, path: Path) -> str:
        """Return what a path of the copy is called in the store; empty for the root."""
        name = Path(os.path.abspath(path)).relative_to(self.root).as_posix()  # noqa: PTH100
        return "" if name == "." else name

    def names(self, folder: str = "") -> set[str]:
        """Return the names of the files in a folder, but of those that are only of use here."""
        paths = (path for path in (self.root / folder).rglob("*") if path.is_file())
        return {self.name_of(path) for path in paths if not _is_own(path.name)}

    def fetch(self, folder: str = "", *, pattern: str = "") -> None:
        """Make a folder of the copy what the store has there.

        Args:
            folder: Its name; all by default.
            pattern: Fetch only files of such names, and remove nothing.
        """
        with self._alone():
            found = {
                f"{folder}/{name}".strip("/"): facts
                for name, facts in files_of(self.place.below(folder)).items()
                if not pattern or fnmatch(name, pattern)
            }
            found = {name: facts for name, facts in found.items() if not _is_own(name)}
            wanted = [name for name, facts in found.items() if not self._is_same(name, facts)]
            with ThreadPoolExecutor(_THREADS) as pool:
                notes = pool.map(self._fetched, wanted, [found[name] for name in wanted])
                self._notes |= dict(zip(wanted, notes, strict=True))
            if not pattern:
                for gone in self.names(folder) - {*found}:
                    (self.root / gone).unlink(missing_ok=True)
                    self._notes.pop(gone, None)

    def send(self, path: Path) -> None:
        """Bring a file to the store, whole or not at all, unless it is there already."""
        name = self.name_of(path)
        with self._guard:
            state = _state(path)
            if _is_own(name) or self._notes.get(name, [])[2:] == state:
                return
            there = self.place.below(name)
            same = (each for each, note in self._notes.items() if note[2:] == state)
            if (twin := next(same, None)) is not None:
                called(there, there.system.cp_file, self.place.below(twin).path, there.path)
            else:
                called(there, there.system.put_file, str(path), there.path)
            facts = known(there)
            if facts.size != path.stat().st_size:
                found, expected = f"{facts.size} bytes arrived", f"{path.stat().st_size}"
                raise ResourceError(Problem("E-REMOTE", str(there), found, expected, "try again"))
            self._notes[name] = [facts.mark, facts.size, *state]
            self._sent.add(name)

    def send_all(self, folder: Path, *, before: Set[str] = frozenset()) -> None:
        """Bring to the store what changed in a folder, oldest first, and remove what is gone.

        Args:
            folder: A folder of the copy.
            before: The names of files that were there; of others nobody knows that they are gone.
        """
        name = self.name_of(folder)
        paths = [self.root / each for each in self.names(name)]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
            self.send(path)
        with self._alone():
            sent = {each for each in self._sent if each.startswith(f"{name}/" if name else "")}
            for gone in (before | sent) - self.names(name):
                remove(self.place.below(gone))
                self._notes.pop(gone, None)
                self._sent.discard(gone)

    def require_unchanged(self, folder: Path) -> None:
        """Refuse to go on where the store holds something else than was fetched.

        Raises:
            ResourceError: Another machine has worked there since (E-REMOTE).
        """
        name = self.name_of(folder)
        there = self.place.below(name)
        with self._alone():
            for below, facts in files_of(there).items():
                full = f"{name}/{below}".strip("/")
                if not _is_own(full) and self._notes.get(full, [])[:2] != [facts.mark, facts.size]:
                    found = f"{below} was written by somebody else since it was read"
                    raise ResourceError(
                        Problem("E-REMOTE", str(there), found, fix="give the command again")
                    )

    def _is_same(self, name: str, facts: Remote) -> bool:
        """Whether the file on the disk is what the store has."""
        with suppress(OSError):
            return self._notes.get(name) == [facts.mark, facts.size, *_state(self.root / name)]
        return False

    def _fetched(self, name: str, facts: Remote) -> Note:
        there, path = self.place.below(name), self.root / name
        temporary = beside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            called(there, there.system.get_file, there.path, str(temporary))
            if (size := temporary.stat().st_size) != facts.size:
                found = f"{size} bytes arrived"
                problem = Problem("E-REMOTE", str(there), found, str(facts.size), "try again")
                raise ResourceError(problem)
            temporary.replace(path)
            return [facts.mark, facts.size, *_state(path)]
        except OSError as error:
            raise ResourceError(disk_problem(path, error)) from error
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes away that use the same copy, with its notes as they left them."""
        notes = self.home / "notes.json"
        with self._guard, (self.home / "busy").open("a") as busy:
            fcntl.flock(busy, fcntl.LOCK_EX)
            self._notes = _read(notes) | self._notes
            yield
            with replacing(notes) as stream:
                stream.write(json.dumps(self._notes).encode())


def _is_own(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last == _OWN or last.startswith(".tmp-")


def _state(path: Path) -> list[int]:
    """Return what tells one content of a file from another, under whichever of its names."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino]


def _read(path: Path) -> dict[str, Note]:
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
