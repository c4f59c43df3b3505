"""A glioma: a few merged ellipsoids with a ragged edge, which fades into the white matter."""

from typing import NamedTuple

import numpy as np

from medseg.data.phantom.canvas import Canvas, Ellipsoid, Floats
from medseg.data.phantom.smooth_noise import SmoothNoise

Place = tuple[Floats, Floats, float]


class Glioma(NamedTuple):
    """One lesion.

    Attributes:
        lobes: The ellipsoids that it is merged from.
        edge: Waves of its edge in mm.
        texture: Its unevenness.
        tone: What each sequence shows of its middle.
        fade_mm: How wide its edge is.
        heart: A ring that takes up contrast agent around dead tissue; None in most.
    """

    lobes: tuple[Ellipsoid, ...]
    edge: SmoothNoise
    texture: SmoothNoise
    tone: tuple[float, float, float]
    fade_mm: float
    heart: Ellipsoid | None

    def field(self, canvas: Canvas, place_mm: Place) -> Floats:
        """Return the signed distance to the outline over a slice, in mm, about."""
        columns_mm, rows_mm, z_mm = place_mm
        fields = [_distance(lobe, canvas, z_mm) for lobe in self.lobes]
        # Soft minimum: lobes that meet merge without a crease.
        merged = -6 * np.logaddexp.reduce([-field / np.float32(6) for field in fields])
        return np.asarray(merged + self.edge.plane(columns_mm, rows_mm, z_mm), np.float32)

    def cover(self, field_mm: Floats) -> Floats:
        """Return how much of the tissue is lesion: half at the outline."""
        return np.asarray(np.clip(np.float32(0.5) - field_mm / np.float32(self.fade_mm), 0, 1))

    def core(self, canvas: Canvas, z_mm: float) -> Floats | None:
        """Return the signed distance to the ring's outside; None where the slice has none."""
        cut = self.heart.at(z_mm) if self.heart is not None else None
        return None if cut is None else canvas.ellipse(cut, box=canvas.whole)[1]


def draw_glioma(rng: np.random.Generator) -> Glioma:
    """Draw a lesion in either half, in the upper part of the brain more often than below."""
    side = float(rng.choice((-1, 1)))
    x, y = side * rng.uniform(20, 44), rng.uniform(-48, 42)
    z, radius = rng.uniform(-8, 42), rng.uniform(12, 23)
    lobes = [_lobe(rng, (x, y, z), radius)]
    for _ in range(int(rng.integers(2, 5))):
        away = rng.normal(0, 0.75 * radius, 3)
        lobes.append(
            _lobe(rng, (x + away[0], y + away[1], z + away[2]), radius * rng.uniform(0.4, 0.75))
        )
    bright = float(rng.uniform(0.50, 0.74))
    heart = None
    if rng.random() < 0.3:
        size = radius * float(rng.uniform(0.35, 0.55))
        heart = Ellipsoid(x, y, z, size, 0.8 * size, size, turn=float(rng.uniform(0, 180)))
    return Glioma(
        lobes=tuple(lobes),
        edge=SmoothNoise(rng, cell_mm=(10.0, 10.0, 14.0), cells=24, deviation=4.5),
        texture=SmoothNoise(rng, cell_mm=(7.0, 7.0, 10.0), cells=24),
        tone=(float(rng.uniform(0.27, 0.36)), bright, float(rng.uniform(0.29, 0.38))),
        fade_mm=float(rng.uniform(4.0, 10.0)),
        heart=heart,
    )


def _lobe(rng: np.random.Generator, at: tuple[float, float, float], radius: float) -> Ellipsoid:
    a, b, c = (radius * rng.uniform(0.75, 1.25, 3)).tolist()
    x, y, z = map(float, at)
    return Ellipsoid(x, y, z, a, b, c, turn=float(rng.uniform(0, 180)))


def _distance(lobe: Ellipsoid, canvas: Canvas, z_mm: float) -> Floats:
    """Return about the distance in mm to an ellipsoid, also in slices that it does not reach."""
    turn = np.deg2rad(lobe.turn)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    dx, dy = canvas.x_mm - np.float32(lobe.x), canvas.y_mm - np.float32(lobe.y)
    along, across = (cos * dx + sin * dy) / lobe.a, (cos * dy - sin * dx) / lobe.b
    radius = np.sqrt(along**2 + across**2 + ((z_mm - lobe.z) / lobe.c) ** 2)
    return np.asarray((radius - 1) * (lobe.a * lobe.b * lobe.c) ** (1 / 3), np.float32)
