"""Surfaces of masks: closed, outward, in millimetres, and close to what they enclose."""

import struct
from collections import Counter

import numpy as np
import pytest

from medseg.geometry import Grid, lpi_grid
from medseg.report.surfaces import as_mz3, surface

GRIDS = [
    pytest.param((-1.0, -1.0, -1.0), id="mirrored axes"),
    pytest.param((1.0, 1.0, 1.0), id="axes to right, front and head"),
    pytest.param((-0.5, 2.0, 3.0), id="uneven voxels"),
]


def ball(radius, size=32):
    i, j, k = np.indices((size,) * 3) - (size - 1) / 2
    return i**2 + j**2 + k**2 <= radius**2


def enclosed_ml(vertices, triangles):
    """Return the signed volume by the divergence theorem: positive where triangles face outward."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000)


def open_edges(triangles):
    """Return how many edges are not walked once in each direction as often as in the other."""
    walked = Counter()
    for a, b, c in triangles.tolist():
        walked.update([(a, b), (b, c), (c, a)])
    return sum(walked[a, b] != walked[b, a] for a, b in walked)


@pytest.mark.parametrize("steps", GRIDS)
def test_a_ball_has_its_volume_and_its_place(steps):
    mask = ball(12)
    grid = Grid(mask.shape, np.diag([*steps, 1.0]))
    vertices, triangles = surface(mask, grid)
    voxel_ml = abs(np.prod(steps)) / 1000
    assert enclosed_ml(vertices, triangles) == pytest.approx(mask.sum() * voxel_ml, rel=0.01)
    np.testing.assert_allclose(vertices.mean(axis=0), grid.to_ras_mm([15.5] * 3), atol=1e-9)
    assert open_edges(triangles) == 0


def test_vertices_lie_between_voxels_of_both_sides():
    mask = ball(12)
    vertices, _ = surface(mask, Grid(mask.shape, np.eye(4)))
    off_centre = np.linalg.norm(vertices - 15.5, axis=1)
    assert off_centre.min() > 10.5
    assert off_centre.max() < 13.5


def test_stairs_are_smoothed_away():
    # As they begin, the vertices are off by 0.15 voxels.
    mask = ball(12)
    vertices, _ = surface(mask, Grid(mask.shape, np.eye(4)))
    assert np.linalg.norm(vertices - 15.5, axis=1).std() < 0.13


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.ones((4, 5, 6), bool), id="up to every border"),
        pytest.param(np.eye(4, dtype=bool)[:, :, None], id="voxels that meet at edges"),
        pytest.param(np.random.default_rng(0).random((9, 9, 9)) < 0.3, id="noise"),
    ],
)
def test_every_surface_is_closed(mask):
    vertices, triangles = surface(mask, lpi_grid(mask.shape, (1.5, 1.5, 3.0)))
    assert open_edges(triangles) == 0
    assert enclosed_ml(vertices, triangles) > 0
    assert np.unique(triangles).tolist() == list(range(len(vertices)))


def test_where_a_mask_lies_in_its_volume_does_not_matter():
    mask = np.zeros((20, 20, 20), bool)
    mask[3:7, 4:9, 5:8] = True
    here, _ = surface(mask, Grid(mask.shape, np.eye(4)))
    there, _ = surface(np.roll(mask, (5, 6, 7), (0, 1, 2)), Grid(mask.shape, np.eye(4)))
    np.testing.assert_allclose(there - here, np.broadcast_to([5, 6, 7], here.shape), atol=1e-9)
    # The middle of voxels 3 to 6, 4 to 8 and 5 to 7.
    middle = (here.min(axis=0) + here.max(axis=0)) / 2
    np.testing.assert_allclose(middle, [4.5, 6.0, 6.0], atol=1e-6)


def test_an_empty_mask_has_no_surface():
    vertices, triangles = surface(np.zeros((4, 4, 4), bool), Grid((4, 4, 4), np.eye(4)))
    assert (vertices.shape, triangles.shape) == ((0, 3), (0, 3))
    assert as_mz3(vertices, triangles) == struct.pack("<2sHIII", b"MZ", 3, 0, 0, 0)


def test_the_file_holds_faces_before_vertices():
    vertices, triangles = np.array([[0, 0, 0], [1, 0, 0], [0, 2.5, 0]]), np.array([[0, 1, 2]])
    data = as_mz3(vertices, triangles)
    assert struct.unpack_from("<2sHIII", data) == (b"MZ", 3, 1, 3, 0)
    assert struct.unpack_from("<3i", data, 16) == (0, 1, 2)
    assert struct.unpack_from("<9f", data, 28) == (0, 0, 0, 1, 0, 0, 0, 2.5, 0)
    assert len(data) == 16 + 12 + 36
