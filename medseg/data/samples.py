"""Training samples by number: of which scan, which slices, which window, and with which seed.

What a sample is follows from the data set's seed, the epoch and the sample's number alone, so any
epoch can be repeated, by any number of readers. Everything is worked out for a whole batch at once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.splitmix import STEP, mixed

# Windows take a stream of their own: the augmentation starts from the seed itself.
_WINDOW = np.uint64(0x2545F4914F6CDD1D)

Numbers = NDArray[np.int64]


class Samples(NamedTuple):
    """Some samples, the B of a batch.

    Attributes:
        scan: Which scan each is of, ``(B,)``.
        slices: The slices of that scan that are its channels, ``(B, neighbours)``.
        draw: The seed of its augmentation, 0 to 2 ** 63 - 1, ``(B,)``.
        top: The first row of its window, ``(B,)``.
        left: The first column of its window, ``(B,)``.
    """

    scan: Numbers
    slices: Numbers
    draw: Numbers
    top: Numbers
    left: Numbers

    @property
    def k(self) -> Numbers:
        """The slice that each sample is, and whose masks it has, ``(B,)``."""
        return self.slices[:, self.slices.shape[1] // 2]


def seeds(seed: int, epochs: Numbers, numbers: Numbers) -> Numbers:
    """Return a seed for each (epoch, number), ``(B,)``, below 2 ** 63 to fit a LongTensor."""
    state = mixed(np.array([seed % (1 << 64)], np.uint64))
    for part in (epochs, numbers):
        state = mixed(state + (part + 1).astype(np.uint64) * np.uint64(STEP))
    return (state >> np.uint64(1)).view(np.int64)


def corners(draws: Numbers, room: Numbers) -> tuple[Numbers, Numbers]:
    """Return the first row and column of each sample's window.

    Args:
        draws: The samples' seeds, ``(B,)``.
        room: How many rows and how many columns a window may begin at, ``(B, 2)``, each below
            2 ** 31; where it is 1 the window begins at 0.
    """
    bits = mixed(draws.astype(np.uint64) ^ _WINDOW)
    half = np.uint64(32)
    # The upper half of a 32-bit fraction times the room: Lemire, "Fast random integer generation
    # in an interval", ACM TOMACS 29, 2019.
    fractions = np.stack([bits >> half, bits & np.uint64(0xFFFFFFFF)], axis=1)
    top, left = ((fractions * room.astype(np.uint64)) >> half).astype(np.int64).T
    return top, left
