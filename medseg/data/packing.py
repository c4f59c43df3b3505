"""Masks of several organs in one byte a pixel."""

import numpy as np
from numpy.typing import NDArray

from medseg.kernel import kernel


def packed(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``(K, J, I)`` with bit c set where ``masks[c]`` is not 0; at most 8 masks.

    >>> packed(np.array([1, 0, 0, 7], np.uint8).reshape(2, 1, 1, 2)).tolist()
    [[[1, 2]]]
    """
    bits = np.zeros(masks.shape[1:], np.uint8)
    _set_bits(masks, bits)
    return bits


@kernel
def _set_bits(masks: NDArray[np.uint8], bits: NDArray[np.uint8]) -> None:
    # Row by row, so that a row of bits stays in the cache while all masks pass by.
    for k in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            for channel in range(masks.shape[0]):
                for i in range(bits.shape[2]):
                    bits[k, j, i] |= np.uint8(masks[channel, k, j, i] != 0) << channel
