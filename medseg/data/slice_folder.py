"""One folder of slices: names, order and headers, before any pixel is decoded.

A name is ``slice_NUMBER_WIDTH_HEIGHT_SPACINGX_SPACINGY.png``, width before height, spacing in mm.
Numbers order the slices, need no padding and may begin anywhere, but none may be missing.

Faults: E-IO, E-EMPTY, E-NAME, E-SPACING, E-DUP, E-MIXED, E-GAP, E-SIZE, E-BITDEPTH, E-TOO-LARGE
and those of `medseg.io.png.read_header`. Warnings: W-DUP, W-IGNORED, W-8BIT, W-SHORT.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg.errors import DataError, Problem
from medseg.geometry import Grid
from medseg.io.png import PngHeader, read_header

MAX_SLICES = 4096
MAX_SPACING_MM = 10.0
EXAMPLE = "such as slice_0001_266_266_1.50_1.50.png"

_NAME = re.compile(r"slice_(\d{1,9})_(\d{1,9})_(\d{1,9})_([^_]+)_([^_]+)\.png", re.ASCII)
_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


class SliceName(NamedTuple):
    """What a slice's file name says; the spacing is None where it is no spacing."""

    number: int
    size_px: tuple[int, int]
    spacing_mm: tuple[float, float] | None


class SliceFolder(NamedTuple):
    """The slices of a folder by ascending number, and everything wrong with them."""

    files: tuple[Path, ...]
    names: tuple[SliceName, ...]
    problems: list[Problem]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The slices' numbers, ascending."""
        return tuple(name.number for name in self.names)


def parse_name(name: str) -> SliceName | None:
    """Return what a file name says, or None when it is no slice's name.

    >>> parse_name("slice_0088_360_310_1.50_1.50.png")
    SliceName(number=88, size_px=(360, 310), spacing_mm=(1.5, 1.5))
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    number, width, height, *spacings = match.groups()
    return SliceName(int(number), (int(width), int(height)), _spacing_mm(spacings))


def read_slice_folder(folder: Path, scan_id: str) -> SliceFolder:
    """Return the slices of a folder; faults are collected, not raised."""
    problems: list[Problem] = []
    try:
        entries = [entry.name for entry in os.scandir(folder)]
    except OSError as error:
        return SliceFolder((), (), [unreadable(folder, error)])
    found = _named(folder, entries, problems)
    kept = without_copies(found, problems)
    files = tuple(path for path, _ in kept)
    names = tuple(name for _, name in kept)
    if not files:
        fix = "remove the folder or restore its slices"
        problems.append(Problem("E-EMPTY", scan_id, "no slices", EXAMPLE, fix))
    problems += _mixed(scan_id, names)
    problems += gaps(scan_id, kept)
    problems += _headers(scan_id, kept)
    if len(files) > MAX_SLICES:
        text = f"{len(files)} slices"
        problems.append(Problem("E-TOO-LARGE", scan_id, text, f"at most {MAX_SLICES}"))
    if 0 < len(files) < 3:
        text = f"slices in the scan: {len(files)}; a slice's neighbours are repeats of them"
        problems.append(Problem("W-SHORT", scan_id, text, "3 or more", level="warning"))
    return SliceFolder(files, names, problems)


def own_grid(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    axis_codes: tuple[str, str, str] | None,
) -> Grid | None:
    """Return where slices lie that grow to the head; None where they grow to the feet."""
    x, y, z = spacing_mm
    upwards = axis_codes is not None and axis_codes[2] == "S"
    return Grid(shape, np.diag([-x, -y, z, 1.0])) if upwards else None


def unreadable(path: Path, error: OSError) -> Problem:
    """Return the problem of a file or folder that the system refuses to read."""
    found = f"cannot be read: {error.strerror or type(error).__name__}"
    return Problem("E-IO", str(path), found, fix="check the path and its permissions")


def is_text(name: str) -> bool:
    """Tell whether a file name is text, not bytes that the file system passes on."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers as people write them.

    >>> ranges([1, 2, 3, 5])
    '1-3, 5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(texts[:8]) + (f", … ({len(texts) - 8} more)" if len(texts) > 8 else "")


def _spacing_mm(texts: Sequence[str]) -> tuple[float, float] | None:
    if not all(_DECIMAL.fullmatch(text) for text in texts):
        return None
    x, y = float(texts[0]), float(texts[1])
    return (x, y) if 0 < x <= MAX_SPACING_MM and 0 < y <= MAX_SPACING_MM else None


