"""Run-length masks as UW-Madison's ``train.csv`` writes them.

A row is text: ``start length start length ...``. Pixels are numbered from 1, row by row (C order)
over ``(height, width)``; runs ascend and do not overlap; no runs is no organ. The competition page
says "top to bottom, then left to right", which is wrong for its data.

Faults: E-RLE (no such text), E-RLE-OOB (a run leaves the slice), E-RLE-OVERLAP (runs overlap or
do not ascend).
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.io.rle_kernels import SEPARATOR, paint

_EMPTY = frozenset(("", "nan"))
# Blanks are those of ASCII, as they are where all rows are read at once.
_TOKEN = re.compile(r"\S+", re.ASCII)
_INTEGER = re.compile(r"\d+", re.ASCII)


def is_empty(rle: str) -> bool:
    """Tell whether a row holds no runs: an empty field, or the NaN that spreadsheets make of it."""
    return rle.strip().lower() in _EMPTY


def area_px(rle: str) -> int:
    """Return the number of pixels of a sound row; an empty row has none.

    >>> area_px("2 3 8 1")
    4
    """
    return 0 if is_empty(rle) else sum(map(int, rle.split()[1::2]))


def decode(rle: str, shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of one row, ``(H, W)`` bool; an empty row gives no pixels.

    Raises:
        DataError: The row is malformed, leaves the slice, or its runs overlap.

    >>> decode("2 3", (2, 4)).astype(int).tolist()
    [[0, 1, 1, 1], [0, 0, 0, 0]]
    """
    mask: NDArray[np.bool_] = decode_slices([rle], shape_hw)[0]
    return mask


def decode_slices(
    rows: Sequence[str], shape_hw: tuple[int, int], *, subjects: Sequence[str] | None = None
) -> NDArray[np.bool_]:
    """Return the masks of rows, ``(S, H, W)`` bool, one row a slice: an organ through a scan.

    Several organs decode in one go, one after another; a view makes the result ``(C, S, H, W)``.

    Args:
        rows: One text a slice.
        shape_hw: Height and width of the slices.
        subjects: What to call each row in a problem, as for `problems`.

    Raises:
        DataError: Any row is malformed, leaves the slice, or its runs overlap; all are told.
    """
    masks = np.zeros((len(rows), *shape_hw), np.uint8)
    if not _painted(rows, shape_hw, masks.reshape(-1)):
        raise DataError(*problems(rows, shape_hw, subjects=subjects))
    return masks.view(bool)


def encode(mask: NDArray[np.generic]) -> str:
    """Return the row of a mask ``(H, W)``; no pixels give an empty row.

    >>> encode(np.array([[0, 1, 1, 1], [0, 0, 0, 0]]))
    '2 3'
    """
    inside = np.asarray(mask, bool)
    flat = np.zeros(inside.size + 2, bool)  # a pixel outside at either end
    flat[1:-1] = inside.reshape(-1)
    # Where the value changes, counted from 1: run starts and run ends by turns.
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges[1::2] -= edges[0::2]
    return " ".join(map(str, edges.tolist()))


def problems(
    rows: Sequence[str], shape_hw: tuple[int, int], *, subjects: Sequence[str] | None = None
) -> list[Problem]:
    """Return the faults of rows, at most one a row; an empty list when all are sound.

    Args:
        rows: One text a slice.
        shape_hw: Height and width of the slices.
        subjects: What to call each row in its problem; ``row 1``, ``row 2`` ... without.
    """
    # All rows of a scan at once: a sound data set never gets to the row-by-row search.
    if _painted(rows, shape_hw, np.zeros(0, np.uint8)):
        return []
    return [
        fault
        for index, row in enumerate(rows)
        if not is_empty(row)
        and (fault := _fault(row, shape_hw, subjects[index] if subjects else f"row {index + 1}"))
    ]


def _painted(rows: Sequence[str], shape_hw: tuple[int, int], masks: NDArray[np.uint8]) -> bool:
    """Set the pixels of all rows in `masks`, flat, if it has any; tell whether all are sound."""
    if not rows:
        return True
    text = SEPARATOR.join(["" if is_empty(row) else row for row in rows])
    letters = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    return bool(paint(letters, len(rows), shape_hw[0] * shape_hw[1], masks))


def _fault(rle: str, shape_hw: tuple[int, int], subject: str) -> Problem | None:
    """Return the first fault of one row, or None."""
    tokens = _TOKEN.findall(rle)
    bad = next((token for token in tokens if not _INTEGER.fullmatch(token)), None)
    if bad is not None:
        return Problem("E-RLE", subject, f"{bad[:40]!r} is no whole number", "start length ...")
    if len(tokens) % 2:
        return Problem("E-RLE", subject, f"{len(tokens)} numbers", "pairs of start and length")
    pixels, last = shape_hw[0] * shape_hw[1], 0
    # A longer number is beyond any slice, and may be too long to be read at all.
    numbers = [int(token.lstrip("0")[:19] or 0) for token in tokens]
    for start, length in zip(numbers[0::2], numbers[1::2], strict=True):
        run = f"run '{start} {length}'"
        if start < 1 or length < 1:
            return Problem("E-RLE", subject, run, "start and length of at least 1")
        end = start + length - 1
        if end > pixels:
            return Problem(
                "E-RLE-OOB",
                subject,
                f"{run} ends at pixel {end}",
                f"at most {pixels} = {shape_hw[0]} x {shape_hw[1]}",
                "check that the row belongs to a slice of this size",
            )
        if start <= last:
            return Problem(
                "E-RLE-OVERLAP", subject, f"{run} begins before pixel {last + 1}", "ascending runs"
            )
        last = end
    return None
