"""The cell phantom: a culture dish under the microscope, with cells that touch and overlap.

Lengths are in pixels of a picture of 512, whatever its size. A cell is a wavy disc with a dark
membrane, a granular body and a nucleus; bodies differ in brightness, and some are hardly brighter
than the ground. Cells out of focus, debris and uneven light are not in the mask, whose outlines
stray from the rims as those of a hand do.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.canvas import Box, Floats
from medseg.data.phantom.noise import normals
from medseg.data.phantom.smooth_noise import SmoothNoise

SIDE = 512
OVERLAP = 192  # the grey value of a mask where two cells lie over each other
_HAND = 3.5  # how far an outline strays from the rim
_WAVES = 5
_TRIES = 400


class Cell(NamedTuple):
    """One cell: centre, radius, amplitudes and phases of the waves of its rim, and its tones."""

    x: float
    y: float
    radius: float
    waves: NDArray[np.floating]
    phases: NDArray[np.floating]
    body: float
    rim: float
    membrane: float
    nucleus: tuple[float, float, float]


class Dish(NamedTuple):
    """One picture ``(H, W)`` uint8 and its mask: 0, 255, `OVERLAP`, and greys along the rims."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def draw_cells(rng: np.random.Generator) -> list[Cell]:
    """Draw the cells of a dish; neighbours touch, and some overlap a little."""
    cells: list[Cell] = []
    typical, crowd = rng.uniform(34, 52), int(rng.integers(22, 46))
    body = rng.uniform(0.44, 0.56)
    for _ in range(_TRIES):
        x, y = rng.uniform(-20, SIDE + 20, 2).tolist()
        radius = float(typical * rng.uniform(0.65, 1.25))
        near = min(
            (np.hypot(x - c.x, y - c.y) / (radius + c.radius) for c in cells), default=np.inf
        )
        # Rather beside a cell that is there than alone: cultures grow in islands.
        if near < 0.84 or (cells and near > 1.05 and rng.random() < 0.8):
            continue
        cells.append(_cell(rng, x, y, radius, float(body)))
        if len(cells) == crowd:
            break
    return cells


def render(cells: list[Cell], rng: np.random.Generator, *, side_px: int) -> Dish:
    """Return the picture of a dish and its mask."""
    axis = ((np.arange(side_px, dtype=np.float32) + 0.5) * np.float32(SIDE / side_px)).astype(
        np.float32
    )
    broad, fine, grain = (
        SmoothNoise(rng, cell_mm=(size, size, size), cells=cells_, deviation=1.0)
        for size, cells_ in ((130.0, 8), (24.0, 24), (6.0, 96))
    )
    soft = max(1.5, SIDE / side_px)
    texture = grain.plane(axis, axis, 3.0)
    picture = 0.40 + 0.020 * fine.plane(axis, axis, 9.0) + 0.012 * texture
    for x, y, radius in rng.uniform((0, 0, 20), (SIDE, SIDE, 55), (int(rng.integers(6, 16)), 3)):
        _blur(picture, axis, _cell(rng, x, y, radius, 0.52))
    stray = np.float32(_HAND) * fine.plane(axis, axis, 200.0)
    count = np.zeros((side_px, side_px), np.float32)
    for cell in cells:
        _paint(cell, picture, axis=axis, texture=texture, soft=soft)
        box, field = _field(cell, axis)
        count[box] += np.clip(np.float32(0.5) - (field + stray[box]) / np.float32(soft), 0, 1)
    _debris(picture, rng, axis)
    light = np.exp(0.10 * broad.plane(axis, axis, 5.0))
    noise = normals(rng, picture.shape) * np.float32(rng.uniform(0.015, 0.035))
    seen = np.clip((picture * light + noise) * 255 + 0.5, 0, 255)
    over = np.clip(count - 1, 0, 1)
    mask = np.clip(count, 0, 1) * 255 - over * (255 - OVERLAP)
    return Dish(seen.astype(np.uint8), (mask + np.float32(0.5)).astype(np.uint8))


