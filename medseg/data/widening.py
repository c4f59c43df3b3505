"""float16 to float32 on a processor, without torch's threads.

torch shares such work among threads that spin for a while when they are done, beside the threads
that augment: for a batch of 2.5D slices that costs more than the work itself.
"""

import numpy as np
from numpy.typing import NDArray

from medseg.kernel import kernel

# Both loops of a part find it in the cache.
_PART = 1 << 16


def widened(half: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return finite numbers of float16 as float32, exactly.

    >>> widened(np.array([0.5, -65504, 6e-8], np.float16)).tolist()
    [0.5, -65504.0, 5.960464477539063e-08]
    """
    wide = np.empty(half.shape, np.float32)
    bits, flat = np.ascontiguousarray(half).view(np.uint16).reshape(-1), wide.reshape(-1)
    for first in range(0, len(bits), _PART):
        part = flat[first : first + _PART]
        _shift(bits[first : first + _PART], part.view(np.uint32))
        # The exponent of float16 counts from 2 ** -15, that of float32 from 2 ** -127; numbers
        # below the least normal one come out right, too.
        part *= np.float32(2.0**112)
    return wide


@kernel
def _shift(half: NDArray[np.uint16], wide: NDArray[np.uint32]) -> None:
    """Put sign, exponent and fraction where float32 has them."""
    for n in range(len(half)):
        bits = np.uint32(half[n])
        sign, rest = bits & np.uint32(0x8000), bits & np.uint32(0x7FFF)
        wide[n] = sign << np.uint32(16) | rest << np.uint32(13)
