"""The checkpoints of a run: what they are called, and which of them are as they were written.

``last.pt`` is the newest, ``previous.pt`` the one before it, ``best.pt`` the one that validated
best. ``hashes.json`` holds the SHA-256 of each, and of the file that it took the place of. The
hashes are written before the names change hands: wherever a process is killed, each name stands
for one of its two.

To know all this takes no torch.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from medseg.engine.provenance import sha256_of
from medseg.errors import Problem, UnsafeError
from medseg.io.atomic import replacing

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
HASHES = "hashes.json"

_log = logging.getLogger(__name__)


def write_hashes(folder: Path, now: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Write the hashes that the checkpoints in `folder` are about to have, and those they have."""
    told = {name: [*dict.fromkeys((sha, before.get(name, sha)))] for name, sha in now.items()}
    with replacing(folder / HASHES) as stream:
        stream.write((json.dumps(told, indent=2) + "\n").encode())


def sound_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each checkpoint in `folder` that is as it was written."""
    paths = [folder / name for name in (LAST, PREVIOUS, BEST)]
    return {path.name: sha256_of(path) for path in paths if path.exists() and not fault_of(path)}


def fault_of(path: Path) -> str:
    """Return why a checkpoint is not what was written, empty for one that is.

    Without ``hashes.json``, as beside a model from elsewhere, there is nothing to compare with.
    """
    if not path.exists():
        return "is missing"
    try:
        known = json.loads((path.parent / HASHES).read_bytes())
        expected = known.get(path.name, []) if isinstance(known, dict) else None
    except (FileNotFoundError, ValueError):
        expected = None
    if expected is None:
        return ""
    about = path.stat()
    found = _sha256(path, (about.st_ino, about.st_size, about.st_mtime_ns))
    return "" if found in expected else f"its SHA-256 {found[:8]}… is none that {HASHES} names"


def first_sound(paths: Iterable[Path]) -> Path:
    """Return the first checkpoint that is as it was written, with a warning for those before it.

    Raises:
        UnsafeError: All are damaged.
    """
    faults: dict[Path, str] = {}
    for path in paths:
        if not (fault := fault_of(path)):
            for other, told in faults.items():
                warn_of(other, told, instead=path)
            return path
        faults[path] = fault
    raise none_sound(faults)


@cache
def warn_of(path: Path, fault: str, *, instead: Path) -> None:
    """Warn, once, that a checkpoint cannot be used and which one is taken in its place."""
    fix = f"none is needed: {instead.name} is taken instead"
    _log.warning("%s", Problem("W-CKPT", str(path), fault, fix=fix, level="warning"))


def none_sound(faults: Mapping[Path, str]) -> UnsafeError:
    """Return the error that no checkpoint can be used."""
    fix = "restore one from a copy, or train again"
    expected = "a checkpoint as medseg wrote it"
    return UnsafeError(
        *(Problem("E-CKPT", str(path), told, expected, fix) for path, told in faults.items())
    )


@cache
def _sha256(path: Path, _state: tuple[int, int, int]) -> str:
    """Return a file's hash, read again only when the file changed."""
    return sha256_of(path)
