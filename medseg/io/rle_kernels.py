"""Run-length rows of a whole scan, read from their text in one go."""

import numpy as np
from numpy.typing import NDArray

from medseg.kernel import kernel

SEPARATOR = ","  # between rows; within one it is a fault like any other letter
_SEPARATOR = ord(SEPARATOR)
# More than any slice has pixels; longer numbers stop here, whatever their length.
_LIMIT = 10**9


@kernel
def paint(text: NDArray[np.uint8], rows: int, pixels: int, masks: NDArray[np.uint8]) -> bool:
    """Set the pixels of all runs to 1.

    Args:
        text: The rows, joined by `SEPARATOR`; read-only, so that one form is compiled.
        rows: How many there are.
        pixels: Pixels of a slice.
        masks: ``(rows * pixels,)``, zeros; or ``(0,)``, to look only whether the rows are sound.

    Returns:
        Whether all rows are sound; if not, `masks` is filled in part.
    """
    numbers = np.empty(len(text) // 2 + 1, np.int64)
    ends = np.empty(rows, np.int64)
    if not _parse(text, numbers, ends):
        return False
    at = 0
    for row in range(rows):
        last = 0
        while at < ends[row]:
            start, length = numbers[at], numbers[at + 1]
            if start <= last or length < 1 or start + length - 1 > pixels:
                return False
            last = start + length - 1
            if len(masks):
                masks[row * pixels + start - 1 : row * pixels + last] = 1
            at += 2
    return True


@kernel
def _parse(text: NDArray[np.uint8], numbers: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    """Read the numbers, and for each row how many there are up to its end.

    Returns:
        Whether there is nothing but digits and blanks, each row has an even count of numbers, and
        there are as many rows as were to come.
    """
    count = row = 0
    value = -1  # of the digits read so far; none
    for letter in text:
        if 48 <= letter <= 57:
            value = min(10 * max(value, 0) + letter - 48, _LIMIT)
            continue
        if value >= 0:
            numbers[count] = value
            count += 1
            value = -1
        if letter == _SEPARATOR:
            if count % 2 or row == len(ends) - 1:
                return False
            ends[row] = count
            row += 1
        elif letter != 32 and not 9 <= letter <= 13:
            return False
    if value >= 0:
        numbers[count] = value
        count += 1
    ends[row] = count
    return count % 2 == 0 and row == len(ends) - 1
