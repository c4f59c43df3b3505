"""The changes of one slice that take a loop over its pixels; all arrays are contiguous."""

from typing import Any

import numpy as np
from numba import float32, int32, uint32, uint64
from numpy.typing import NDArray

from medseg.kernel import fused_kernel, kernel
from medseg.splitmix import ROUNDS, STEP

# Zeros around a slice, so that no pixel has to ask whether it lies inside: a row and column before
# the first, and two behind the last for a position beyond the slice and its neighbour.
_FRAME = 3

_ROUNDS = tuple((np.uint64(shift), np.uint64(factor)) for shift, factor in ROUNDS)

# First control points and weights along rows and along columns, as `spline.taps` returns them.
Taps = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]


@kernel
def warp_slice(
    image: NDArray[np.float32],
    masks: NDArray[np.uint8],
    sampling: NDArray[np.float64],
    bend: tuple[NDArray[np.float32], Taps],
    moved_image: NDArray[np.float32],
    moved_masks: NDArray[np.uint8],
) -> None:
    """Move a slice's image, interpolated linearly, and its masks, which take the nearest pixel.

    Args:
        image: ``(C, H, W)``.
        masks: ``(K, H, W)``.
        sampling: From a pixel's place right of the centre and below it to where it is taken from,
            ``(2, 3)``.
        bend: Displacements before that, along x and y, at control points ``(2, rows, columns)``;
            no points for none. And their taps.
        moved_image: To fill, like `image`.
        moved_masks: To fill, like `masks`.
    """
    height, width = image.shape[1:]
    points, taps = bend
    pixels, bits = _framed(image), _framed(masks)
    bent = np.zeros((2, width), np.float32)
    corner, part = np.empty((2, width), np.uint32), np.empty((2, width), np.float32)
    for y in range(height):
        for axis in range(len(points)):
            field_row(points[axis], taps, y, bent[axis])
        _place(sampling, bent, y, height, corner, part)
        for c in range(len(image)):
            _blend(pixels[c], corner[0], part[0], part[1], moved_image[c, y])
        for k in range(len(masks)):
            _pick(bits[k], corner[1], moved_masks[k, y])


@kernel
def _framed(planes: NDArray[Any]) -> NDArray[Any]:
    count, height, width = planes.shape
    framed = np.zeros((count, height + _FRAME, width + _FRAME), planes.dtype)
    for plane in range(count):
        for y in range(height):
            source, target = planes[plane, y], framed[plane, y + 1]
            for x in range(width):
                target[x + 1] = source[x]
    return framed


@fused_kernel
def _place(
    sampling: NDArray[np.float64],
    bent: NDArray[np.float32],
    y: int,
    height: int,
    corner: NDArray[np.uint32],
    part: NDArray[np.float32],
) -> None:
    """Find where a row's pixels are taken from.

    Fills `corner` with indices into a framed plane: the pixel above and left of the place, and the
    nearest one; and `part` with how far beyond the former it lies, along x and y.
    """
    width = bent.shape[1]
    middle_x, middle_y = float32((width - 1) / 2), float32((height - 1) / 2)
    (xx, xy, shift_x), (yx, yy, shift_y) = sampling.astype(np.float32)
    for x in range(width):
        right = float32(x) - middle_x + bent[0, x]
        down = float32(y) - middle_y + bent[1, x]
        at_x = xx * right + xy * down + (shift_x + middle_x + float32(1))
        at_y = yx * right + yy * down + (shift_y + middle_y + float32(1))
        at_x = min(max(at_x, float32(0)), float32(width + 1))
        at_y = min(max(at_y, float32(0)), float32(height + 1))
        left, top = int32(at_x), int32(at_y)
        part[0, x], part[1, x] = at_x - float32(left), at_y - float32(top)
        corner[0, x] = uint32(top * int32(width + _FRAME) + left)
        near_x, near_y = int32(at_x + float32(0.5)), int32(at_y + float32(0.5))
        corner[1, x] = uint32(near_y * int32(width + _FRAME) + near_x)


