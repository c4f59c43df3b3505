"""Passes over all voxels of a scan: one counts grey values, one scales them."""

import numpy as np
from numba import float32, int32
from numpy.typing import NDArray

from medseg.kernel import kernel

# Values looked at together: few enough to stay in the nearest cache from one loop to the next.
_BLOCK = 2048


@kernel
def count_values(values: NDArray[np.float32], counts: NDArray[np.int64]) -> bool:
    """Add to ``counts[v]`` how often each value v occurs.

    Args:
        values: Any number of them, contiguous.
        counts: ``(65536,)``.

    Returns:
        Whether all values are whole numbers from 0 to 65535; if not, `counts` is filled in part.
    """
    codes = np.empty(_BLOCK, np.uint16)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        others = int32(0)
        # Without a way out, this loop works on many values at once; counting cannot.
        for n in range(len(block)):
            code = int32(block[n] if 0 <= block[n] <= 65535 else float32(0))
            others += int32(float32(code) != block[n])
            codes[n] = code
        if others:
            return False
        for n in range(len(block)):
            counts[codes[n]] += 1
    return True


@kernel
def scale_values(
    values: NDArray[np.float32], low: np.float32, factor: np.float32, scaled: NDArray[np.float32]
) -> None:
    """Fill `scaled` with ``(values - low) * factor``, clipped to [0, 1]; NaN stays NaN."""
    for n in range(len(values)):
        value = (values[n] - low) * factor
        value = float32(0) if value < 0 else value
        scaled[n] = float32(1) if value > 1 else value
