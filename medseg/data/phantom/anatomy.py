"""The phantom's body around the bowel, painted slice by slice from the skin inwards.

Numbers are canonical mm (x left, y back, z feet) and signal relative to bright fat, read off
published balanced steady-state MR of the abdomen: gas and lung black, muscle and faeces dark, liver
and spleen dark grey, marrow and kidney grey, fat bright.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.canvas import REACH_MM, Canvas, Ellipse, Ellipsoid, Floats

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
_LIVER = (
    Ellipsoid(-64, -4, 178, 74, 80, 76, lean_x=-0.12, lean_y=0.1),
    Ellipsoid(2, -52, 170, 62, 30, 46, turn=12, lean_x=-0.3),
)
_SPLEEN = Ellipsoid(98, 38, 174, 25, 48, 54, turn=-22, lean_y=-0.1)
_KIDNEYS = (
    Ellipsoid(-60, 36, 254, 24, 28, 54, turn=32, lean_x=-0.16),
    Ellipsoid(60, 34, 240, 24, 28, 55, turn=-32, lean_x=0.16),
)
_GALLBLADDER = Ellipsoid(-46, -50, 220, 14, 20, 26, turn=-20)
_PANCREAS = Ellipsoid(4, -4, 226, 48, 11, 17, turn=-14)
_HEART = Ellipsoid(22, -36, 64, 60, 46, 68, turn=28, lean_x=0.15)
_BLADDER = Ellipsoid(0, -34, 414, 40, 32, 34)
_GLUTEI = (
    Ellipsoid(-104, 44, 410, 46, 36, 84, turn=-28),
    Ellipsoid(104, 44, 410, 46, 36, 84, turn=28),
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

    def solid(self, shape: Ellipse | None, tone: Floats | float, *, gap_mm: float = 0.0) -> None:
        """Paint an ellipse inside the body and keep the bowel out of it."""
        if shape is None:
            return
        box, field = self.canvas.ellipse(shape)
        self.canvas.paint(box, field, tone if isinstance(tone, float) else tone[box])
        np.maximum(self.cavity_mm[box], gap_mm - field, out=self.cavity_mm[box])


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
            sheet.solid(shape, 0.15 + 0.03 * fine, gap_mm=1)
    if z_mm < 265:
        _ribs(sheet, wall)
    return sheet


def paint_solid(sheet: Sheet, body: Body) -> None:
    """Paint spine, muscles beside it, vessels, kidneys, liver, spleen and pancreas."""
    _back_muscles(sheet)
    _spine(sheet)
    _vessels(sheet)
    _kidneys(sheet)
    _upper_organs(sheet, body)


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
        _spine(sheet)
        _vessels(sheet)


def paint_pelvis(sheet: Sheet) -> None:
    """Paint iliac wings, gluteal muscles, sacrum, rectum and bladder in the lowest slices."""
    z, canvas = sheet.z_mm, sheet.canvas
    if z < 318:
        return
    muscle = 0.15 + 0.05 * sheet.fine + 0.1 * np.clip(sheet.coarse - 1, 0, 1)
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
        sheet.solid(Ellipse(0, 56, wide - 2, 17), 0.44 + 0.06 * sheet.coarse + 0.03 * sheet.fine)
        canvas.oval(Ellipse(0, 62, 9, 6), 0.6)
        canvas.oval(Ellipse(0, 26, 15, 12), 0.2)
        canvas.oval(Ellipse(0, 26, 10, 7), 0.3)
    canvas.oval(_BLADDER.at(z), 0.16)
    canvas.oval(_BLADDER._replace(a=37.5, b=29.5, c=33).at(z), 0.5)


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


def _back_muscles(sheet: Sheet) -> None:
    z = sheet.z_mm
    stripes = 0.13 + 0.14 * np.clip(sheet.fine - 0.35, 0, 1.5)
    thick = float(np.interp(z, (60, 260, 340, 420), (0.7, 1.0, 1.05, 0.6)))
    for side in (-1, 1):
        sheet.solid(Ellipse(side * 29, 73, 26 * thick, 17 * thick, side * -8), stripes)
        sheet.solid(Ellipse(side * 55, 62, 17 * thick, 11 * thick, side * -30), stripes)
        psoas = float(np.interp(z, (205, 300, 400), (4, 20, 22)))
        if z > 208:
            out = side * float(np.interp(z, (205, 300, 350, 432), (27, 40, 52, 74)))
            back = float(np.interp(z, (205, 330, 432), (42, 40, 2)))
            shape = Ellipse(out, back, psoas * 0.8, psoas, side * -20)
            sheet.solid(shape, 0.12 + 0.02 * sheet.fine, gap_mm=1)
        if 150 < z < 245:  # the crus of the diaphragm
            sheet.solid(Ellipse(side * 19, 26, 5, 14, side * -18), 0.14)


def _spine(sheet: Sheet) -> None:
    z = sheet.z_mm
    disc = float(np.clip(4 * (np.cos(2 * np.pi * z / 34) - 0.72), 0, 1))
    size = float(np.interp(z, (0, 300, 350), (16, 23, 24)))
    body = Ellipse(0, 44, size, size * 0.78)
    sheet.solid(body, 0.08)
    core = Ellipse(0, 44, size - 2, size * 0.78 - 2)
    marrow = (0.36 + 0.03 * sheet.coarse + 0.05 * sheet.fine) * (1 - 0.55 * disc)
    sheet.solid(core, marrow)
    if disc > 0.5:
        sheet.canvas.oval(Ellipse(0, 45, size * 0.55, size * 0.4), 0.3, soft_mm=5.0)
    for side in (-1, 1):
        sheet.canvas.oval(Ellipse(side * 13, 62, 4, 9, side * 20), 0.3 if disc < 0.5 else 0.1)
        sheet.canvas.oval(Ellipse(side * 15, 72, 8, 4, side * 25), 0.08)
    sheet.canvas.oval(Ellipse(0, 67, 12, 9), 0.1)
    sheet.canvas.oval(Ellipse(0, 67, 10, 7.5), 0.58)
    if z < 250:
        sheet.canvas.oval(Ellipse(0, 67, 5.5, 4.2), 0.3)
    spinous = float(np.clip(1.2 * np.cos(2 * np.pi * (z - 12) / 34) + 0.6, 0, 1))
    sheet.canvas.oval(Ellipse(0, 79, 3.2, 3 + 8 * spinous), 0.1 + 0.22 * spinous)


def _vessels(sheet: Sheet) -> None:
    z = sheet.z_mm
    if z < 308:
        for x, y, a, b in ((7, 18, 10.5, 10.5), (-19, 16, 13, 9)):
            if z > 120 or x > 0:
                sheet.solid(Ellipse(x, y, a, b), 0.13, gap_mm=1)
                sheet.solid(Ellipse(x, y, a - 1.6, b - 1.6), 0.27 + 0.02 * sheet.coarse)
        return
    apart = float(np.interp(z, (308, 340, 432), (9, 24, 62)))
    back = float(np.interp(z, (308, 360, 432), (20, 24, -8)))
    for side in (-1, 1):
        sheet.solid(Ellipse(side * apart, back, 6.5, 6.5), 0.14)
        sheet.solid(Ellipse(side * apart, back, 5, 5), 0.3)
        sheet.solid(Ellipse(side * (apart - 7), back + 11, 6.5, 6), 0.26)


def _kidneys(sheet: Sheet) -> None:
    for kidney in _KIDNEYS:
        shape = kidney.at(sheet.z_mm)
        if shape is None:
            continue
        sheet.solid(shape, 0.27 + 0.025 * sheet.fine, gap_mm=1)
        medulla = kidney._replace(a=kidney.a - 7, b=kidney.b - 7, c=kidney.c - 8).at(sheet.z_mm)
        if medulla is not None:
            sheet.solid(medulla, 0.34 + 0.06 * sheet.fine)
        sinus = kidney._replace(
            x=kidney.x * 0.93, y=kidney.y - 1, a=kidney.a - 15, b=kidney.b - 14, c=kidney.c - 26
        ).at(sheet.z_mm)
        if sinus is not None:
            sheet.solid(sinus, 0.58 + 0.08 * sheet.fine)


def _upper_organs(sheet: Sheet, body: Body) -> None:
    canvas, z = sheet.canvas, sheet.z_mm
    pancreas = _PANCREAS.at(z)
    if pancreas is not None:
        sheet.solid(pancreas, 0.3 + 0.05 * sheet.fine + 0.04 * sheet.coarse)
    spleen = _SPLEEN.at(z)
    if spleen is not None:
        box, field = canvas.ellipse(spleen)
        _inside(sheet, box, field, body.tones[1] + 0.012 * sheet.fine[box])
    lobes = [canvas.ellipse(shape, box=canvas.whole)[1] for lobe in _LIVER if (shape := lobe.at(z))]
    if lobes:
        liver = np.minimum.reduce(lobes) + 1.2 * sheet.coarse
        branch = np.sin(canvas.x_mm * 0.1 + z * 0.07) * np.cos(canvas.y_mm * 0.12 - z * 0.05)
        veins = 0.13 * np.clip(1 - np.abs(sheet.coarse) / 0.22, 0, 1) * np.clip(3 * branch, 0, 1)
        _inside(sheet, canvas.whole, liver, body.tones[0] + veins + 0.012 * sheet.fine)
    sheet.solid(_GALLBLADDER.at(z), 0.16)
    sheet.solid(_GALLBLADDER._replace(a=12.5, b=18.5, c=24.5).at(z), 0.6)


def _inside(sheet: Sheet, box: tuple[slice, slice], field: Floats, tone: Floats) -> None:
    """Paint an organ that fills its corner of the cavity, up to a film of fat at the wall."""
    field = np.maximum(field, np.maximum(sheet.cavity_mm, 0.5 - sheet.soft_mm)[box] + 2)
    sheet.canvas.paint(box, field, tone)
    np.minimum(sheet.soft_mm[box], field, out=sheet.soft_mm[box])


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