@fused_kernel
def _blend(
    plane: NDArray[np.float32],
    corner: NDArray[np.uint32],
    right: NDArray[np.float32],
    down: NDArray[np.float32],
    target: NDArray[np.float32],
) -> None:
    stride, flat = uint64(plane.shape[1]), plane.reshape(-1)
    for x in range(len(target)):
        above = uint64(corner[x])  # unsigned: a negative index would be asked for and handled
        below = above + stride
        a, b = flat[above], flat[above + uint64(1)]
        c, d = flat[below], flat[below + uint64(1)]
        upper, lower = a + right[x] * (b - a), c + right[x] * (d - c)
        target[x] = upper + down[x] * (lower - upper)


@kernel
def _pick(plane: NDArray[np.uint8], nearest: NDArray[np.uint32], target: NDArray[np.uint8]) -> None:
    flat = plane.reshape(-1)
    for x in range(len(target)):
        target[x] = flat[uint64(nearest[x])]


@fused_kernel
def field_row(points: NDArray[np.float32], taps: Taps, y: int, target: NDArray[np.float32]) -> None:
    """Fill a row of a field with what `spline.enlarged` has there."""
    rows, row_weights, columns, column_weights = taps
    coarse = np.zeros(points.shape[1], np.float32)
    for tap in range(4):
        coarse += row_weights[tap, y] * points[rows[y] + tap]
    for x in range(len(target)):
        first = uint64(columns[x])
        value = float32(0)
        for tap in range(4):
            value += column_weights[tap, x] * coarse[first + uint64(tap)]
        target[x] = value


@kernel
def field(points: NDArray[np.float32], taps: Taps) -> NDArray[np.float32]:
    """Return a whole field ``(H, W)`` from control points ``(rows, columns)``."""
    whole = np.empty((len(taps[0]), len(taps[2])), np.float32)
    for y in range(len(whole)):
        field_row(points, taps, y, whole[y])
    return whole


@fused_kernel
def coarsen_slice(image: NDArray[np.float32], rows: int, columns: int) -> None:
    """Keep so many rows and columns, the nearest ones, and fill linearly between them.

    Args:
        image: ``(C, H, W)``, changed in place.
        rows: How many to keep, at least 1.
        columns: Likewise.
    """
    fine = image.copy()
    height, width = image.shape[1:]
    row = np.empty(width, np.float32)
    left, right = np.empty(width, np.uint32), np.empty(width, np.uint32)
    across = np.empty(width, np.float32)
    for x in range(width):
        left[x], right[x], across[x] = _kept(x, columns, width)
    for y in range(height):
        top, bottom, down = _kept(y, rows, height)
        for c in range(len(image)):
            upper, lower, target = fine[c, top], fine[c, bottom], image[c, y]
            for x in range(width):
                row[x] = upper[x] + down * (lower[x] - upper[x])
            for x in range(width):
                target[x] = row[left[x]] + across[x] * (row[right[x]] - row[left[x]])


@kernel
def _kept(pixel: int, count: int, length: int) -> tuple[int, int, np.float32]:
    """Return the kept pixels before and after a pixel, and how far it lies between them."""
    # Centres in halves of a pixel: whole numbers, or devices would round them differently.
    at = max((2 * pixel + 1) * count - length, 0)
    below = at // (2 * length)
    above = min(below + 1, count - 1)
    between = float32(at % (2 * length)) / float32(2 * length)
    first, second = (2 * below + 1) * length // (2 * count), (2 * above + 1) * length // (2 * count)
    return first, second, between


@fused_kernel
def add_noise_slice(
    pixels: NDArray[np.float32], deviation: np.float32, key: np.uint64, normals: NDArray[np.float32]
) -> None:
    """Add to each of the pixels ``(n,)`` the normal number that its place and `key` choose.

    Args:
        pixels: Changed in place.
        deviation: Of the noise.
        key: Of the noise.
        normals: The 65,536 quantiles to choose from.
    """
    whole = len(pixels) // 4
    for index in range(whole):
        word = _word(key, index)
        for n in range(4):
            pixels[4 * index + n] += deviation * normals[word & uint64(0xFFFF)]
            word >>= uint64(16)
    word = _word(key, whole)
    for n in range(4 * whole, len(pixels)):
        pixels[n] += deviation * normals[word & uint64(0xFFFF)]
        word >>= uint64(16)


@kernel
def _word(key: np.uint64, index: int) -> np.uint64:
    """Return one of the words that `draws.words` returns."""
    word: np.uint64 = key + uint64(index + 1) * uint64(STEP)
    for shift, factor in _ROUNDS:
        word = (word ^ (word >> shift)) * factor
    return word
