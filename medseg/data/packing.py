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


def parted(bits: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return the masks ``(B, channels, H, W)`` of 0 and 1 of slices ``(B, H, W)``, a bit a channel.

    >>> parted(np.array([[[0, 1, 2, 3]]], np.uint8), 2).tolist()
    [[[[0, 1, 0, 1]], [[0, 0, 1, 1]]]]
    """
    masks = np.empty((len(bits), channels, *bits.shape[1:]), np.uint8)
    _get_bits(np.ascontiguousarray(bits), masks)
    return masks


@kernel
def _set_bits(masks: NDArray[np.uint8], bits: NDArray[np.uint8]) -> None:
    # Row by row, so that a row of bits stays in the cache while all masks pass by.
    for k in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            for channel in range(masks.shape[0]):
                for i in range(bits.shape[2]):
                    bits[k, j, i] |= np.uint8(masks[channel, k, j, i] != 0) << channel


@kernel
def _get_bits(bits: NDArray[np.uint8], masks: NDArray[np.uint8]) -> None:
    for b in range(masks.shape[0]):
        for channel in range(masks.shape[1]):
            for j in range(masks.shape[2]):
                for i in range(masks.shape[3]):
                    masks[b, channel, j, i] = bits[b, j, i] >> channel & 1
