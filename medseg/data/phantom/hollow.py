"""Painting the hollow organs of a slice, and drawing their masks as a person would."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.data.phantom.canvas import Floats
from medseg.data.phantom.sheet import Sheet
from medseg.data.phantom.tubes import FAR_MM, Cut, Tube, cut

_WALL_MM = 2.4
_DENT_MM = 10.0  # how deep a full stomach presses into liver and spleen


def paint_hollow(sheet: Sheet, tubes: tuple[Tube, Tube, Tube]) -> NDArray[np.bool_]:
    """Paint large bowel, small bowel and stomach; return their masks ``(3, H, W)``.

    Organs cannot share a place: the small bowel yields to all others, the stomach to the large
    bowel, and liver and spleen to both. Outlines are drawn by hand, now a little inside, now a
    little outside, so masks overlap in thin strips where organs touch.
    """
    columns_mm, rows_mm = sheet.canvas.columns_mm, sheet.canvas.rows_mm
    cuts = [cut(tube, columns_mm, rows_mm, sheet.z_mm) for tube in tubes]
    firm = sheet.cavity_mm
    large = _clipped(cuts[0], firm)
    large += 1.6 * sheet.coarse * (large < FAR_MM)
    slip = sheet.coarse - 1.35
    room = np.maximum(firm, -_DENT_MM - sheet.soft_mm)
    stomach = np.maximum(_clipped(cuts[2], room), 1.5 - large - slip)
    small = np.maximum(-large - slip, -1.3 - stomach - slip)
    small = np.maximum(_clipped(cuts[1], np.maximum(firm, -sheet.soft_mm)), small)
    if cuts[1] is not None:
        _small_bowel(sheet, tubes[1], cuts[1], small)
    if cuts[2] is not None:
        _stomach(sheet, tubes[2], cuts[2], stomach)
    if cuts[0] is not None:
        _large_bowel(sheet, tubes[0], cuts[0], large)
    rounds = max(1, round(2.5 / float(columns_mm[1] - columns_mm[0])))
    drawn = (large < 0.2, small < 0.6 + 0.4 * sheet.coarse, stomach < 0.2)
    return np.stack(
        [_outlined(mask, section, rounds) for mask, section in zip(drawn, cuts, strict=True)]
    )


def _outlined(mask: NDArray[np.bool_], section: Cut | None, rounds: int) -> NDArray[np.bool_]:
    """Return a mask without the slivers and pinholes that nobody would draw."""
    if section is not None:
        # A margin, since both treat what lies outside the window as outside the organ.
        window = np.pad(mask[section.box], 2 * rounds)
        window = ndimage.binary_opening(window, iterations=rounds)
        window = ndimage.binary_closing(window, iterations=rounds)
        mask[section.box] = window[2 * rounds : -2 * rounds, 2 * rounds : -2 * rounds]
    return mask


def _clipped(section: Cut | None, room_mm: Floats) -> Floats:
    """Return the field of a cut on the whole slice, kept inside the room that is left for it."""
    field = np.full_like(room_mm, FAR_MM)
    if section is not None:
        field[section.box] = np.maximum(section.field_mm, room_mm[section.box] + 1)
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
