"""Room: whether all that is to be written may be, before anything is computed.

No input is written over, whatever is asked for; what somebody else or another model has written is
only on request; and no two studies write the same file.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medseg.data.sources import Item
from medseg.errors import Problem, UsageError
from medseg.io.output_names import OutputNames
from medseg.scan import Scan, Series
from medseg.stages.study_record import FIX, Records

_FOLDERS_FIX = "choose another --out"
# What all studies of a folder share, and how medseg's own begins or names itself.
_SHARED = {
    "studies.csv": b"scan_id,status,",
    "report.html": b'<meta name="generator" content="medseg',
}
_HEAD_BYTES = 4096

Planned = Sequence[tuple[Item, OutputNames, Sequence[Path]]]


def require_room(planned: Planned, sources: Iterable[Path], out: Path, records: Records) -> None:
    """Refuse to write over inputs, over what is not our own, and one study over another.

    Args:
        planned: Each item, its names, and the files that will be written of it.
        sources: What the user named; lists among them.
        out: The folder that is written to.
        records: Of that folder.

    Raises:
        UsageError: E-EXISTS for each file that would be lost, E-DUP for each that two studies want.
    """
    problems = [] if records.overwrite else list(_strangers(out))
    taken = [path for item, _, _ in planned for path in _files(item)] + list(sources)
    inputs = {path.resolve() for path in taken}
    folders = {path for path in inputs if path.is_dir()}
    writers: dict[Path, str] = {}
    for item, names, files in planned:
        existing = [path for path in files if path.exists()]
        own = records.own(names, existing)
        lost = [each for each in existing if _is_input(each, inputs, folders, own=own)]
        problems += [_exists(path, "would be overwritten") for path in lost]
        if not lost and (problem := records.conflict(item["scan_id"], names, existing)):
            problems.append(problem)
        problems += _wanted_twice(files, item["scan_id"], writers)
    if problems:
        raise UsageError(*problems)


def _files(item: Item) -> Sequence[Path]:
    image = item["image"]
    return image.files if isinstance(image, Scan | Series) else (image,)


def _is_input(path: Path, inputs: set[Path], folders: set[Path], *, own: set[Path]) -> bool:
    """Whether a file is an input, or lies in one and is no record or result of this study."""
    real = path.resolve()
    return real in inputs or (path not in own and bool(folders & {*real.parents}))


def _wanted_twice(
    files: Sequence[Path], scan_id: str, writers: dict[Path, str]
) -> Iterator[Problem]:
    """Yield the first file that another study writes too; remember who writes which."""
    both = next((path for path in files if path in writers), None)
    if both:
        found = f"{writers[both]} writes {both.name} too"
        fix = "name one of them in a list, or predict them into two folders"
        yield Problem("E-DUP", scan_id, found, "a file a study", fix)
    writers.update(dict.fromkeys(files, scan_id))


def _strangers(out: Path) -> Iterator[Problem]:
    """Yield the tables and pages of the folder that medseg did not write."""
    for name, mark in _SHARED.items():
        path = out / name
        if path.exists() and not (path.is_file() and mark in _head(path)):
            yield _exists(path, "is there, and medseg did not write it", FIX)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def _exists(path: Path, found: str, fix: str = _FOLDERS_FIX) -> Problem:
    return Problem("E-EXISTS", str(path), found, fix=fix)
