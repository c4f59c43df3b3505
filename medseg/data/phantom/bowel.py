"""The phantom's stomach, large bowel and small bowel: where they run, and what fills them.

Positions are canonical mm: x to the left, y to the back, z to the feet, 0 at the middle of the
body and at the top of a 144-slice scan. A patient moves the nodes a little, a day fills the tubes
anew.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from medseg.data.phantom.tubes import Tube, along, arc_mm

# x, y, z, radius. Fundus under the left dome, body forward and down, antrum across to the right.
_STOMACH = np.array(
    [
        (58, 10, 142, 22),
        (62, 16, 160, 37),
        (62, 0, 184, 38),
        (54, -26, 201, 33),
        (34, -46, 215, 28),
        (8, -52, 224, 23),
        (-16, -44, 225, 17),
        (-32, -30, 224, 11),
    ],
    float,
)
# Second to fourth part of the duodenum, from the pylorus round the pancreas to the left.
_DUODENUM = np.array(
    [
        (-34, -28, 226, 9),
        (-46, -12, 230, 12),
        (-48, 2, 260, 11),
        (-36, 8, 282, 11),
        (0, 2, 286, 10),
        (32, -6, 268, 11),
    ],
    float,
)
# Caecum, ascending, transverse (sagging), descending, sigmoid.
_LARGE = np.array(
    [
        (-80, -6, 338, 19),
        (-88, 2, 322, 23),
        (-94, 12, 296, 22),
        (-94, 14, 274, 21),
        (-89, 0, 252, 21),
        (-74, -38, 246, 20),
        (-38, -64, 252, 20),
        (0, -72, 257, 20),
        (38, -68, 240, 19),
        (72, -46, 208, 19),
        (94, -8, 182, 19),
        (104, 18, 192, 16),
        (107, 26, 230, 14),
        (105, 26, 276, 13),
        (99, 14, 308, 14),
        (78, -2, 326, 15),
        (48, -6, 334, 16),
        (22, 6, 326, 15),
        (2, 14, 340, 14),
        (-2, 28, 352, 12),
    ],
    float,
)
_BUNDLE_CENTRE = np.array([4.0, -18.0, 285.0])
_BUNDLE_HALF = np.array([78.0, 48.0, 66.0])


def stomach_nodes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a patient's stomach: nodes ``(8, 4)`` of x, y, z and radius in mm."""
    nodes = _jittered(_STOMACH, rng, (6, 5, 4), 0.1)
    nodes[:, 3] *= rng.uniform(0.95, 1.22)
    return nodes


def large_bowel_nodes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a patient's large bowel: nodes ``(20, 4)``; the transverse part sags by habit."""
    nodes = _jittered(_LARGE, rng, (5, 5, 5), 0.1)
    nodes[6:9, 2] += rng.uniform(-14, 14)
    nodes[:, 3] *= rng.uniform(0.82, 1.05)
    return nodes


