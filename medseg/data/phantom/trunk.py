"""The phantom's trunk: skin, fat, muscle wall and ribs, and the arm beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.canvas import REACH_MM, Canvas, Ellipse, Floats
from medseg.data.phantom.sheet import Grain, Sheet

# z, half-width, front and back of the space inside the skin's fat
_TRUNK = np.array(
    [
        (-40, 140, -82, 88),
        (30, 148, -90, 92),
        (120, 150, -96, 94),
        (200, 146, -94, 92),
        (270, 140, -86, 88),
        (330, 143, -82, 84),
        (390, 150, -82, 82),
        (480, 154, -82, 82),
    ],
    float,
)
# z, thickness of the fat under the skin in front, at the sides, at the back
_FAT = np.array(
    [
        (-40, 9, 9, 8),
        (100, 8, 8, 8),
        (200, 9, 8, 9),
        (270, 12, 11, 15),
        (340, 16, 18, 26),
        (430, 16, 22, 28),
    ],
    float,
)


@dataclass(frozen=True)
class Body:
    """What makes one patient's body: how fat, where the domes stand, and if an arm shows.

    Attributes:
        fat: Thickness of fat under the skin relative to the average.
        tones: Signal of liver, spleen, and the fat around the bowel.
        dome_mm: Height of the right and the left dome of the diaphragm.
        arm: -1 or 1 for an arm at the right or left side of the picture, 0 for none.
    """

    fat: float
    tones: tuple[float, float, float]
    dome_mm: tuple[float, float]
    arm: int


def draw_body(rng: np.random.Generator) -> Body:
    """Return a random patient's body."""
    fat = float(rng.uniform(0.6, 1.5))
    tones = float(rng.uniform(0.28, 0.38)), float(rng.uniform(0.22, 0.3)), rng.uniform(0.55, 0.68)
    dome = float(rng.uniform(100, 112))
    return Body(
        fat, tones, (dome, dome + float(rng.uniform(8, 18))), int(rng.choice([-1, 0, 0, 1]))
    )


def start_sheet(canvas: Canvas, body: Body, z_mm: float, textures: tuple[Floats, Floats]) -> Sheet:
    """Paint skin, fat and the muscle wall, and open the cavity inside.

    Args:
        canvas: An empty slice.
        body: The patient's build.
        z_mm: Canonical height.
        textures: Fine and coarse noise, ``(H, W)`` each.
    """
    fine, coarse = textures
    groove = 5 * np.exp(-((canvas.x_mm / 14) ** 2)) * (canvas.y_mm > 0)
    outer, inner = _outlines(body, z_mm)
    _, skin = canvas.ellipse(outer, box=canvas.whole, boxy=0.45)
    skin += groove
    # Whoever lies on a table has a flat back.
    np.maximum(skin, canvas.y_mm - (outer.y + outer.b - 5), out=skin)
    canvas.paint(canvas.whole, skin, 0.45)
    canvas.paint(canvas.whole, skin + 2, 0.84 + 0.03 * coarse + 0.015 * fine)
    # Scarpa's fascia: a thin dark film halfway through the fat.
    depth = 0.55 * (outer.a - inner.a)
    fascia = np.maximum(np.abs(skin + depth + 1.2 * coarse) - 0.2, canvas.y_mm - 30)
    canvas.paint(canvas.whole, fascia, 0.72)
    _, wall = canvas.ellipse(inner, box=canvas.whole, boxy=0.42)
    wall += groove
    canvas.paint(canvas.whole, wall, 0.15 + 0.03 * fine)
    # The oblique muscles lie in sheets with a film of fat between them.
    film = np.abs(wall + 5.5 + 0.8 * coarse) - 0.4
    canvas.paint(canvas.whole, film, 0.42, soft_mm=1.6)
    cavity = wall + np.float32(11.0)
    vessels = 0.25 * np.clip(np.abs(fine) - 2.1, 0, 1)
    canvas.paint(canvas.whole, cavity, body.tones[2] + 0.03 * fine + 0.05 * coarse - vessels)
    sheet = Sheet(canvas, z_mm, fine, coarse, cavity, np.full_like(cavity, 99))
    if z_mm > 190:  # the straight muscles, left and right of the white line
        for side in (-1, 1):
            shape = Ellipse(side * 33, inner.y - inner.b + 7, 31, 8, side * 9)
            sheet.solid(shape, Grain(0.15, fine=0.03), gap_mm=1)
    if z_mm < 265:
        _ribs(sheet, wall)
    return sheet


def paint_arm(sheet: Sheet, body: Body) -> None:
    """Paint an arm that lies beside the trunk, or nothing."""
    if not body.arm:
        return
    x = _arm_mm(body, sheet.z_mm)
    muscle = 0.16 + 0.04 * sheet.fine[sheet.canvas.box(x, 40, 26)]
    sheet.canvas.oval(Ellipse(x, 40, 25, 32), 0.75)
    sheet.canvas.oval(Ellipse(x, 40, 19, 26), muscle)
    sheet.canvas.oval(Ellipse(x, 42, 8, 8), 0.05)
    sheet.canvas.oval(Ellipse(x, 42, 5, 5), 0.6)


def reach_mm(body: Body, z_mm: float) -> tuple[float, float, float, float]:
    """Return how far the body reaches at a height: right, left, front and back, in canonical mm."""
    outer, _ = _outlines(body, z_mm)
    right, left = -outer.a - REACH_MM, outer.a + REACH_MM
    if body.arm:
        arm = _arm_mm(body, z_mm)
        right, left = min(right, arm - 30), max(left, arm + 30)
    return right, left, outer.y - outer.b - REACH_MM, outer.y + outer.b + REACH_MM


def _arm_mm(body: Body, z_mm: float) -> float:
    return body.arm * (_outlines(body, z_mm)[0].a + 36)


def _outlines(body: Body, z_mm: float) -> tuple[Ellipse, Ellipse]:
    """Return the trunk with and without the fat under its skin."""
    wide, front, back = _row(_TRUNK, z_mm)
    fat_front, fat_side, fat_back = (body.fat * fat for fat in _row(_FAT, z_mm))
    return (
        _between(front - fat_front, back + fat_back, wide + fat_side),
        _between(front, back, wide),
    )


def _between(front_mm: float, back_mm: float, half_width_mm: float) -> Ellipse:
    return Ellipse(0, (front_mm + back_mm) / 2, half_width_mm, (back_mm - front_mm) / 2)


def _row(table: NDArray[np.float64], z_mm: float) -> tuple[float, float, float]:
    row = [float(np.interp(z_mm, table[:, 0], column)) for column in table.T[1:]]
    return row[0], row[1], row[2]


def _ribs(sheet: Sheet, wall: Floats) -> None:
    """Ribs slope down to the front, so a slice cuts each of them obliquely, one after another."""
    angle = np.arctan2(sheet.canvas.x_mm, sheet.canvas.y_mm)
    turn = np.cos(5 * np.abs(angle) - sheet.z_mm * np.float32(0.22)) + 0.3 * sheet.coarse
    ribs = np.maximum(np.abs(wall + 7) - 4.5, (0.3 - turn) * 14)
    sheet.canvas.paint(sheet.canvas.whole, ribs, 0.07)
    sheet.canvas.paint(sheet.canvas.whole, ribs + 2.4, 0.33 + 0.05 * sheet.coarse)