def _named(
    folder: Path, entries: list[str], problems: list[Problem]
) -> list[tuple[Path, SliceName]]:
    """Return the slices among the entries of a folder, ascending."""
    found, ignored = [], []
    for entry in sorted(entries):
        path = folder / entry
        name = parse_name(entry)
        if not is_text(entry):
            problems.append(Problem("E-IO", str(path), "name is no UTF-8 text", EXAMPLE))
        elif name:
            found.append((path, name))
            if name.spacing_mm is None:
                expected = f"two numbers above 0 and up to {MAX_SPACING_MM:g} mm, decimal point"
                problems.append(
                    Problem("E-SPACING", str(path), "spacing in the name is none", expected)
                )
        elif entry.lower().endswith(".png") and not entry.startswith("."):
            problems.append(Problem("E-NAME", str(path), "is no slice name", EXAMPLE))
        else:
            ignored.append(entry)
    if ignored:
        text = f"{len(ignored)} files are no slices, the first is {ignored[0]!r}; ignored"
        problems.append(Problem("W-IGNORED", str(folder), text, level="warning"))
    return sorted(found, key=lambda item: (item[1].number, item[0].name))


def without_copies(
    found: list[tuple[Path, SliceName]], problems: list[Problem]
) -> list[tuple[Path, SliceName]]:
    """Return one file a slice number; a second is a copy that is dropped, or a fault."""
    kept: list[tuple[Path, SliceName]] = []
    for path, name in found:
        if not kept or kept[-1][1].number != name.number:
            kept.append((path, name))
            continue
        first = kept[-1][0]
        if kept[-1][1] == name and _same_bytes(first, path):
            text = f"is a copy of {first.name}; ignored"
            problems.append(Problem("W-DUP", str(path), text, level="warning"))
        else:
            text = f"slice {name.number} is there twice, also as {first.name}"
            problems.append(Problem("E-DUP", str(path), text, "one file", "remove the wrong one"))
    return kept


def _same_bytes(a: Path, b: Path) -> bool:
    try:
        return a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()
    except OSError:
        return False  # which of them cannot be read is told with the headers


def _mixed(scan_id: str, names: Sequence[SliceName]) -> list[Problem]:
    kinds: dict[str, list[int]] = defaultdict(list)
    for name in names:
        if name.spacing_mm:
            (w, h), (x, y) = name.size_px, name.spacing_mm
            kinds[f"{w}x{h} px of {x:.2f}x{y:.2f} mm"].append(name.number)
    if len(kinds) < 2:
        return []
    found = "; ".join(f"{kind} in slices {ranges(numbers)}" for kind, numbers in kinds.items())
    return [Problem("E-MIXED", scan_id, found, "one size and spacing in a scan")]


def gaps(scan_id: str, kept: Sequence[tuple[Path, SliceName]]) -> list[Problem]:
    """Return a problem for each stretch of numbers that no slice has, between two that have."""
    problems = []
    for (before, a), (after, b) in pairwise(kept):
        missing = b.number - a.number - 1
        if missing > 0:
            what = (
                f"slice {a.number + 1} is missing"
                if missing == 1
                else f"slices {a.number + 1}-{b.number - 1} are missing"
            )
            problems.append(
                Problem(
                    "E-GAP",
                    scan_id,
                    f"{what} between {a.number} ({before.name}) and {b.number} ({after.name})",
                    "consecutive numbers",
                    "restore the missing files; closing the gap would shorten the patient",
                )
            )
    return problems


def _headers(scan_id: str, kept: Sequence[tuple[Path, SliceName]]) -> list[Problem]:
    """Compare every file's header with its name and with the others of the scan."""
    problems: list[Problem] = []
    depths: dict[int, list[Path]] = defaultdict(list)
    for path, name in kept:
        try:
            header = read_header(path)
        except DataError as error:
            problems += error.problems
            continue
        depths[header.bits].append(path)
        if (header.width_px, header.height_px) != name.size_px:
            problems.append(_wrong_size(path, name, header))
    if len(depths) > 1:
        rare = depths[min(depths, key=lambda bits: len(depths[bits]))]
        common = depths[max(depths, key=lambda bits: len(depths[bits]))]
        rare_bits = next(bits for bits, paths in depths.items() if paths is rare)
        shown = ", ".join(path.name for path in rare[:8]) + (" …" if len(rare) > 8 else "")
        found = f"{len(rare)} slices of {rare_bits} bits ({shown}) beside {common[0].name}"
        fix = "export the whole scan with 16 bits"
        problems.append(Problem("E-BITDEPTH", scan_id, found, "one bit depth in a scan", fix))
    elif 8 in depths:
        found = "all slices have 8 bits; fine differences of intensity are lost"
        problems.append(Problem("W-8BIT", scan_id, found, "16 bits", level="warning"))
    return problems


def _wrong_size(path: Path, name: SliceName, header: PngHeader) -> Problem:
    width, height = header.width_px, header.height_px
    swapped = name.size_px == (height, width)
    return Problem(
        "E-SIZE",
        str(path),
        f"picture is {width} wide and {height} high" + ("; looks swapped" if swapped else ""),
        f"{name.size_px[0]} wide and {name.size_px[1]} high, as the name says",
        "name width before height" if swapped else "restore the slice from its source",
    )
