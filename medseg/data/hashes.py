"""Hashes of what a scan consists of: the proof that two scans, or two sides of a split, differ.

A slice's hash is the SHA-256 of its file, so that copying keeps it and any other pixel changes it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from medseg.data.label_map_rows import LabelMapRows
from medseg.errors import DataError, Problem
from medseg.io.images import files_of
from medseg.io.pictures import SUFFIXES, read_picture
from medseg.scan import Scan, Series


class Twins(NamedTuple):
    """Two scans that share pictures, how many slices they share, and one such slice of each."""

    first: Scan
    second: Scan
    slices: int
    files: tuple[Path, Path]


def slice_hashes(scan: Scan) -> tuple[str, ...]:
    """Return the SHA-256 of every image file, in slice order, as hexadecimal text.

    Raises:
        DataError: A file cannot be read.
    """
    return tuple(_file_hash(path) for path in scan.files)


def scan_hash(scan: Scan, *, slices: Sequence[str] | None = None) -> str:
    """Return the SHA-256 of a scan's content: grid, slices and label rows; paths do not count.

    Args:
        scan: The scan.
        slices: Its `slice_hashes`, when they are known already.
    """
    told = hashlib.sha256()
    told.update(f"{scan.size_px} {scan.spacing_mm} {scan.slice_numbers}\n".encode())
    told.update(" ".join(slices or slice_hashes(scan)).encode())
    if isinstance(scan.rle, LabelMapRows):
        told.update(f"\n{scan.rle.codes} {_file_hash(scan.rle.path)}".encode())
        return told.hexdigest()
    for organ, rows in sorted((scan.rle or {}).items()):
        told.update(f"\n{organ}\n".encode() + "\n".join(rows).encode())
    return told.hexdigest()


def source_hash(source: Scan | Series | Path) -> str:
    """Return the SHA-256 of the content of whatever an image is read from; paths do not count.

    Raises:
        DataError: A file cannot be read.
    """
    if isinstance(source, Scan):
        return scan_hash(source)
    files = source.files if isinstance(source, Series) else files_of(source)
    return hashlib.sha256(" ".join(map(_file_hash, files)).encode()).hexdigest()


def twins(scans: Sequence[Scan], hashes: Mapping[str, Sequence[str]]) -> list[Twins]:
    """Return every two scans that share a picture; slices of one constant value do not count.

    Args:
        scans: The scans.
        hashes: The `slice_hashes` of each by scan id.
    """
    holders: dict[str, dict[int, Path]] = defaultdict(dict)
    for index, scan in enumerate(scans):
        for path, digest in zip(scan.files, hashes[scan.scan_id], strict=True):
            holders[digest].setdefault(index, path)
    shared: dict[tuple[int, int], list[tuple[Path, Path]]] = defaultdict(list)
    for paths in holders.values():
        # Empty slices beyond the body look the same in any patient.
        if len(paths) > 1 and _shows_something(next(iter(paths.values()))):
            for a, b in combinations(paths, 2):
                shared[a, b].append((paths[a], paths[b]))
    return [
        Twins(scans[a], scans[b], len(files), files[0]) for (a, b), files in sorted(shared.items())
    ]


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        raise DataError(Problem("E-IO", str(path), found, fix="check the file")) from error


def _shows_something(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES:
        return True  # a volume
    pixels = read_picture(path)
    return bool((pixels.min((0, 1)) < pixels.max((0, 1))).any())
