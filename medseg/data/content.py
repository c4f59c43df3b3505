"""What a prepared scan depends on, as hashes: its input files and the transforms.

A file's content is hashed once. The index remembers it under the file's path, size, times and
inode, so that looking whether anything changed takes no reading.
"""

import enum
import functools
import hashlib
import inspect
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.label_map_rows import LabelMapRows
from medseg.scan import Scan

# Attributes that say nothing about what a transform does: MONAI's random state.
_IGNORED = {"R"}
_NAMES = {"scan_id", "case_id"}


def content_hash(item: Mapping[str, Any], index: Path) -> str:
    """Return the hash of everything an item's preparation reads.

    For a `Scan` that is its slice files, size and spacing, and as a label its run-length rows;
    for a path the file; anything else counts as it is described. The names of scan and case do
    not count, and neither does where the files lie.

    Args:
        item: A MONAI item.
        index: Folder that remembers the hashes of files not changed since.
    """
    facts = hashlib.sha256()
    files: list[Path] = []
    for key in sorted(set(item) - _NAMES):
        facts.update(f"\n{key}:".encode())
        for part in _parts(key, item[key]):
            if isinstance(part, Path):
                files.append(part)
            else:
                facts.update(part.encode())
    stamp = facts.copy()
    for file in files:
        stamp.update(_stamp(file).encode())
    known = index / stamp.hexdigest()
    remembered = _remembered(known)
    if remembered is not None:
        return remembered
    for file in files:
        facts.update(_file_hash(file))
    content = facts.hexdigest()
    _remember(known, content)
    return content


def describe(thing: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return what a transform does, as JSON can hold it: class names and public parameters.

    The description is equal for equal transforms in any process, so it can be part of a key. A
    Compose is the list of its transforms; a function is its name, and its code when it has no
    name of its own.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(each) for each in thing]
    if isinstance(thing, set | frozenset):
        return sorted((describe(each) for each in thing), key=repr)
    simple = _simple(thing)
    return _parameters(thing) if simple is None else simple


def _simple(thing: object) -> Any:  # noqa: ANN401
    """Return the description of something without parameters of its own; None for an object."""
    if hasattr(thing, "detach"):  # a tensor
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray | np.generic):
        return [thing.dtype.str, thing.tolist()]
    if isinstance(thing, functools.partial):
        return ["partial", *map(describe, (thing.func, thing.args, thing.keywords))]
    if isinstance(thing, enum.Enum):
        return f"{_name(type(thing))}.{thing.name}"
    if inspect.isroutine(thing) or isinstance(thing, type):
        return _name(thing) + _code(thing)
    if isinstance(thing, os.PathLike) or type(thing).__module__ == "torch":  # dtypes and devices
        return str(thing)
    return None


def _parameters(thing: object) -> Any:  # noqa: ANN401
    if hasattr(thing, "transforms"):
        return [describe(each) for each in thing.transforms]
    public = {
        name: describe(value)
        for name, value in sorted(getattr(thing, "__dict__", {}).items())
        if not name.startswith("_") and name not in _IGNORED
    }
    return {"class": _name(type(thing)), **public}


def _name(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing)}"


def _code(function: object) -> str:
    """Return the hash of a lambda's or inner function's code; nothing for one found by its name."""
    code = getattr(function, "__code__", None)
    if code is None or "<" not in function.__qualname__:  # type: ignore[attr-defined]
        return ""
    made_of = repr((code.co_code, code.co_names, [c for c in code.co_consts if c is not None]))
    return ":" + hashlib.sha256(made_of.encode()).hexdigest()[:16]


def _parts(key: str, value: object) -> Iterator[Path | str]:
    """Yield what an entry consists of: files to be hashed, and text."""
    if isinstance(value, Scan):
        yield json.dumps([value.size_px, value.spacing_mm, len(value.slice_numbers)])
        if key != "label":
            yield from value.files
            return
        if isinstance(value.rle, LabelMapRows):
            yield json.dumps(value.rle.codes)
            yield value.rle.path
            return
        for organ, rows in sorted((value.rle or {}).items()):
            yield "\n".join((organ, *rows, ""))
    elif isinstance(value, str | Path) and Path(value).is_file():
        yield Path(value)
    else:
        yield json.dumps(describe(value), sort_keys=True)


def _stamp(file: Path) -> str:
    try:
        s = os.stat(file)  # noqa: PTH116 - forty thousand times
    except OSError:
        return f"\n{file} absent"  # reading it will say so
    # The change time cannot be set by a user, the modification time can.
    return f"\n{file} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}"


def _file_hash(file: Path) -> bytes:
    try:
        with file.open("rb", buffering=0) as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return b"absent"


def _remembered(known: Path) -> str | None:
    """Return the hash, None when the files were never hashed or have changed since."""
    try:
        return known.read_text()
    except OSError:
        return None


def _remember(known: Path, content: str) -> None:
    known.parent.mkdir(parents=True, exist_ok=True)
    temporary = known.with_name(f".tmp-{uuid.uuid4().hex}")
    temporary.write_text(content)
    temporary.replace(known)
