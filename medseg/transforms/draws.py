"""Chance, without a generator: what is drawn for a sample is a function of its seed.

A generator a sample takes tens of microseconds to set up and draws one after the other. Here the
n-th number of a sample is a hash of its seed and n, so that a whole batch is drawn at once, in any
order, and the same again on every machine.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.splitmix import STEP, mixed

Words = NDArray[np.uint64]
Reals = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Draws(NamedTuple):
    """What happens to each of B samples: a table with an array ``(B,)`` a column.

    The slice is flipped, then rotated, scaled and shifted about its centre, and then bent. Its
    intensities pass the changes from `gamma` to `noise` in this order.

    Attributes:
        flip_x: Whether columns are mirrored.
        flip_y: Whether rows are mirrored.
        rotation_deg: Counter-clockwise as the slice is seen, rows downwards.
        scale: Magnification.
        shift_x: To the right, as a share of the width.
        shift_y: Downwards, as a share of the height.
        elastic_px: Control points are displaced by at most this along either axis.
        gamma: Exponent of the intensities.
        bias: The logarithm of the field that multiplies the intensities is at most this.
        contrast: Factor on the intensities.
        brightness: Added to the intensities.
        resolution: Pixels along an edge that are kept, as a share of all.
        noise: Standard deviation of what is added to each pixel.
        elastic_key: Of the displacements of the control points.
        bias_key: Of the bias field.
        noise_key: Of the noise.
    """

    flip_x: Bools
    flip_y: Bools
    rotation_deg: Reals
    scale: Reals
    shift_x: Reals
    shift_y: Reals
    elastic_px: Reals
    gamma: Reals
    bias: Reals
    contrast: Reals
    brightness: Reals
    resolution: Reals
    noise: Reals
    elastic_key: Words
    bias_key: Words
    noise_key: Words

    @property
    def moves(self) -> Bools:
        """Whether pixels come to lie between pixels, so that they must be interpolated."""
        moving = (self.rotation_deg, self.shift_x, self.shift_y, self.elastic_px, self.scale - 1)
        found: Bools = np.any(np.stack(moving) != 0, axis=0)
        return found


def still(count: int) -> Draws:
    """Return draws that leave `count` samples as they are."""
    no, zero, one = np.zeros(count, bool), np.zeros(count), np.ones(count)
    key = np.zeros(count, np.uint64)
    return Draws(
        *(no, no, zero, one, zero, zero, zero),
        *(one, zero, one, zero, one, zero),
        *(key, key, key),
    )


def words(keys: Words, count: int) -> Words:
    """Return `count` words of 64 random bits for each key, ``(*keys.shape, count)``."""
    return mixed(keys[..., None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(STEP))


def uniforms(keys: Words, count: int) -> Reals:
    """Return `count` numbers in [0, 1) for each key, ``(*keys.shape, count)``."""
    return (words(keys, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def spread(keys: Words, limits: Reals, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return numbers drawn evenly within plus and minus each sample's limit, ``(B, *shape)``."""
    drawn = (2 * uniforms(keys, int(np.prod(shape))) - 1) * limits[:, None]
    return drawn.reshape(-1, *shape).astype(np.float32)
