"""One slice of the phantom while it is painted: soft-edged shapes in millimetres.

Shapes are *fields*: the signed distance to their edge in mm, negative inside. Positions are
canonical: those of the reference body, before a patient's size and a day's deformation, so that a
shape stays an ellipse while its picture bends with the patient.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Box = tuple[slice, slice]

# How far the smooth deformation may carry a point, in mm: windows are wider by this much.
REACH_MM = 16.0


class Ellipse(NamedTuple):
    """An ellipse in a slice: centre, half-axes in mm, and turn in degrees."""

    x: float
    y: float
    a: float
    b: float
    turn: float = 0.0


class Ellipsoid(NamedTuple):
    """An ellipsoid: centre and half-axes in mm, turn in the slice, and lean per mm downwards."""

    x: float
    y: float
    z: float
    a: float
    b: float
    c: float
    turn: float = 0.0
    lean_x: float = 0.0
    lean_y: float = 0.0

    def at(self, z_mm: float) -> Ellipse | None:
        """Return the cut at height `z_mm`; None above and below."""
        height = z_mm - self.z
        share = 1 - (height / self.c) ** 2
        if share <= 0.01:
            return None
        x, y = self.x + self.lean_x * height, self.y + self.lean_y * height
        return Ellipse(x, y, self.a * share**0.5, self.b * share**0.5, self.turn)


class Canvas:
    """A slice in the making.

    Attributes:
        x_mm: Canonical position of every pixel towards the left, ``(H, W)``.
        y_mm: The same towards the back.
        image: Signal so far, 0 in air and about 1 in the brightest fat, ``(H, W)``.
    """

    def __init__(self, x_mm: Floats, y_mm: Floats, *, columns_mm: Floats, rows_mm: Floats) -> None:
        self.x_mm, self.y_mm = x_mm, y_mm
        self.image = np.zeros_like(x_mm)
        self.columns_mm, self.rows_mm = columns_mm, rows_mm

    @property
    def whole(self) -> Box:
        """The box of all pixels."""
        return slice(None), slice(None)

    def box(self, x: float, y: float, reach_mm: float) -> Box:
        """Return the pixels within `reach_mm` of a canonical point, however it is deformed."""
        reach = reach_mm + REACH_MM
        left, right = np.searchsorted(self.columns_mm, (x - reach, x + reach))
        top, bottom = np.searchsorted(self.rows_mm, (y - reach, y + reach))
        return slice(int(top), int(bottom)), slice(int(left), int(right))

    def ellipse(
        self, shape: Ellipse, *, box: Box | None = None, power: float = 2.0
    ) -> tuple[Box, Floats]:
        """Return the window of an ellipse (a rounder box for a higher `power`) and its field."""
        box = self.box(shape.x, shape.y, max(shape.a, shape.b)) if box is None else box
        dx, dy = self.x_mm[box] - shape.x, self.y_mm[box] - shape.y
        if shape.turn:
            cos, sin = np.cos(np.deg2rad(shape.turn)), np.sin(np.deg2rad(shape.turn))
            dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
        dx, dy = np.abs(dx) / shape.a, np.abs(dy) / shape.b
        if power == 2.0:
            radius = np.sqrt(dx * dx + dy * dy)
        else:
            radius = (dx**power + dy**power) ** (1 / power)
        return box, (radius - 1) * np.float32((shape.a * shape.b) ** 0.5)

    def paint(
        self, box: Box, field_mm: Floats, tone: Floats | float, *, soft_mm: float = 2.0
    ) -> None:
        """Lay `tone` over the inside of a field; its edge is `soft_mm` wide."""
        cover = np.clip(0.5 - field_mm / np.float32(soft_mm), 0, 1)
        image = self.image[box]
        image += cover * (tone - image)

    def oval(self, shape: Ellipse | None, tone: Floats | float, *, soft_mm: float = 2.0) -> None:
        """Paint an ellipse; None paints nothing."""
        if shape is not None:
            box, field = self.ellipse(shape)
            self.paint(box, field, tone, soft_mm=soft_mm)
