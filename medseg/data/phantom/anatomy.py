"""The phantom's firm organs of the belly: spine, muscles, vessels, kidneys, liver, spleen.

Numbers are canonical mm (x left, y back, z feet) and signal relative to bright fat, read off
published balanced steady-state MR of the abdomen: gas and lung black, muscle and faeces dark, liver
and spleen dark grey, marrow and kidney grey, fat bright.
"""

import numpy as np

from medseg.data.phantom.canvas import Box, Ellipse, Ellipsoid, Floats
from medseg.data.phantom.sheet import Grain, Sheet
from medseg.data.phantom.trunk import Body

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


def paint_solid(sheet: Sheet, body: Body) -> None:
    """Paint spine, muscles beside it, vessels, kidneys, liver, spleen and pancreas."""
    _back_muscles(sheet)
    paint_spine(sheet)
    paint_vessels(sheet)
    _kidneys(sheet)
    _upper_organs(sheet, body)


def _back_muscles(sheet: Sheet) -> None:
    z = sheet.z_mm

    def stripes(box: Box) -> Floats:
        signal: Floats = 0.13 + 0.14 * np.clip(sheet.fine[box] - 0.35, 0, 1.5)
        return signal

    thick = float(np.interp(z, (60, 260, 340, 420), (0.7, 1.0, 1.05, 0.6)))
    for side in (-1, 1):
        sheet.solid(Ellipse(side * 29, 73, 26 * thick, 17 * thick, side * -8), stripes)
        sheet.solid(Ellipse(side * 55, 62, 17 * thick, 11 * thick, side * -30), stripes)
        psoas = float(np.interp(z, (205, 300, 400), (4, 20, 22)))
        if z > 208:
            out = side * float(np.interp(z, (205, 300, 350, 432), (27, 40, 52, 74)))
            back = float(np.interp(z, (205, 330, 432), (42, 40, 2)))
            shape = Ellipse(out, back, psoas * 0.8, psoas, side * -20)
            sheet.solid(shape, Grain(0.12, fine=0.02), gap_mm=1)
        if 150 < z < 245:  # the crus of the diaphragm
            sheet.solid(Ellipse(side * 19, 26, 5, 14, side * -18), 0.14)


def paint_spine(sheet: Sheet) -> None:
    """Paint a vertebra or a disc, the canal with its cord, and the processes behind."""
    z = sheet.z_mm
    disc = float(np.clip(4 * (np.cos(2 * np.pi * z / 34) - 0.72), 0, 1))
    size = float(np.interp(z, (0, 300, 350), (16, 23, 24)))
    body = Ellipse(0, 44, size, size * 0.78)
    sheet.solid(body, 0.08)
    core = Ellipse(0, 44, size - 2, size * 0.78 - 2)
    marrow = 1 - 0.55 * disc
    sheet.solid(core, Grain(0.36 * marrow, fine=0.05 * marrow, coarse=0.03 * marrow))
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


def paint_vessels(sheet: Sheet) -> None:
    """Paint aorta and vena cava, and below their fork the vessels of both legs."""
    z = sheet.z_mm
    if z < 308:
        for x, y, a, b in ((7, 18, 10.5, 10.5), (-19, 16, 13, 9)):
            if z > 120 or x > 0:
                sheet.solid(Ellipse(x, y, a, b), 0.13, gap_mm=1)
                sheet.solid(Ellipse(x, y, a - 1.6, b - 1.6), Grain(0.27, coarse=0.02))
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
        sheet.solid(shape, Grain(0.27, fine=0.025), gap_mm=1)
        medulla = kidney._replace(a=kidney.a - 7, b=kidney.b - 7, c=kidney.c - 8).at(sheet.z_mm)
        if medulla is not None:
            sheet.solid(medulla, Grain(0.34, fine=0.06))
        sinus = kidney._replace(
            x=kidney.x * 0.93, y=kidney.y - 1, a=kidney.a - 15, b=kidney.b - 14, c=kidney.c - 26
        ).at(sheet.z_mm)
        if sinus is not None:
            sheet.solid(sinus, Grain(0.58, fine=0.08))


def _upper_organs(sheet: Sheet, body: Body) -> None:
    canvas, z = sheet.canvas, sheet.z_mm
    pancreas = _PANCREAS.at(z)
    if pancreas is not None:
        sheet.solid(pancreas, Grain(0.3, fine=0.05, coarse=0.04))
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


def _inside(sheet: Sheet, box: Box, field: Floats, tone: Floats) -> None:
    """Paint an organ that fills its corner of the cavity, up to a film of fat at the wall."""
    field = np.maximum(field, np.maximum(sheet.cavity_mm, 0.5 - sheet.soft_mm)[box] + 2)
    sheet.canvas.paint(box, field, tone)
    np.minimum(sheet.soft_mm[box], field, out=sheet.soft_mm[box])
