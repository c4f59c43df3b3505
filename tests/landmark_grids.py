"""A label map of four landmarks, no two alike from any side, on grids of all kinds."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.geometry import Grid, lpi_grid
from medseg.labels import LabelSet, Organ

SHAPE = (20, 24, 12)
SPACING_MM = (0.8, 0.9, 3.0)
GRID = lpi_grid(SHAPE, SPACING_MM)
LANDMARKS = {(0, 0, 0): 1, (3, 17, 2): 2, (19, 1, 11): 3, (7, 23, 5): 4}
LABELS = LabelSet(
    tuple(Organ(f"organ{n}", n, (n, 2 * n, 3 * n), "0", "An organ") for n in (1, 2, 3, 4)),
    ("organ1", "organ2", "organ3", "organ4"),
)


def oblique(codes, rotation_deg):
    """A grid near `codes`, turned about all three axes, its corner off the origin."""
    grid = lpi_grid(SHAPE, SPACING_MM).reoriented(codes)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix()
    turn[:3, 3] = (-13.5, 42.25, 7.125)
    return Grid(grid.shape, turn @ grid.affine_ras_mm)


GRIDS = [
    pytest.param(GRID, id="LPI, slices from head to feet"),
    pytest.param(GRID.reoriented(("R", "A", "S")), id="RAS"),
    pytest.param(GRID.reoriented(("L", "P", "S")), id="LPS"),
    pytest.param(GRID.reoriented(("P", "I", "R")), id="sagittal, left-handed"),
    pytest.param(GRID.reoriented(("L", "S", "P")), id="coronal"),
    pytest.param(oblique(("L", "P", "S"), (17, -9, 31)), id="oblique"),
    pytest.param(oblique(("L", "P", "I"), (0.2, -0.1, 0.3)), id="tilted a little"),
    pytest.param(oblique(("A", "S", "L"), (-40, 20, 10)), id="oblique sagittal"),
]
# Half a turn and 0.02 degrees: no quaternion of float32 holds that to 0.001 mm.
BEYOND_QFORM = pytest.param(oblique(("L", "P", "S"), (0.02, -0.01, 0.01)), id="tilted by a hair")


def landmarks(shape):
    voxels = np.zeros(shape, np.uint8)
    for ijk, code in LANDMARKS.items():
        voxels[tuple(np.minimum(ijk, np.array(shape) - 1))] = code
    return voxels
