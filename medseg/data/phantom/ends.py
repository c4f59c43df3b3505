"""The two ends of the phantom's trunk: lungs and heart above the belly, the pelvis below."""

import numpy as np

from medseg.data.phantom.anatomy import paint_spine, paint_vessels
from medseg.data.phantom.canvas import Box, Ellipse, Ellipsoid, Floats
from medseg.data.phantom.sheet import Grain, Sheet
from medseg.data.phantom.trunk import Body

_HEART = Ellipsoid(22, -36, 64, 60, 46, 68, turn=28, lean_x=0.15)
_BLADDER = Ellipsoid(0, -34, 414, 40, 32, 34)
_GLUTEI = (
    Ellipsoid(-104, 44, 410, 46, 36, 84, turn=-28),
    Ellipsoid(104, 44, 410, 46, 36, 84, turn=28),
)


def paint_chest(sheet: Sheet, body: Body) -> None:
    """Paint lungs and heart over everything above the diaphragm, and keep the bowel below it."""
    canvas, z = sheet.canvas, np.float32(sheet.z_mm)
    if z > 205:
        return
    x, y = canvas.x_mm, canvas.y_mm
    right = body.dome_mm[0] + 62 * (((x + 60) / 84) ** 2 + ((y + 12) / 88) ** 2)
    left = body.dome_mm[1] + 62 * (((x - 66) / 78) ** 2 + ((y + 12) / 86) ** 2)
    above = (z - np.minimum(right, left)) * np.float32(0.7)
    chest = np.maximum(above, sheet.cavity_mm + 2)
    middle = np.full_like(chest, 99)
    for shape in (Ellipse(8, 18, 26, 40), Ellipse(4, -46, 40, 44)):
        middle = np.minimum(middle, canvas.ellipse(shape, box=canvas.whole)[1])
    lungs = np.maximum(chest, 1 - middle + 2 * sheet.coarse)
    vessels = np.clip(sheet.fine * 0.7 + sheet.coarse * 0.5 - 1.15, 0, 1) * 0.16
    canvas.paint(canvas.whole, lungs, 0.035 + vessels, soft_mm=3.0)
    np.maximum(sheet.cavity_mm, 1 - chest, out=sheet.cavity_mm)
    if z < 130:
        inner = np.maximum(middle, chest)
        canvas.paint(canvas.whole, inner, 0.46 + 0.08 * sheet.coarse, soft_mm=3.0)
        _heart(sheet, chest)
        paint_spine(sheet)
        paint_vessels(sheet)


def paint_pelvis(sheet: Sheet) -> None:
    """Paint iliac wings, gluteal muscles, sacrum, rectum and bladder in the lowest slices."""
    z, canvas = sheet.z_mm, sheet.canvas
    if z < 318:
        return

    def muscle(box: Box) -> Floats:
        return 0.15 + 0.05 * sheet.fine[box] + 0.1 * np.clip(sheet.coarse[box] - 1, 0, 1)

    for glutei in _GLUTEI:
        sheet.solid(glutei.at(z), muscle, gap_mm=2)
    grown = min(1.0, (z - 318) / 60)
    for side in (-1, 1):
        box, ring = canvas.ellipse(Ellipse(side * 38, -20, 82, 74))
        x, y = canvas.x_mm[box] * side, canvas.y_mm[box]
        limits = np.maximum(36 - x, (-34 + 70 * (1 - grown)) - y)
        wing = np.maximum(np.abs(ring) - (3 + 4.5 * grown), limits)
        canvas.paint(box, np.maximum(np.abs(ring + 10) - 8, limits + 6), 0.14)  # iliacus
        canvas.paint(box, wing, 0.05)
        canvas.paint(box, wing + 2, 0.5 + 0.07 * sheet.coarse[box])
        block = np.maximum(np.abs(ring + 6) - 14, limits)
        np.maximum(sheet.cavity_mm[box], 2 - block, out=sheet.cavity_mm[box])
    if z > 345:
        wide = 24 + 26 * min(1.0, (z - 345) / 40)
        sheet.solid(Ellipse(0, 56, wide, 19), 0.08)
        sheet.solid(Ellipse(0, 56, wide - 2, 17), Grain(0.44, fine=0.03, coarse=0.06))
        canvas.oval(Ellipse(0, 62, 9, 6), 0.6)
        canvas.oval(Ellipse(0, 26, 15, 12), 0.2)
        canvas.oval(Ellipse(0, 26, 10, 7), 0.3)
    canvas.oval(_BLADDER.at(z), 0.16)
    canvas.oval(_BLADDER._replace(a=37.5, b=29.5, c=33).at(z), 0.5)


def _heart(sheet: Sheet, chest: Floats) -> None:
    shape = _HEART.at(sheet.z_mm)
    if shape is None:
        return
    box, field = sheet.canvas.ellipse(shape)
    field = np.maximum(field, chest[box])
    field += 3 * sheet.coarse[box]
    sheet.canvas.paint(box, field, 0.34 + 0.04 * sheet.coarse[box])
    across = sheet.canvas.x_mm[box] - shape.x + 0.6 * (sheet.canvas.y_mm[box] - shape.y)
    septum = 3.5 - np.abs(across + 8 + 3 * sheet.coarse[box])
    chambers = np.maximum(septum, field + 8 + 2 * sheet.coarse[box])
    sheet.canvas.paint(box, chambers, 0.45 + 0.06 * sheet.coarse[box], soft_mm=6.0)
