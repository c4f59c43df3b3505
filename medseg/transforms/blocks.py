"""How many blocks of pixels are bright, along the rows and the columns of slices."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.kernel import kernel

BLOCK_PX = 4


class Bright(NamedTuple):
    """Shares of bright blocks: in each column ``(K, columns)``, in each row ``(K, rows)``."""

    of_columns: NDArray[np.float32]
    of_rows: NDArray[np.float32]


def bright_blocks(slices: NDArray[np.float32], threshold: float) -> Bright:
    """Return how much of each row and column of blocks has a mean above `threshold`.

    A block has 4 x 4 pixels, those at the far edges what is left.

    Args:
        slices: ``(K, J, I)``.
        threshold: In the unit of the slices.
    """
    depth, height, width = slices.shape
    rows, columns = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
    of_columns = np.zeros((depth, columns), np.float32)
    of_rows = np.zeros((depth, rows), np.float32)
    # Views and other types would make the kernel compile once more.
    slices = np.ascontiguousarray(slices, np.float32)
    _count(slices, np.float32(threshold), of_columns, of_rows)
    return Bright(of_columns / rows, of_rows / columns)


@kernel
def _count(
    slices: NDArray[np.float32],
    threshold: np.float32,
    of_columns: NDArray[np.float32],
    of_rows: NDArray[np.float32],
) -> None:
    depth, height, width = slices.shape
    sums = np.empty(width, np.float32)
    for k in range(depth):
        for row in range(of_rows.shape[1]):
            first, last = row * BLOCK_PX, min((row + 1) * BLOCK_PX, height)
            sums[:] = 0
            for j in range(first, last):
                for i in range(width):
                    sums[i] += slices[k, j, i]
            for column in range(of_columns.shape[1]):
                start, stop = column * BLOCK_PX, min((column + 1) * BLOCK_PX, width)
                total = np.float32(0)
                for i in range(start, stop):
                    total += sums[i]
                if total > threshold * ((last - first) * (stop - start)):
                    of_columns[k, column] += 1
                    of_rows[k, row] += 1
