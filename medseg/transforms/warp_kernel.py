"""The pixels of one slice moved in one pass: what `warp` asks of a processor."""

from typing import Any

import numpy as np
from numba import float32, int32, njit, uint32, uint64
from numpy.typing import NDArray

# Zeros around a slice, so that no pixel has to ask whether it lies inside: a row and column before
# the first, and two behind the last for a position beyond the slice and its neighbour.
_FRAME = 3


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def warp_slice(
    image: NDArray[np.float32],
    masks: NDArray[np.uint8],
    sampling: NDArray[np.float64],
    bend: NDArray[np.float32],
    moved_image: NDArray[np.float32],
    moved_masks: NDArray[np.uint8],
) -> None:
    """Move a slice's image, interpolated linearly, and its masks, which take the nearest pixel.

    Args:
        image: ``(C, H, W)``; all arrays are contiguous.
        masks: ``(K, H, W)``.
        sampling: From a pixel's place right of the centre and below it to where it is taken from,
            ``(2, 3)``.
        bend: Displacements before that, along x and y, ``(H, 2, W)``; ``(0, 2, W)`` for none.
        moved_image: To fill, like `image`.
        moved_masks: To fill, like `masks`.
    """
    height, width = image.shape[1:]
    pixels, bits = _framed(image), _framed(masks)
    straight = np.zeros((2, width), np.float32)
    corner, part = np.empty((2, width), np.uint32), np.empty((2, width), np.float32)
    for y in range(height):
        _place(sampling, bend[y] if len(bend) else straight, y, height, corner, part)
        for c in range(len(image)):
            _blend(pixels[c], corner[0], part, moved_image[c, y])
        for k in range(len(masks)):
            source, target = bits[k].reshape(-1), moved_masks[k, y]
            for x in range(width):
                target[x] = source[corner[1, x]]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _framed(planes: NDArray[Any]) -> NDArray[Any]:
    count, height, width = planes.shape
    framed = np.zeros((count, height + _FRAME, width + _FRAME), planes.dtype)
    framed[:, 1 : height + 1, 1 : width + 1] = planes
    return framed


@njit(cache=True, nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _place(
    sampling: NDArray[np.float64],
    bend: NDArray[np.float32],
    y: int,
    height: int,
    corner: NDArray[np.uint32],
    part: NDArray[np.float32],
) -> None:
    """Find where a row's pixels are taken from.

    Fills `corner` with indices into a framed plane: the pixel above and left of the place, and the
    nearest one; and `part` with how far beyond the former it lies, along x and y.
    """
    width = bend.shape[1]
    middle_x, middle_y = float32((width - 1) / 2), float32((height - 1) / 2)
    (xx, xy, shift_x), (yx, yy, shift_y) = sampling.astype(np.float32)
    for x in range(width):
        right = float32(x) - middle_x + bend[0, x]
        down = float32(y) - middle_y + bend[1, x]
        at_x = xx * right + xy * down + (shift_x + middle_x + float32(1))
        at_y = yx * right + yy * down + (shift_y + middle_y + float32(1))
        at_x = min(max(at_x, float32(0)), float32(width + 1))
        at_y = min(max(at_y, float32(0)), float32(height + 1))
        left, top = int32(at_x), int32(at_y)
        part[0, x], part[1, x] = at_x - float32(left), at_y - float32(top)
        corner[0, x] = uint32(top * int32(width + _FRAME) + left)
        near_x, near_y = int32(at_x + float32(0.5)), int32(at_y + float32(0.5))
        corner[1, x] = uint32(near_y * int32(width + _FRAME) + near_x)


@njit(cache=True, nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _blend(
    plane: NDArray[np.float32],
    corner: NDArray[np.uint32],
    part: NDArray[np.float32],
    target: NDArray[np.float32],
) -> None:
    stride, flat = uint64(plane.shape[1]), plane.reshape(-1)
    for x in range(len(target)):
        above = uint64(corner[x])  # unsigned: a negative index would be asked for and handled
        below = above + stride
        upper = flat[above] + part[0, x] * (flat[above + uint64(1)] - flat[above])
        lower = flat[below] + part[0, x] * (flat[below + uint64(1)] - flat[below])
        target[x] = upper + part[1, x] * (lower - upper)
