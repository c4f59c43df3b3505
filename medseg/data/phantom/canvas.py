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
        self, shape: Ellipse, *, box: Box | None = None, boxy: float = 0.0
    ) -> tuple[Box, Floats]:
        """Return the window of an ellipse and its field.

        Args:
            shape: The ellipse.
            box: The window, instead of the smallest that surely holds the ellipse.
            boxy: 0 for an ellipse, 1 for a superellipse of exponent 4, between for a trunk.
        """
        box = self.box(shape.x, shape.y, max(shape.a, shape.b)) if box is None else box
        dx, dy = self.x_mm[box] - np.float32(shape.x), self.y_mm[box] - np.float32(shape.y)
        if shape.turn:
            turn = np.deg2rad(shape.turn)
            cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
        dx *= np.float32(1 / shape.a)
        dy *= np.float32(1 / shape.b)
        dx *= dx
        dy *= dy
        radius = np.sqrt(dx + dy)
        if boxy:
            radius *= np.float32(1 - boxy)
            radius += np.float32(boxy) * np.sqrt(np.sqrt(dx * dx + dy * dy))
        radius -= 1
        radius *= np.float32((shape.a * shape.b) ** 0.5)
        return box, radius

    def paint(
        self, box: Box, field_mm: Floats, tone: Floats | float, *, soft_mm: float = 2.0
    ) -> None:
        """Lay `tone` over the inside of a field; its edge is `soft_mm` wide."""
        cover = field_mm * np.float32(-1 / soft_mm)
        cover += np.float32(0.5)
        np.maximum(cover, 0, out=cover)
        np.minimum(cover, 1, out=cover)
        image = self.image[box]
        cover *= tone - image
        image += cover

    def oval(self, shape: Ellipse | None, tone: Floats | float, *, soft_mm: float = 2.0) -> None:
        """Paint an ellipse; None paints nothing."""
        if shape is not None:
            box, field = self.ellipse(shape)
            self.paint(box, field, tone, soft_mm=soft_mm)
