"""Run-length masks as UW-Madison's ``train.csv`` writes them.

A row is text: ``start length start length ...``. Pixels are numbered from 1, row by row (C order)
over ``(height, width)``; runs ascend and do not overlap; no runs is no organ. The competition page
says "top to bottom, then left to right", which is wrong for its data.

Faults: E-RLE (no such text), E-RLE-OOB (a run leaves the slice), E-RLE-OVERLAP (runs overlap or
do not ascend).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, Problem

_EMPTY = frozenset(("", "nan"))
# Nine digits number more pixels than any slice has, and fit an int64 many times over.
_ROW = re.compile(r"\s*\d{1,9}\s+\d{1,9}(?:\s+\d{1,9}\s+\d{1,9})*\s*", re.ASCII)
_INTEGER = re.compile(r"\d+", re.ASCII)


class _Runs(NamedTuple):
    """Runs of several slices: the slice each lies in, its first pixel from 0, its length."""

    slices: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


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


def decode_slices(rows: Sequence[str], shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the masks of one organ through a scan, ``(S, H, W)`` bool, one row a slice.

    Raises:
        DataError: Any row is malformed, leaves the slice, or its runs overlap; all are told.
    """
    faults = problems(rows, shape_hw)
    if faults:
        raise DataError(*faults)
    runs = _runs(rows)
    pixels = shape_hw[0] * shape_hw[1]
    masks = np.zeros(len(rows) * pixels, bool)
    ends = np.cumsum(runs.lengths)
    firsts = runs.starts + runs.slices * pixels
    # Pixel n of all runs together lies at the first pixel of its run plus its place in the run.
    masks[np.repeat(firsts - ends + runs.lengths, runs.lengths) + np.arange(ends[-1:].sum())] = True
    return masks.reshape(len(rows), *shape_hw)


def encode(mask: NDArray[np.generic]) -> str:
    """Return the row of a mask ``(H, W)``; no pixels give an empty row.

    >>> encode(np.array([[0, 1, 1, 1], [0, 0, 0, 0]]))
    '2 3'
    """
    flat = np.asarray(mask, bool).ravel()
    # Where the value changes, counted from 1: run starts and run ends by turns.
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=False)) + 1
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
    named = [
        (row, subjects[index] if subjects else f"row {index + 1}")
        for index, row in enumerate(rows)
        if not is_empty(row)
    ]
    # All rows of a scan at once: a sound data set never gets to the row-by-row search.
    if all(_ROW.fullmatch(row) for row, _ in named) and _sound(_runs(rows), shape_hw):
        return []
    return [fault for row, name in named if (fault := _fault(row, shape_hw, name))]


def _runs(rows: Sequence[str]) -> _Runs:
    """Parse well-formed rows; empty ones have no runs."""
    texts = ["" if is_empty(row) else row for row in rows]
    numbers = np.fromstring(" ".join(texts), np.int64, sep=" ") if any(texts) else np.zeros(0, int)
    counts = [len(text.split()) // 2 for text in texts]
    return _Runs(np.repeat(np.arange(len(rows)), counts), numbers[0::2] - 1, numbers[1::2])


def _sound(runs: _Runs, shape_hw: tuple[int, int]) -> bool:
    pixels = shape_hw[0] * shape_hw[1]
    ends = runs.starts + runs.lengths
    same_slice = runs.slices[1:] == runs.slices[:-1]
    return bool(
        (runs.starts >= 0).all()
        and (runs.lengths >= 1).all()
        and (ends <= pixels).all()
        and (runs.starts[1:] >= ends[:-1])[same_slice].all()
    )


def _fault(rle: str, shape_hw: tuple[int, int], subject: str) -> Problem | None:
    """Return the first fault of one row, or None."""
    tokens = rle.split()
    bad = next((token for token in tokens if not _INTEGER.fullmatch(token)), None)
    if bad is not None:
        return Problem("E-RLE", subject, f"{bad[:40]!r} is no whole number", "start length ...")
    if len(tokens) % 2:
        return Problem("E-RLE", subject, f"{len(tokens)} numbers", "pairs of start and length")
    pixels, last = shape_hw[0] * shape_hw[1], 0
    # A longer token is beyond any slice, and may be too long to be read as a number at all.
    numbers = [int(token[:19]) for token in tokens]
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
