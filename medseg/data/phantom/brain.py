"""The brain phantom: random heads with an infiltrating glioma, as three MR sequences show them.

Positions are mm: x to the patient's left, y to the back, z to the crown; 0 is the middle of the
head. A *tone* is what pre-contrast T1, FLAIR and post-contrast T1 show of a tissue, 0 to 1, read
off slices of the LGG data set: fluid is dark in all, fat bright in all but the last, the glioma
bright in FLAIR and hardly to be told in T1.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.canvas import Box, Canvas, Ellipse, Ellipsoid, Floats
from medseg.data.phantom.glioma import Glioma, draw_glioma
from medseg.data.phantom.noise import normals
from medseg.data.phantom.smooth_noise import SmoothNoise

Tone = tuple[float, float, float]

SEQUENCES = 3
_BOTTOM_MM, _TOP_MM = -52.0, 72.0  # from the skull base to just below the crown

_FAT: Tone = (0.78, 0.62, 0.42)
_BONE: Tone = (0.07, 0.06, 0.07)
_FLUID: Tone = (0.13, 0.07, 0.13)
_GREY: Tone = (0.34, 0.43, 0.37)
_WHITE: Tone = (0.44, 0.36, 0.47)
_MUSCLE: Tone = (0.30, 0.26, 0.42)
_MUCOSA: Tone = (0.34, 0.50, 0.72)
_AIR: Tone = (0.01, 0.01, 0.01)
_VESSEL: Tone = (0.16, 0.12, 0.80)

_HEAD = Ellipsoid(0, 0, -4, 79, 97, 96)
_SKULL = Ellipsoid(0, 0, -4, 74, 92, 91)
_BRAIN = Ellipsoid(0, 1, -4, 69.5, 87, 86)
# Half of each: frontal horn and body, occipital horn, temporal horn.
_VENTRICLES = (
    Ellipsoid(9, -16, 14, 6.5, 22, 15, turn=-14, lean_x=0.10),
    Ellipsoid(17, 24, 8, 6.0, 19, 12, turn=24),
    Ellipsoid(29, 6, -14, 3.5, 13, 6, turn=-18),
)
_THIRD = Ellipsoid(0, 2, -2, 2.2, 13, 10)
_NUCLEI = (Ellipsoid(13, 6, 2, 9, 13, 11, turn=-20), Ellipsoid(24, -8, 4, 7, 15, 11, turn=-16))
_STEM = Ellipsoid(0, 16, -44, 15, 14, 34)
_CEREBELLUM = Ellipsoid(0, 52, -46, 50, 31, 36)
_EYE = Ellipsoid(31, -76, -38, 12.5, 13, 13)
_NOSE = Ellipsoid(0, -82, -42, 15, 26, 22)


class Head(NamedTuple):
    """What one patient's slices have in common."""

    scale: tuple[float, float]
    bend: tuple[SmoothNoise, SmoothNoise]
    folds: SmoothNoise
    grain: SmoothNoise
    coil: SmoothNoise
    atrophy: float
    glioma: Glioma
    spots: NDArray[np.floating]
    contrast: NDArray[np.floating]
    noise: float
    missing: int | None


