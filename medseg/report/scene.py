"""A scan with its masks, and the slices of it that are worth showing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medseg.geometry import Spacing
from medseg.report.panels import Pixels, View

_BODY_SHARE = 0.1  # of the brightest tissue
_MARGIN_MM = 8.0


class Scene(NamedTuple):
    """A scan with its masks: ``(I, J, K)`` and ``(C, I, J, K)``."""

    image: Pixels
    truth: Pixels | None
    pred: Pixels | None
    spacing_mm: Spacing

    def view(self, axis: int, index: int, title: str) -> View:
        """Return the slice at `index` of `axis`; K runs down the figure, in axial slices J."""
        across, down = (a for a in range(3) if a != axis)
        return View(
            cut(self.image, axis, index),
            None if self.truth is None else cut(self.truth, axis, index),
            None if self.pred is None else cut(self.pred, axis, index),
            (self.spacing_mm[across], self.spacing_mm[down]),
            title,
            "AP" if axis == 0 else "RL",
        )

    def largest(self, channels: Sequence[int], *, axis: int) -> int | None:
        """Return the slice that shows most of the organs, each told by its own largest area.

        The reference decides, the prediction where the reference has none of them; None when
        neither has any.
        """
        rest = tuple(a for a in range(3) if a != axis)
        for masks in (self.truth, self.pred):
            if masks is not None:
                areas = [np.count_nonzero(masks[channel], axis=rest) for channel in channels]
                if np.any(areas):
                    return int(np.sum([a / max(a.max(), 1) for a in areas], axis=0).argmax())
        return None

    def most_wrong(self, channel: int) -> int | None:
        """Return the axial slice with most voxels of an organ on one side alone; None if none."""
        sides = [m[channel] for m in (self.truth, self.pred) if m is not None]
        wrong = np.logical_xor.reduce(sides) if sides else np.zeros((1, 1, 1))
        areas = np.count_nonzero(wrong, axis=(0, 1))
        return int(areas.argmax()) if np.any(areas) else None

    def cut_to_body(self) -> "Scene":
        """Return the scene without the dark margins in I and J; no mask is cut."""
        shown = self.image > _BODY_SHARE * np.percentile(self.image, 99)
        spans: list[slice] = []
        for axis, rest in ((0, (1, 2)), (1, (0, 2))):
            seen = shown.mean(axis=rest) > _BODY_SHARE / 10
            for masks in (self.truth, self.pred):
                if masks is not None:
                    seen |= np.any(masks, axis=(0, *(a + 1 for a in rest)))
            where = np.flatnonzero(seen)
            margin = round(_MARGIN_MM / self.spacing_mm[axis])
            first, last = (where[0], where[-1]) if where.size else (0, seen.size - 1)
            spans.append(slice(max(0, first - margin), last + margin + 1))
        i, j = spans
        truth, pred = (None if m is None else m[:, i, j] for m in (self.truth, self.pred))
        return Scene(self.image[i, j], truth, pred, self.spacing_mm)


def cut(volume: Pixels, axis: int, index: int) -> Pixels:
    """Return a slice ``(..., H, W)``; channels in front stay there."""
    chosen: Pixels = np.take(volume, index, axis=axis - 3)
    return chosen.swapaxes(-1, -2)