def small_bowel_nodes(
    rng: np.random.Generator, stomach: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a patient's small bowel from the pylorus to the caecum: nodes ``(N, 4)``.

    Points of a jittered close packing fill the bundle; a short path through all of them, improved
    until no two of its steps cross, winds like the real thing.
    """
    pitch = 25.0
    span = np.ceil(_BUNDLE_HALF / pitch).astype(int) + 1
    i, j, k = np.meshgrid(*(np.arange(-n, n + 1) for n in span), indexing="ij")
    packed = np.stack([i + 0.5 * (j % 2) + 0.5 * (k % 2), j * 0.9, k * 0.85], axis=-1)
    points = packed.reshape(-1, 3) * pitch + rng.uniform(-5, 5, packed.reshape(-1, 3).shape)
    points = points[((points / _BUNDLE_HALF) ** 2).sum(1) < 1.05] + _BUNDLE_CENTRE
    duodenum = _jittered(_DUODENUM, rng, (3, 3, 3), 0.06)
    duodenum[0, :3] = stomach[-1, :3]
    points = points[np.linalg.norm(points[:, None] - duodenum[None, :, :3], axis=2).min(1) > 19]
    ileum = np.array([[-62.0, -2.0, 318.0]])
    path = _winding(np.concatenate([duodenum[-1:, :3], points, ileum]))
    radius = rng.uniform(8.8, 10.3) * rng.uniform(0.88, 1.12, len(path) - 1)
    return np.concatenate([duodenum, np.column_stack([path[1:], radius])])


def stomach_tube(nodes: NDArray[np.float64], rng: np.random.Generator) -> Tube:
    """Return the stomach of a day: fuller or emptier, with a bubble of gas in front."""
    nodes = _jittered(nodes, rng, (3, 3, 2), 0.04)
    nodes[:, 3] *= rng.uniform(0.85, 1.12)
    line = along(nodes, step_mm=3.0)
    gas = np.full(len(line), rng.uniform(0.0, 0.32)) * np.linspace(0.7, 1.2, len(line))
    tone = np.full(len(line), rng.uniform(0.34, 0.5))
    return Tube(line[:, :3], line[:, 3], arc_mm(line[:, :3]), gas, tone)


def large_bowel_tube(nodes: NDArray[np.float64], rng: np.random.Generator) -> Tube:
    """Return the large bowel of a day: haustra, faeces, and gas where it lies in front."""
    nodes = _jittered(nodes, rng, (3, 3, 3), 0.08)
    line = along(nodes, step_mm=3.0)
    arc = arc_mm(line[:, :3])
    haustra = 1 + 0.16 * np.sin(2 * np.pi * arc / rng.uniform(24, 32) + _wander(arc, rng, 60, 1.5))
    in_front = np.clip((10 - line[:, 1]) / 60, 0, 1)
    gas = np.clip(0.55 * in_front + 0.3 * _wander(arc, rng, 70, 1.0), 0, 0.85)
    tone = 0.2 + 0.05 * _wander(arc, rng, 50, 1.0)
    return Tube(line[:, :3], line[:, 3] * haustra, arc, gas, np.clip(tone, 0.1, 0.34))


def small_bowel_tube(nodes: NDArray[np.float64], rng: np.random.Generator) -> Tube:
    """Return the small bowel of a day: loops shift against each other, some filled, some not."""
    nodes = _jittered(nodes, rng, (3, 3, 3), 0.06)
    chords = np.linalg.norm(np.diff(nodes[:, :3], axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(chords)])
    fine = np.linspace(0, at[-1], round(at[-1] / 3.5))
    line = np.asarray(CubicSpline(at, nodes, axis=0)(fine))
    arc = arc_mm(line[:, :3])
    filling = _wander(arc, rng, 110, 1.0)
    radius = line[:, 3] * np.clip(1 + 0.1 * filling, 0.75, 1.25)
    gas = np.clip(0.35 * _wander(arc, rng, 90, 1.0) - 0.3, 0, 0.6)
    return Tube(line[:, :3], radius, arc, gas, np.clip(0.37 + 0.06 * filling, 0.26, 0.52))


def _jittered(
    nodes: NDArray[np.float64],
    rng: np.random.Generator,
    shift_mm: tuple[float, float, float],
    swell: float,
) -> NDArray[np.float64]:
    moved = nodes.copy()
    moved[:, :3] += rng.uniform(-1, 1, (len(nodes), 3)) * shift_mm
    moved[:, 3] *= 1 + rng.uniform(-swell, swell, len(nodes))
    return moved


def _wander(
    arc: NDArray[np.float64], rng: np.random.Generator, wave_mm: float, deviation: float
) -> NDArray[np.float64]:
    """Return a smooth random function of the arc length with waves of about `wave_mm`."""
    knots = np.arange(0, arc[-1] + 2 * wave_mm, wave_mm / 2)
    return np.asarray(CubicSpline(knots, rng.normal(0, deviation, len(knots)))(arc))


def _winding(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `points` in the order of a short path from the first to the last (greedy, 2-opt)."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    order, left = [0], set(range(1, len(points) - 1))
    while left:
        order.append(min(left, key=lambda n: (apart[order[-1], n], n)))
        left.remove(order[-1])
    path = np.array([*order, len(points) - 1])
    improved = True
    while improved:
        improved = False
        for a in range(1, len(path) - 2):
            steps = apart[path[:-1], path[1:]]
            ends = np.arange(a + 1, len(path) - 1)
            now = steps[a - 1] + steps[ends]
            then = apart[path[a - 1], path[ends]] + apart[path[a], path[ends + 1]]
            best = int((then - now).argmin())
            if then[best] - now[best] < -1e-9:
                path[a : ends[best] + 1] = path[a : ends[best] + 1][::-1]
                improved = True
    ordered: NDArray[np.float64] = points[path]
    return ordered