class Slice(NamedTuple):
    """One slice as three sequences show it, ``(H, W, 3)`` uint8, and its glioma, ``(H, W)``."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def draw_head(rng: np.random.Generator, *, missing: int | None = None) -> Head:
    """Draw a patient; `missing` is the sequence that FLAIR stands in for, 0, 2 or None."""
    cell = (52.0, 52.0, 60.0)
    return Head(
        scale=(float(rng.uniform(0.93, 1.05)), float(rng.uniform(0.93, 1.05))),
        bend=(
            SmoothNoise(rng, cell_mm=cell, cells=8, deviation=3.0),
            SmoothNoise(rng, cell_mm=cell, cells=8, deviation=3.0),
        ),
        folds=SmoothNoise(rng, cell_mm=(8.0, 8.0, 12.0), cells=28),
        grain=SmoothNoise(rng, cell_mm=(4.0, 4.0, 8.0), cells=32),
        coil=SmoothNoise(rng, cell_mm=(110.0, 110.0, 130.0), cells=8),
        atrophy=float(rng.uniform(0.75, 1.35)),
        glioma=draw_glioma(rng),
        spots=_spots(rng),
        contrast=rng.uniform(0.82, 1.12, SEQUENCES),
        noise=float(rng.uniform(0.010, 0.022)),
        missing=missing,
    )


def render(head: Head, rng: np.random.Generator, *, slices: int, side_px: int) -> Iterator[Slice]:
    """Yield the slices of a head from the skull base to the crown."""
    pixel_mm = 226.0 / side_px
    axis_mm = (np.arange(side_px, dtype=np.float32) - np.float32((side_px - 1) / 2)) * np.float32(
        pixel_mm
    )
    for z_mm in np.linspace(_BOTTOM_MM, _TOP_MM, slices).tolist():
        yield _slice(_Scene(head, axis_mm, z_mm), rng)


class _Scene:
    """A slice in the making: its canvas, and the picture ``(H, W, 3)`` so far."""

    def __init__(self, head: Head, axis_mm: Floats, z_mm: float) -> None:
        self.head, self.z_mm, self.axis_mm = head, z_mm, axis_mm
        self.soft_mm = max(1.6, float(axis_mm[1] - axis_mm[0]))
        x, y = (
            axis_mm[None] / np.float32(head.scale[0]),
            axis_mm[:, None] / np.float32(head.scale[1]),
        )
        bend_x, bend_y = (bend.plane(axis_mm, axis_mm, z_mm) for bend in head.bend)
        self.canvas = Canvas(x + bend_x, y + bend_y, columns_mm=axis_mm, rows_mm=axis_mm)
        self.picture = np.zeros((*self.canvas.image.shape, SEQUENCES), np.float32)
        self.picture += _colour(_AIR)

    def lay(self, field_mm: Floats, tone: Tone, *, box: Box, soft_mm: float | None = None) -> None:
        """Lay a tissue over the inside of a field of signed distances."""
        cover = np.clip(np.float32(0.5) - field_mm / np.float32(soft_mm or self.soft_mm), 0, 1)
        part = self.picture[box]
        part += cover[..., None] * (_colour(tone) - part)

    def oval(self, shape: Ellipse | None, tone: Tone, *, soft_mm: float | None = None) -> None:
        """Lay a tissue over an ellipse; None lays nothing."""
        if shape is not None:
            box, field = self.canvas.ellipse(shape)
            self.lay(field, tone, box=box, soft_mm=soft_mm)

    def pair(self, solid: Ellipsoid, tone: Tone, *, soft_mm: float | None = None) -> None:
        """Lay a tissue over the cuts of a solid and of its mirror image."""
        cut = solid.at(self.z_mm)
        if cut is not None:
            self.oval(cut, tone, soft_mm=soft_mm)
            self.oval(cut._replace(x=-cut.x, turn=-cut.turn), tone, soft_mm=soft_mm)

    def field(self, solid: Ellipsoid) -> Floats:
        """Return the signed distance to a solid's cut; far where the slice has none."""
        cut = solid.at(self.z_mm)
        if cut is None:
            return np.full(self.canvas.image.shape, 99.0, np.float32)
        return self.canvas.ellipse(cut, box=self.canvas.whole)[1]


def _colour(tone: Tone) -> Floats:
    return np.array(tone, np.float32)


def _slice(scene: _Scene, rng: np.random.Generator) -> Slice:
    brain = scene.field(_BRAIN)
    _paint_skull(scene)
    _paint_brain(scene, brain)
    fluid = _paint_fluid(scene, brain)
    mask = _paint_glioma(scene, brain, fluid)
    _paint_vessels(scene)
    return Slice(_seen(scene, rng), mask)


