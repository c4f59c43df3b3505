"""One scan of the phantom: a patient on a day, slice by slice."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom import anatomy, bowel, ends, trunk
from medseg.data.phantom.canvas import Box, Canvas, Floats
from medseg.data.phantom.hollow import paint_hollow
from medseg.data.phantom.scanner import Scanner
from medseg.data.phantom.smooth_noise import SmoothNoise
from medseg.data.phantom.tubes import Tube

ORGANS = ("large_bowel", "small_bowel", "stomach")


class Frame(NamedTuple):
    """How a scanner looks at a body.

    Attributes:
        size_px: Columns and rows.
        slices: Number of slices.
        spacing_mm: Column and row distance as the file names tell it.
        step_mm: Millimetres of patient from slice to slice.
        pixel_mm: Millimetres of patient from pixel to pixel; equal to `spacing_mm` but for a doll.
        first_mm: Canonical height of the first slice.
    """

    size_px: tuple[int, int]
    slices: int
    spacing_mm: float
    step_mm: float
    pixel_mm: float
    first_mm: float


@dataclass(frozen=True)
class Patient:
    """What stays the same from day to day: build, size, place, deformation, course of the gut."""

    body: trunk.Body
    size: tuple[float, float, float]
    middle_mm: tuple[float, float]
    warp: tuple[SmoothNoise, SmoothNoise]
    stomach: NDArray[np.float64]
    large_bowel: NDArray[np.float64]
    small_bowel: NDArray[np.float64]


class Picture(NamedTuple):
    """A finished slice: grey values ``(H, W)`` uint16 and masks ``(3, H, W)`` in `ORGANS` order."""

    pixels: NDArray[np.uint16]
    masks: NDArray[np.bool_]


class _Day(NamedTuple):
    """A patient's tubes and random fields on one day."""

    tubes: tuple[Tube, Tube, Tube]
    warp: tuple[SmoothNoise, SmoothNoise]
    fine: SmoothNoise
    coarse: SmoothNoise


def draw_patient(rng: np.random.Generator) -> Patient:
    """Return a random patient."""
    stomach = bowel.stomach_nodes(rng)
    return Patient(
        body=trunk.draw_body(rng),
        size=(rng.uniform(0.9, 1.06), rng.uniform(1.04, 1.24), rng.uniform(0.87, 0.98)),
        middle_mm=(rng.uniform(-6, 6), rng.uniform(-6, 8)),
        warp=(_warp(rng, 3.0), _warp(rng, 3.0)),
        stomach=stomach,
        large_bowel=bowel.large_bowel_nodes(rng),
        small_bowel=bowel.small_bowel_nodes(rng, stomach),
    )


def render(
    patient: Patient, frame: Frame, *, peak: float, rng: np.random.Generator
) -> Iterator[Picture]:
    """Yield the slices of one day, head to feet.

    Args:
        patient: Whom.
        frame: Size, spacing and heights.
        peak: Grey value of bright fat; scanners do not calibrate it.
        rng: The day's own generator.
    """
    day = _day(patient, rng)
    scanner = Scanner(rng, peak=peak)
    middle_mm = [usual + rng.uniform(-2, 2) for usual in patient.middle_mm]
    columns_mm, rows_mm = (
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * frame.pixel_mm - middle
        for n, middle in zip(frame.size_px, middle_mm, strict=True)
    )
    columns_mm, rows_mm = (
        (line / size).astype(np.float32)
        for line, size in zip((columns_mm, rows_mm), patient.size, strict=False)
    )
    for n in range(frame.slices):
        z_mm = frame.first_mm + n * frame.step_mm / patient.size[2]
        window = _window(trunk.reach_mm(patient.body, z_mm), columns_mm, rows_mm)
        place_mm = columns_mm[window[1]], rows_mm[window[0]], z_mm
        image, drawn = _slice(patient.body, day, place_mm)
        masks = np.zeros((len(ORGANS), len(rows_mm), len(columns_mm)), bool)
        masks[:, *window] = drawn
        yield Picture(scanner.see(image, place_mm, window, masks.shape[1:]), masks)


def _day(patient: Patient, rng: np.random.Generator) -> _Day:
    """Move and fill a patient's gut, and draw the textures of one scan."""
    x, y = (shape.plus(_warp(rng, 2.5)) for shape in patient.warp)
    large, small, stomach = (
        _deformed(tube, (x, y))
        for tube in (
            bowel.large_bowel_tube(patient.large_bowel, rng),
            bowel.small_bowel_tube(patient.small_bowel, rng),
            bowel.stomach_tube(patient.stomach, rng),
        )
    )
    fine = SmoothNoise(rng, cell_mm=(3.5, 3.5, 6.0), cells=48)
    coarse = SmoothNoise(rng, cell_mm=(9.0, 9.0, 9.0), cells=32)
    return _Day((large, small, stomach), (x, y), fine, coarse)


def _window(reach_mm: tuple[float, ...], columns_mm: Floats, rows_mm: Floats) -> Box:
    """Return the part of the picture that holds the body: the rest is air."""
    left, right = np.searchsorted(columns_mm, reach_mm[:2])
    top, bottom = np.searchsorted(rows_mm, reach_mm[2:])
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _slice(
    body: trunk.Body, day: _Day, place_mm: tuple[Floats, Floats, float]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Paint one slice; return its signal ``(H, W)`` and its masks ``(3, H, W)``."""
    columns, rows, z = place_mm
    canvas = Canvas(
        columns + day.warp[0].plane(columns, rows, z),
        rows[:, None] + day.warp[1].plane(columns, rows, z),
        columns_mm=columns,
        rows_mm=rows,
    )
    textures = day.fine.plane(columns, rows, z), day.coarse.plane(columns, rows, z)
    sheet = trunk.start_sheet(canvas, body, z, textures)
    anatomy.paint_solid(sheet, body)
    ends.paint_chest(sheet, body)
    ends.paint_pelvis(sheet)
    masks = paint_hollow(sheet, day.tubes)
    trunk.paint_arm(sheet, body)
    return canvas.image, masks


def _deformed(tube: Tube, warp: tuple[SmoothNoise, SmoothNoise]) -> Tube:
    """Carry a tube along: shapes are looked up at x + u, so what lies at x is seen at x - u."""
    points = tube.points_mm.copy()
    for axis, field in enumerate(warp):
        points[:, axis] -= field.at(tube.points_mm)
    return tube._replace(points_mm=points)


def _warp(rng: np.random.Generator, deviation_mm: float) -> SmoothNoise:
    return SmoothNoise(rng, cell_mm=(70.0, 70.0, 80.0), cells=10, deviation=deviation_mm)
