"""Scaling by a scan's own percentiles."""

import numpy as np
import pytest
import torch

from medseg.geometry import lpi_grid
from medseg.transforms import ScaleByPercentilesd, on_grid
from medseg.transforms.intensity import percentiles_above_minimum


def whole(values):
    """Return an image ``(1, n, 1, 1)`` of the values."""
    tensor = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
    return on_grid(tensor, lpi_grid((len(values), 1, 1), (1.0, 1.0, 1.0)))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.random.default_rng(0).integers(0, 900, (1, 9, 8, 7)), id="whole numbers"),
        pytest.param(np.random.default_rng(1).integers(60000, 65536, (1, 9, 8, 7)), id="large"),
        pytest.param(np.random.default_rng(2).normal(size=(1, 9, 8, 7)), id="fractions"),
        pytest.param(np.random.default_rng(5).random((1, 9, 8, 7)), id="positive fractions"),
        pytest.param(np.random.default_rng(3).integers(-90, 90, (1, 9, 8, 7)), id="negative"),
        pytest.param(np.random.default_rng(4).integers(0, 90000, (1, 9, 8, 7)), id="over 16 bits"),
    ],
)
def test_percentiles_equal_numpys_above_the_minimum(values):
    image = torch.from_numpy(values.astype(np.float32))
    above = values.astype(np.float32)
    expected = np.percentile(above[above > above.min()].astype(np.float64), (3.3, 98.1))
    assert percentiles_above_minimum(image, (3.3, 98.1)) == pytest.approx(tuple(expected), rel=1e-6)


def test_scaling_worked_by_hand():
    # Above the minimum lie 1 … 101; their 1st and 99th percentiles are 2 and 100.
    scaled = ScaleByPercentilesd("image")({"image": whole(range(102))})["image"].flatten()
    assert scaled[:3].tolist() == [0, 0, 0]
    assert scaled[51].item() == pytest.approx(0.5)
    assert scaled[100:].tolist() == [1, 1]


def test_an_empty_frame_changes_no_grey_value():
    values = [*range(1, 200)]
    narrow = ScaleByPercentilesd("image")({"image": whole([0, *values])})["image"].flatten()
    wide = ScaleByPercentilesd("image")({"image": whole([0] * 5000 + values)})["image"].flatten()
    assert torch.equal(narrow[1:].as_tensor(), wide[5000:].as_tensor())


def test_scale_and_offset_of_the_scanner_change_nothing():
    values = np.random.default_rng(0).integers(0, 500, 300)
    a = ScaleByPercentilesd("image")({"image": whole(values)})["image"]
    b = ScaleByPercentilesd("image")({"image": whole(values * 7 + 40)})["image"]
    torch.testing.assert_close(a.as_tensor(), b.as_tensor())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([7, 7, 7], [0, 0, 0], id="constant"),
        pytest.param([0, 0, 0], [0, 0, 0], id="zero"),
        pytest.param([2, 9, 2], [0, 1, 0], id="two values"),
        pytest.param([0.5], [0], id="one voxel"),
    ],
)
def test_images_without_a_range_give_no_nan(values, expected):
    assert (
        ScaleByPercentilesd("image")({"image": whole(values)})["image"].flatten().tolist()
        == expected
    )


def test_the_image_that_is_scaled_is_left_as_it_was():
    image = whole(range(50))
    ScaleByPercentilesd("image")({"image": image})
    assert image.flatten().tolist() == list(range(50))