def _paint_skull(scene: _Scene) -> None:
    whole = scene.canvas.whole
    scene.lay(scene.field(_HEAD), _FAT, box=whole)
    scene.lay(scene.field(_SKULL), _BONE, box=whole)
    if scene.z_mm < -14:  # face, eyes, and muscle at the temples and the neck
        scene.oval(_NOSE.at(scene.z_mm), _AIR)
        scene.pair(Ellipsoid(6, -80, -42, 3.5, 22, 20), _MUCOSA)
        scene.pair(_EYE._replace(a=17, b=20, c=18), _FAT)
        scene.pair(_EYE, (0.20, 0.10, 0.22))
        scene.pair(Ellipsoid(68, -38, -44, 8, 22, 26, turn=14), _MUSCLE)
        scene.pair(Ellipsoid(26, 86, -52, 22, 10, 22), _MUSCLE)


def _paint_brain(scene: _Scene, brain: Floats) -> None:
    """Paint grey matter over all of the brain, and white matter within its folds."""
    head, canvas = scene.head, scene.canvas
    folds = head.folds.plane(scene.axis_mm, scene.axis_mm, scene.z_mm)
    # Furrows run where the field of folds passes zero; they fade out with depth.
    furrow = 5 * np.abs(folds) + np.maximum(0, -brain - 12) * np.float32(0.4)
    wide = np.float32(head.atrophy)
    whole = canvas.whole
    scene.lay(brain, _FLUID, box=whole)
    scene.lay(brain + 1.5 * wide, _GREY, box=whole)
    scene.lay(np.maximum(brain + 4.5, 3.4 - furrow), _WHITE, box=whole, soft_mm=2.4)
    scene.lay(np.maximum(furrow - 0.9 * wide, brain), _FLUID, box=whole)
    _paint_base(scene, brain)
    scene.pair(_NUCLEI[0], _GREY, soft_mm=3.0)
    scene.pair(_NUCLEI[1], _GREY, soft_mm=3.0)


def _paint_base(scene: _Scene, brain: Floats) -> None:
    """Paint what lies at the skull base: bone between the lobes, cerebellum and brain stem."""
    z, whole = scene.z_mm, scene.canvas.whole
    if z > -20:
        return
    for side in (-1, 1):
        ridge = Ellipse(side * 40, 16, 30, 4.0 + 0.15 * (-12 - z), turn=side * 24)
        scene.oval(ridge, _BONE, soft_mm=4)
    scene.oval(Ellipse(0, -30, 13, 0.30 * (-12 - z)), _BONE, soft_mm=5)
    little = scene.field(_CEREBELLUM)
    leaves = scene.head.grain.plane(scene.axis_mm, scene.axis_mm, z)
    scene.lay(np.maximum(little, brain) - 2, _FLUID, box=whole)
    scene.lay(np.maximum(little, brain + 1), _GREY, box=whole)
    scene.lay(np.maximum(np.abs(leaves) * 3 - 0.8, little + 2), _FLUID, box=whole, soft_mm=3)
    scene.lay(little + 16 + 4 * leaves, _WHITE, box=whole, soft_mm=4)
    scene.oval(_STEM.at(z), _WHITE, soft_mm=2.0)
    scene.oval(Ellipse(0, 33, 6, 4), _FLUID)


