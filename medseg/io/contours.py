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
        _with_keyholes(np.split(piece + corner, starts[1:-1]))
        for piece, starts in zip(pieces, offsets, strict=True)
    ]


def _with_keyholes(rings: list[Contour]) -> Contour:
    """Join the rings of holes to the outer ring by channels that run from each hole towards -i.

    A channel begins at the hole's lowest j, where no part of the hole itself lies on the way. What
    it meets has a lower j, or the same and a lower i. So from the last ring to the first, all
    channels that end at a ring are known when it is its turn.
    """
    rings = sorted(map(_from_lowest, rings), key=lambda ring: (ring[0, 1], ring[0, 0]))
    channels: list[dict[int, Contour]] = [{} for _ in rings]
    for hole, (ring, after, place) in reversed([*enumerate(_meetings(rings), 1)]):
        loop = _with_channels(rings[hole], channels[hole])
        channels[ring][after] = np.concatenate([[place], loop, [place]])
    return _with_channels(rings[0], channels[0])[:-1]


def _from_lowest(ring: Contour) -> Contour:
    """Return a ring that begins, and ends, at the lowest i of its lowest j: always a corner."""
    ring = np.roll(ring[:-1], -np.lexsort(ring[:-1].T)[0], 0)
    return np.concatenate([ring, ring[:1]])


def _meetings(rings: list[Contour]) -> list[tuple[int, int, Contour]]:
    """Return for the channel of each hole which ring it meets, after which point of it, and where.

    Channels run midway between two rows. There a ring has points, or it goes straight from one row
    to the next. The place where a ring begins is taken for its end: a channel that comes there
    branches off after the hole, where it does not cross the hole's own.
    """
    sizes = [len(ring) - 1 for ring in rings]
    starts = np.concatenate([ring[:-1] for ring in rings])
    ends = np.concatenate([ring[1:] for ring in rings])
    upright = np.abs(ends - starts)[:, 1] == 1
    places = np.where(upright[:, None], (starts + ends) / 2, ends)
    after = np.concatenate([np.arange(1, size + 1) for size in sizes]) - upright
    owner = np.repeat(np.arange(len(rings)), sizes)

    midway = np.flatnonzero(places[:, 1] % 1 == 0.5)
    by_row = midway[np.lexsort(places[midway].T)]
    rank = np.empty(len(places), int)
    rank[by_row] = np.arange(len(by_row))
    met = by_row[rank[np.cumsum(sizes)[1:] - 1] - 1]
    return list(zip(owner[met].tolist(), after[met].tolist(), places[met], strict=True))


def _with_channels(ring: Contour, channels: dict[int, Contour]) -> Contour:
    """Return a ring with each channel after its point, and without points on straight lines."""
    steps = np.diff(ring, axis=0)
    bends = steps[:-1, 0] * steps[1:, 1] != steps[:-1, 1] * steps[1:, 0]
    kept = np.concatenate([[True], bends, [True]])
    parts, done = [], 0
    for after, channel in sorted(channels.items()):
        kept[after] &= bool((ring[after] != channel[0]).any())
        parts += [ring[done : after + 1][kept[done : after + 1]], channel]
        done = after + 1
    return np.concatenate([*parts, ring[done:][kept[done:]]])
