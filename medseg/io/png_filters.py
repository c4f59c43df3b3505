"""The five filters of PNG, undone: each sample was stored as its difference from a prediction.

PNG specification (third edition), section 9. A sample of 16 bits is two bytes, high byte first, and
filters work on bytes: the high bytes and the low bytes of a row are two series that never meet.
"""

import numpy as np
from numba import int32
from numpy.typing import NDArray

from medseg.kernel import kernel

Line = NDArray[np.uint8]
Row = NDArray[np.uint16]


@kernel
def unfilter(lines: NDArray[np.uint8], pixels: NDArray[np.uint16]) -> bool:
    """Undo the filter of each row of a 16-bit greyscale picture.

    Args:
        lines: The inflated picture, ``(H, 1 + 2 W)``: the number of the row's filter, then its
            samples. Read-only, so that one form is compiled.
        pixels: ``(H, W)``, contiguous; filled with the grey values.

    Returns:
        Whether every row names a filter that exists; if not, `pixels` is filled in part.
    """
    above = np.zeros(pixels.shape[1], np.uint16)
    for y in range(len(pixels)):
        kind, line, row = lines[y, 0], lines[y, 1:], pixels[y]
        if kind == 0:
            _copy(line, row)
        elif kind == 1:
            _add_left(line, row)
        elif kind == 2:
            _add_above(line, row, above)
        elif kind == 3:
            _add_average(line, row, above)
        elif kind == 4:
            _add_paeth(line, row, above)
        else:
            return False
        above = row
    return True


@kernel
def _copy(line: Line, row: Row) -> None:
    for x in range(len(row)):
        row[x] = int32(line[2 * x]) << 8 | int32(line[2 * x + 1])


@kernel
def _add_left(line: Line, row: Row) -> None:
    high = low = 0
    for x in range(len(row)):
        high += int32(line[2 * x])
        low += int32(line[2 * x + 1])
        row[x] = (high & 255) << 8 | (low & 255)


@kernel
def _add_above(line: Line, row: Row, above: Row) -> None:
    for x in range(len(row)):
        high = int32(above[x]) + (int32(line[2 * x]) << 8)
        low = int32(above[x]) + int32(line[2 * x + 1])
        row[x] = (high & 0xFF00) | (low & 0xFF)


@kernel
def _add_average(line: Line, row: Row, above: Row) -> None:
    high = low = 0
    for x in range(len(row)):
        up = int32(above[x])
        high = (int32(line[2 * x]) + ((high + (up >> 8)) >> 1)) & 255
        low = (int32(line[2 * x + 1]) + ((low + (up & 255)) >> 1)) & 255
        row[x] = high << 8 | low


@kernel
def _add_paeth(line: Line, row: Row, above: Row) -> None:
    high = low = corner_high = corner_low = 0
    for x in range(len(row)):
        up_high, up_low = int32(above[x]) >> 8, int32(above[x]) & 255
        high = (int32(line[2 * x]) + _paeth(high, up_high, corner_high)) & 255
        low = (int32(line[2 * x + 1]) + _paeth(low, up_low, corner_low)) & 255
        corner_high, corner_low = up_high, up_low
        row[x] = high << 8 | low


@kernel
def _paeth(left: int, above: int, corner: int) -> int:
    """Return which of three neighbours is closest to ``left + above - corner``.

    The specification compares three distances. The answer is the same as asking on which side of
    both neighbours the prediction falls, or whether between them.
    """
    low, high = min(left, above), max(left, above)
    turned = 3 * corner - (left + above)
    beyond = low if high <= turned else corner
    return high if turned <= low else beyond
