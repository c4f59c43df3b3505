"""Slices that are pictures, each with a mask drawn as another picture.

Headers of pictures are read, and masks are decoded at once: their run-length rows are what a scan
carries. A mask is decoded once in a process, unless its file changes.

Faults: E-MIXED, E-BITDEPTH, E-CHANNELS, E-SIZE, E-LABEL and the other faults of
`medseg.io.pictures`. Warnings: W-UNLABELLED (a scan that lacks masks, left out).
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from medseg.data.manifest import Manifest
from medseg.data.slice_folder import SliceFolder, SliceName, own_grid, ranges
from medseg.errors import DataError, Problem, UsageError
from medseg.io.pictures import PictureHeader, read_mask, read_picture_header
from medseg.io.rle import encode
from medseg.scan import Scan


class Drawn(NamedTuple):
    """One slice: its number, its picture, and its mask, None where there is none."""

    number: int
    picture: Path
    mask: Path | None


class Survey(NamedTuple):
    """What came of one scan: itself where it can be used, and its slices with all problems."""

    scan: Scan | None
    folder: SliceFolder


def organ_of(manifest: Manifest) -> str:
    """Return the one organ that a picture can be the mask of.

    Raises:
        UsageError: The manifest has more labels than one.
    """
    names = manifest.labels.names
    if len(names) > 1:
        found = f"{len(names)} labels: {', '.join(names)}"
        raise UsageError(Problem("E-MANIFEST", manifest.name, found, "one, drawn as a picture"))
    return names[0]


def survey_drawn(
    scan_id: str, slices: Sequence[Drawn], manifest: Manifest, *, labelled: bool
) -> Survey:
    """Return the scan of some slices and everything wrong with them.

    Args:
        scan_id: The scan's name.
        slices: Its slices, ascending, at least one.
        manifest: Tells channels, spacing, the organ, and from what grey value on it is mask.
        labelled: Read the masks, and leave the scan out when one is missing.
    """
    problems: list[Problem] = []
    headers = _headers(slices, problems)
    problems += _differences(scan_id, headers)
    problems += _wrong_channels(headers, manifest)
    rows = _rows(scan_id, slices, headers, manifest, problems) if labelled else None
    names = tuple(SliceName(each.number, _size_px(headers, each.number), None) for each in slices)
    folder = SliceFolder(tuple(each.picture for each in slices), names, problems)
    lacking = labelled and rows is None
    if lacking or any(problem.level == "error" for problem in problems):
        return Survey(None, folder)
    organ = organ_of(manifest)
    size_px = names[0].size_px
    spacing_mm = manifest.spacing_mm or (1.0, 1.0, 1.0)
    scan = Scan(
        scan_id=scan_id,
        slice_files=folder.files,
        slice_numbers=folder.numbers,
        size_px=size_px,
        spacing_mm=spacing_mm,
        channels=len(manifest.channels),
        rle=None if rows is None else {organ: rows},
        own_grid=own_grid((*size_px, len(slices)), spacing_mm, manifest.axis_codes),
    )
    return Survey(scan, folder)


def _headers(slices: Sequence[Drawn], problems: list[Problem]) -> dict[Drawn, PictureHeader]:
    headers = {}
    for each in slices:
        try:
            headers[each] = read_picture_header(each.picture)
        except DataError as error:
            problems += error.problems
    return headers


def _size_px(headers: dict[Drawn, PictureHeader], number: int) -> tuple[int, int]:
    """Return the size of a slice, or (0, 0) where its header cannot be read."""
    found = (h for each, h in headers.items() if each.number == number)
    return next(((h.width_px, h.height_px) for h in found), (0, 0))


def _differences(scan_id: str, headers: dict[Drawn, PictureHeader]) -> list[Problem]:
    sizes: dict[str, list[int]] = defaultdict(list)
    depths: dict[str, list[int]] = defaultdict(list)
    for each, header in headers.items():
        sizes[f"{header.width_px}x{header.height_px} px"].append(each.number)
        depths[f"{header.bits} bits"].append(each.number)
    found = (
        ("E-MIXED", sizes, "one size in a scan"),
        ("E-BITDEPTH", depths, "one depth in a scan"),
    )
    return [
        Problem(
            code,
            scan_id,
            "; ".join(f"{kind} in slices {ranges(numbers)}" for kind, numbers in kinds.items()),
            expected,
        )
        for code, kinds, expected in found
        if len(kinds) > 1
    ]


def _wrong_channels(headers: dict[Drawn, PictureHeader], manifest: Manifest) -> list[Problem]:
    wanted = len(manifest.channels)
    expected = f"{wanted}: {', '.join(manifest.channels)}"
    fix = "convert the picture, or name its channels in a manifest of your own"
    return [
        Problem("E-CHANNELS", str(each.picture), f"{header.channels} channels", expected, fix)
        for each, header in headers.items()
        if header.channels != wanted
    ]


def _rows(
    scan_id: str,
    slices: Sequence[Drawn],
    headers: dict[Drawn, PictureHeader],
    manifest: Manifest,
    problems: list[Problem],
) -> tuple[str, ...] | None:
    """Return the run-length row of each slice, or None when masks are missing or wrong."""
    rows = []
    lacking = [each.number for each in slices if each.mask is None]
    if lacking:
        found = f"{len(lacking)} of {len(slices)} slices lack a mask; scan left out"
        expected = "a mask for each slice, black where there is nothing"
        problems.append(Problem("W-UNLABELLED", scan_id, found, expected, level="warning"))
    for each in slices:
        try:
            if each.mask is not None:
                size_px, row = _mask(each.mask, manifest.layout.mask_threshold)
                rows.append(row)
                if each in headers and size_px != headers[each][:2]:
                    problems.append(_wrong_size(each.mask, size_px, headers[each]))
        except DataError as error:
            problems += error.problems
    return tuple(rows) if len(rows) == len(slices) else None


def _wrong_size(mask: Path, size_px: tuple[int, int], header: PictureHeader) -> Problem:
    found = f"mask is {size_px[0]} wide and {size_px[1]} high"
    swapped = "; looks turned" if size_px == header[1::-1] else ""
    expected = f"{header.width_px} wide and {header.height_px} high, as its picture"
    return Problem("E-SIZE", str(mask), found + swapped, expected)


def _mask(path: Path, threshold: int | None) -> tuple[tuple[int, int], str]:
    """Return the size and the run-length row of a mask."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as in medseg.io.png
    except OSError:
        read_mask(path)  # tells what is wrong with it
        raise
    return _encoded(path, threshold, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1 << 17)
def _encoded(
    path: Path, threshold: int | None, _changed_ns: int, _bytes: int
) -> tuple[tuple[int, int], str]:
    mask = read_mask(path, threshold=threshold)
    return (mask.shape[1], mask.shape[0]), encode(mask)
