"""A slice in the making, with what is known of its room: where the gut may still lie."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from medseg.data.phantom.canvas import Box, Canvas, Ellipse, Floats


class Grain(NamedTuple):
    """The signal of a tissue: its mean, and how much it follows the fine and the coarse noise."""

    mean: float
    fine: float = 0.0
    coarse: float = 0.0


Tone = float | Grain | Callable[[Box], Floats]


@dataclass
class Sheet:
    """A slice being painted: canvas, height, and the fields the hollow organs must respect.

    Attributes:
        canvas: Where to paint.
        z_mm: Canonical height.
        fine: Noise with waves of a few mm, ``(H, W)``, mean 0.
        coarse: Noise with waves of a centimetre.
        cavity_mm: Field of the cavity inside the muscle wall, firm organs cut out.
        soft_mm: Field of liver and spleen, which give way to a full large bowel only.
    """

    canvas: Canvas
    z_mm: float
    fine: Floats
    coarse: Floats
    cavity_mm: Floats
    soft_mm: Floats

    def solid(self, shape: Ellipse | None, tone: Tone, *, gap_mm: float = 0.0) -> None:
        """Paint an ellipse inside the body and keep the bowel out of it; None paints nothing."""
        if shape is None:
            return
        box, field = self.canvas.ellipse(shape)
        self.canvas.paint(box, field, self.toned(tone, box))
        np.maximum(self.cavity_mm[box], gap_mm - field, out=self.cavity_mm[box])

    def toned(self, tone: Tone, box: Box) -> Floats | float:
        """Return the signal of a tissue in a window."""
        if isinstance(tone, Grain):
            signal: Floats = np.float32(tone.fine) * self.fine[box] + np.float32(tone.mean)
            if tone.coarse:
                signal += np.float32(tone.coarse) * self.coarse[box]
            return signal
        return tone if isinstance(tone, float) else tone(box)
