"""Closed contours around the pixels of a mask.

Contours run midway between the centres of pixels in the mask and pixels outside it (marching
squares at one half), so that filling them gives exactly the mask back at the centres. Pixels that
touch at a corner only are kept apart; background that does is one. So no contour meets itself or
another, and which way a filler counts (odd and even, winding, union, XOR) does not matter.

A hole is joined to its outer contour by a *keyhole*: a channel of no width, along which the
contour runs to the hole, around it and back (DICOM PS3.3 C.8.8.6.3). Separate contours for holes
would have to be combined by XOR, and readers that unite contours would fill the holes. Channels run
along i midway between two rows of centres, inside the mask: no centre lies on one, and a filler
that goes row by row never meets one.
"""

from typing import cast

import contourpy
import numpy as np
from numpy.typing import NDArray

Contour = NDArray[np.float64]
# Rings of a piece in one array, the outer one first, and where each begins.
_Filled = tuple[list[Contour], list[NDArray[np.uint32]]]


def closed_contours(mask: NDArray[np.generic]) -> list[Contour]:
    """Return the contours of a mask ``(I, J)``, each ``(points, 2)`` in pixels ``(i, j)``.

    Centres of pixels are whole numbers; all coordinates are multiples of one half. The first point
    is not repeated at the end, and none lies on the straight line between its neighbours but
    ends of channels. Areas by the shoelace formula are positive. A contour encloses one connected
    piece of the mask, so that an island in a hole has a contour of its own. A mask at the border
    is closed half a pixel outside. An empty mask has no contour.
    """
    inside = np.asarray(mask, bool)
    rows, columns = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    if not rows.size:
        return []
    box = inside[columns[0] : columns[-1] + 1, rows[0] : rows[-1] + 1]
    # contourpy takes (y, x). At a saddle it asks whether the mean of four is above the level: one
    # half is not, which keeps pixels that touch at a corner apart.
    generator = contourpy.contour_generator(
        z=np.pad(box, 1).T.astype(np.float64), name="serial", fill_type="OuterOffset"
    )
    pieces, offsets = cast(_Filled, generator.filled(0.5, np.inf))
    corner = np.array([columns[0] - 1, rows[0] - 1], np.float64)
    return [
        _with_keyholes([_corners(ring) for ring in np.split(piece + corner, starts[1:-1])])
        for piece, starts in zip(pieces, offsets, strict=True)
    ]


def _corners(ring: Contour) -> Contour:
    """Return a ring without its repeated last point and without points on straight lines."""
    ring = ring[:-1]
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    bends: NDArray[np.bool_] = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return ring[bends]


def _with_keyholes(rings: list[Contour]) -> Contour:
    """Join holes to the outer ring, the first, by channels that run from each hole towards -i.

    They begin at the hole's lowest j, where no part of the hole itself lies on the way. What they
    meet has a lower j, or the same and a lower i: it was joined before, in the order taken here.
    """
    outline, *holes = rings
    loops = [np.roll(hole, -np.lexsort(hole.T)[0], 0) for hole in holes]
    for loop in sorted(loops, key=lambda loop: (loop[0, 1], loop[0, 0])):
        after, met = _met(outline, loop[0])
        head = outline[: after + int((outline[after] != met).any())]
        tail = outline[after + 1 :]
        outline = np.concatenate([head, [met], loop, loop[:1], [met], tail])
    return outline


def _met(outline: Contour, point: Contour) -> tuple[int, Contour]:
    """Return where a line from `point` towards -i meets the outline, and after which point of it.

    A place that the outline passes twice, the tip of a hole where its own channel ends, is met on
    the way back: so the channels do not cross.
    """
    i, j = outline.T
    next_i, next_j = np.roll(i, -1), np.roll(j, -1)
    at = point[1]
    crossing = ((j < at) & (at < next_j)) | ((j > at) & (at > next_j))
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.where(crossing, i + (at - j) * (next_i - i) / (next_j - j), i)
    along[~(crossing | (j == at)) | (along >= point[0])] = -np.inf
    after = len(along) - 1 - int(np.argmax(along[::-1]))
    return after, np.array([along[after], at])
