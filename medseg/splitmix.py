"""Chance without a generator: 64 bits mixed until no two inputs look alike.

References:
    Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators, OOPSLA; the
    constants are those of Vigna's splitmix64.
"""

import numpy as np
from numpy.typing import NDArray

STEP = 0x9E3779B97F4A7C15
# How far to shift, and what to multiply with then.
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return each number with its bits mixed; no two give the same.

    Arrays throughout: they wrap around in silence, where scalars would warn.
    """
    for shift, factor in ROUNDS:
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words