def _cell(rng: np.random.Generator, x: float, y: float, radius: float, body: float) -> Cell:
    order = np.arange(2, 2 + _WAVES)
    away = rng.uniform(-0.25, 0.25, 2) * radius
    return Cell(
        x=x,
        y=y,
        radius=radius,
        waves=rng.normal(0, 0.16, _WAVES) / order**0.8,
        phases=rng.uniform(0, 2 * np.pi, _WAVES),
        body=float(body + rng.normal(0, 0.06)),
        rim=float(rng.uniform(0.22, 0.36)),
        membrane=float(rng.uniform(0.25, 0.75)),
        nucleus=(x + float(away[0]), y + float(away[1]), radius * float(rng.uniform(0.28, 0.42))),
    )


def _field(cell: Cell, axis: Floats) -> tuple[Box, Floats]:
    """Return the window of a cell, and about the signed distance to its rim, negative inside."""
    reach = 1.9 * cell.radius + 30
    columns = slice(*np.searchsorted(axis, (cell.x - reach, cell.x + reach)).tolist())
    rows = slice(*np.searchsorted(axis, (cell.y - reach, cell.y + reach)).tolist())
    dx, dy = axis[None, columns] - np.float32(cell.x), axis[rows, None] - np.float32(cell.y)
    angle, far = np.arctan2(dy, dx), np.ones(np.broadcast(dx, dy).shape, np.float32)
    for order, (wave, phase) in enumerate(zip(cell.waves, cell.phases, strict=True), 2):
        far += np.float32(wave) * np.cos(order * angle + np.float32(phase))
    return (rows, columns), np.asarray(np.hypot(dx, dy) - np.float32(cell.radius) * far, np.float32)


def _paint(cell: Cell, picture: Floats, *, axis: Floats, texture: Floats, soft: float) -> None:
    """Lay a cell over the picture: body, nucleus, membrane, and the halo around it."""
    box, field = _field(cell, axis)
    part = picture[box]
    # A thin cell lets what lies under it shine through.
    cover = np.clip(np.float32(0.5) - field / np.float32(soft), 0, 1)
    body = np.float32(cell.body) * (1 + 0.09 * texture[box])
    part += cover * np.float32(0.85) * (body - part)
    x, y, radius = cell.nucleus
    away = np.hypot(axis[None, box[1]] - np.float32(x), axis[box[0], None] - np.float32(y))
    inside = np.clip((np.float32(radius) - away) / 3, 0, 1) * (field < -5)
    part += inside * np.float32(0.55) * (np.float32(cell.body + 0.13) - part)
    membrane = np.exp(-(((field + 2) / np.float32(2.6)) ** 2))
    part += membrane * np.float32(cell.membrane) * (np.float32(cell.rim) - part)
    part += np.float32(0.05) * np.exp(-(((field - 5) / np.float32(3.5)) ** 2))


def _blur(picture: Floats, axis: Floats, cell: Cell) -> None:
    """Lay a cell far out of focus over the picture: a body without a membrane."""
    box, field = _field(cell, axis)
    cover = np.clip(np.float32(0.5) - field / np.float32(30), 0, 1)
    picture[box] += cover * np.float32(0.8) * (np.float32(cell.body) - picture[box])


def _debris(picture: Floats, rng: np.random.Generator, axis: Floats) -> None:
    """Add small bright and dark specks."""
    for x, y, size, tone in zip(
        *rng.uniform(0, SIDE, (2, 14)),
        rng.uniform(2, 7, 14),
        rng.choice((0.15, 0.85), 14),
        strict=True,
    ):
        columns = slice(*np.searchsorted(axis, (x - 12, x + 12)).tolist())
        rows = slice(*np.searchsorted(axis, (y - 12, y + 12)).tolist())
        away = np.hypot(axis[None, columns] - x, axis[rows, None] - y)
        cover = np.clip((size - away) / 3, 0, 1).astype(np.float32)
        picture[rows, columns] += cover * (np.float32(tone) - picture[rows, columns])