def _paint_fluid(scene: _Scene, brain: Floats) -> Floats:
    """Paint the ventricles, the cleft between the halves, and bright caps; return the field."""
    grow = scene.head.atrophy
    solids = [solid._replace(a=solid.a * grow, b=solid.b * grow**0.5) for solid in _VENTRICLES]
    solids += [
        solid._replace(x=-solid.x, turn=-solid.turn, lean_x=-solid.lean_x) for solid in solids
    ]
    fluid = np.minimum.reduce([scene.field(solid) for solid in (*solids, _THIRD)])
    whole = scene.canvas.whole
    # FLAIR shows a thin bright seam around the ventricles of anybody.
    scene.lay(np.abs(fluid) - 1.4, (0.40, 0.52, 0.42), box=whole)
    scene.lay(fluid, _FLUID, box=whole)
    wave = scene.head.grain.plane(scene.axis_mm, scene.axis_mm, scene.z_mm)
    ends = 34 - np.abs(scene.canvas.y_mm - 4) if -20 < scene.z_mm < 30 else np.float32(-9)
    cleft = np.maximum(np.abs(scene.canvas.x_mm + 0.6 * wave) - 1.1 * grow, ends)
    scene.lay(np.maximum(cleft, brain + 1), _FLUID, box=whole)
    for x, y, z, radius in scene.head.spots.tolist():
        spot = Ellipsoid(x, y, z, radius, radius, 2 * radius).at(scene.z_mm)
        scene.oval(spot, (0.38, 0.60, 0.40), soft_mm=2.5)
    return np.asarray(fluid)


def _paint_glioma(scene: _Scene, brain: Floats, fluid: Floats) -> NDArray[np.bool_]:
    """Paint the lesion where there is brain to infiltrate, and return its outline."""
    glioma, axis = scene.head.glioma, scene.axis_mm
    field = glioma.field(scene.canvas, (axis, axis, scene.z_mm))
    if field.min() > 8:
        return np.zeros(field.shape, bool)
    field = np.maximum(field, np.maximum(brain + 1.5, 1.0 - fluid))
    cover = glioma.cover(field)
    texture = glioma.texture.plane(axis, axis, scene.z_mm)
    tone = _colour(glioma.tone) * (1 + 0.10 * texture[..., None])
    scene.picture += cover[..., None] * (tone - scene.picture)
    core = glioma.core(scene.canvas, scene.z_mm)
    if core is not None:
        core = np.maximum(core, field + 3)
        scene.lay(np.abs(core + 1.5) - 1.8, (0.38, 0.66, 0.82), box=scene.canvas.whole)
        scene.lay(core + 4, (0.22, 0.34, 0.24), box=scene.canvas.whole)
    return np.asarray(field < 0)


def _paint_vessels(scene: _Scene) -> None:
    """Paint the sinus at the back of the cleft, which only contrast agent shows."""
    edge = _BRAIN.at(scene.z_mm)
    if edge is not None and scene.z_mm > -30:
        scene.oval(Ellipse(0, edge.y + edge.b + 1, 4.0, 4.5), _VESSEL)
        scene.oval(Ellipse(0, edge.y - edge.b - 1, 2.0, 3.0), _VESSEL)


def _seen(scene: _Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return grey values: coil, scale and noise of each sequence, and FLAIR for a missing one."""
    head, axis, z_mm = scene.head, scene.axis_mm, scene.z_mm
    grain = head.grain.plane(axis, axis, z_mm)[..., None]
    gain = np.exp(np.float32(0.10) * head.coil.plane(axis, axis, z_mm))[..., None]
    signal = scene.picture * (1 + np.float32(0.025) * grain) * gain * np.float32(head.contrast)
    noise = normals(rng, (2, *signal.shape)) * np.float32(head.noise)
    seen = np.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
    if head.missing is not None:
        seen[..., head.missing] = seen[..., 1]
    return np.asarray(np.clip(seen * 255 + 0.5, 0, 255), np.uint8)


def _spots(rng: np.random.Generator) -> NDArray[np.floating]:
    """Draw small bright spots of white matter (x, y, z, radius), which are no glioma."""
    count = int(rng.integers(0, 9))
    turn, out = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.45, 0.75, count)
    x, y = 60 * out * np.cos(turn), 76 * out * np.sin(turn)
    return np.stack([x, y, rng.uniform(5, 45, count), rng.uniform(1.5, 3.2, count)], axis=1)
