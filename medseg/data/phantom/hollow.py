"""Painting the hollow organs of a slice, and drawing their masks as a person would."""

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.anatomy import Sheet
from medseg.data.phantom.canvas import Floats
from medseg.data.phantom.tubes import FAR_MM, Cut, Tube, cut

_WALL_MM = 2.4


def paint_hollow(sheet: Sheet, tubes: tuple[Tube, Tube, Tube]) -> NDArray[np.bool_]:
    """Paint large bowel, small bowel and stomach; return their masks ``(3, H, W)``.

    Organs cannot share a place: the small bowel yields to the other two, the stomach to the large
    bowel. Outlines are drawn by hand, now a little inside, now a little outside, so masks overlap
    in thin strips where organs touch.
    """
    canvas = sheet.canvas
    cuts = [cut(tube, canvas.columns_mm, canvas.rows_mm, sheet.z_mm) for tube in tubes]
    large, small, stomach = (_clipped(sheet, section) for section in cuts)
    slip = 1.1 * sheet.coarse - 0.6
    stomach = np.maximum(stomach, 0.8 - large - slip)
    small = np.maximum(small, np.maximum(-large, -stomach) - slip)
    if cuts[1] is not None:
        _small_bowel(sheet, tubes[1], cuts[1], small)
    if cuts[2] is not None:
        _stomach(sheet, tubes[2], cuts[2], stomach)
    if cuts[0] is not None:
        _large_bowel(sheet, tubes[0], cuts[0], large)
    return np.stack([large < 0.2, small < 0.6 + 0.4 * sheet.coarse, stomach < 0.2])


def _clipped(sheet: Sheet, section: Cut | None) -> Floats:
    """Return the field of a cut on the whole slice, kept inside the free part of the cavity."""
    field = np.full_like(sheet.cavity_mm, FAR_MM)
    if section is not None:
        field[section.box] = np.maximum(section.field_mm, sheet.cavity_mm[section.box] + 1)
    return field


def _large_bowel(sheet: Sheet, tube: Tube, section: Cut, field: Floats) -> None:
    tone = _at(tube.tone, section)
    content = tone + 0.075 * sheet.fine[section.box] + 0.03 * sheet.coarse[section.box]
    _fill(sheet, tube, section, field, (0.3, content))


def _small_bowel(sheet: Sheet, tube: Tube, section: Cut, field: Floats) -> None:
    fine, coarse = sheet.fine[section.box], sheet.coarse[section.box]
    folds = np.cos(_at(tube.arc_mm, section) * np.float32(1.1) + coarse)
    content = _at(tube.tone, section) + 0.05 * fine + 0.05 * folds + 0.03 * coarse
    _fill(sheet, tube, section, field, (0.22, content))


def _stomach(sheet: Sheet, tube: Tube, section: Cut, field: Floats) -> None:
    fine, coarse = sheet.fine[section.box], sheet.coarse[section.box]
    content = _at(tube.tone, section) + 0.035 * fine + 0.07 * coarse
    _fill(sheet, tube, section, field, (0.2, content))


def _fill(
    sheet: Sheet, tube: Tube, section: Cut, field: Floats, tones: tuple[float, Floats]
) -> None:
    """Paint wall, content, and the gas that rises to the front."""
    box, canvas = section.box, sheet.canvas
    field = field[box]
    canvas.paint(box, field, tones[0])
    canvas.paint(box, field + _WALL_MM, tones[1])
    radius = _at(tube.radius_mm, section)
    level = _at(tube.points_mm[:, 1], section) - radius * (1 - 2 * _at(tube.gas, section))
    bubble = canvas.rows_mm[box[0], None] - level + 1.5 * sheet.fine[box]
    canvas.paint(box, np.maximum(bubble, field + _WALL_MM), 0.03)


def _at(values: NDArray[np.float64], section: Cut) -> Floats:
    """Return a value of the tube at the centre point nearest to each pixel of a cut."""
    near: Floats = values.astype(np.float32)[section.nearest]
    return near
