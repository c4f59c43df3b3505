"""Fields from control points are those of SciPy's cubic B-splines."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medseg.transforms.spline import control_shape, enlarged


@pytest.mark.parametrize(
    ("size", "spacing"),
    [
        pytest.param((64, 96), (32, 32), id="whole pieces"),
        pytest.param((50, 31), (16, 8), id="pieces cut off, of two lengths"),
        pytest.param((20, 30), (20, 30), id="one piece"),
        pytest.param((3, 5), (32, 32), id="less than a piece"),
    ],
)
def test_enlarged_equals_scipy(size, spacing):
    points = np.random.default_rng(0).normal(size=(2, *control_shape(size, spacing)))
    found = enlarged(torch.from_numpy(points), size, spacing)
    j, i = np.mgrid[: size[0], : size[1]]
    at = [(j + 0.5) / spacing[0] + 1, (i + 0.5) / spacing[1] + 1]
    for plane, own in zip(found, points, strict=True):
        expected = map_coordinates(own, at, order=3, prefilter=False)
        np.testing.assert_allclose(plane, expected, atol=1e-6)


def test_equal_points_give_an_even_field():
    assert torch.allclose(enlarged(torch.full((6, 6), 3.0), (40, 40), (16, 16)), torch.tensor(3.0))


def test_a_field_stays_between_its_points():
    points = torch.rand(8, 12, 12, generator=torch.Generator().manual_seed(0))
    field = enlarged(points, (144, 144), (16, 16))
    assert field.min() > points.min()
    assert field.max() < points.max()
