"""Scaling by a scan's own percentiles."""

from itertools import permutations

import numpy as np
import pytest
import torch

from medseg.geometry import lpi_grid
from medseg.transforms import ScaleByPercentilesd, on_grid
from medseg.transforms.intensity import ScaleByMaximumd, percentiles_above_minimum


def whole(values):
    """Return an image ``(1, n, 1, 1)`` of the values."""
    tensor = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
    return on_grid(tensor, lpi_grid((len(values), 1, 1), (1.0, 1.0, 1.0)))


def volume(values):
    """Return an image ``(1, *values.shape)`` that shares the memory of `values`."""
    return on_grid(values[None], lpi_grid(values.shape, (1.0, 1.0, 1.0)))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.random.default_rng(0).integers(0, 900, (1, 9, 8, 7)), id="whole numbers"),
        pytest.param(np.random.default_rng(1).integers(60000, 65536, (1, 9, 8, 7)), id="large"),
        pytest.param(np.random.default_rng(2).normal(size=(1, 9, 8, 7)), id="fractions"),
        pytest.param(np.random.default_rng(5).random((1, 9, 8, 7)), id="positive fractions"),
        pytest.param(np.random.default_rng(3).integers(-90, 90, (1, 9, 8, 7)), id="negative"),
        pytest.param(np.random.default_rng(4).integers(0, 90000, (1, 9, 8, 7)), id="over 16 bits"),
        pytest.param(np.arange(10_000), id="more than one block"),
        pytest.param(np.append(np.arange(5000), 7.5), id="one fraction at the end"),
        pytest.param(np.append(np.arange(5000), -1), id="one negative value at the end"),
        pytest.param(np.array([0, 65535, 65536]), id="one beyond 16 bits"),
    ],
)
def test_percentiles_equal_numpys_above_the_minimum(values):
    values = values.astype(np.float32).ravel()
    expected = np.percentile(values[values > values.min()].astype(np.float64), (3.3, 98.1))
    found = percentiles_above_minimum(values, (3.3, 98.1))
    assert found == pytest.approx(tuple(expected), rel=1e-6)


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


def test_scaling_is_less_low_over_the_range_in_single_precision():
    values = np.random.default_rng(6).integers(0, 4000, 9000)
    low, high = np.percentile(values[values > 0], (1.0, 99.0))
    expected = (torch.tensor(values, dtype=torch.float32) - low).mul(1 / (high - low)).clamp(0, 1)
    scaled = ScaleByPercentilesd("image")({"image": whole(values)})["image"].flatten()
    assert torch.equal(scaled.as_tensor(), expected)


@pytest.mark.parametrize("order", [pytest.param(o, id=str(o)) for o in permutations(range(3))])
def test_any_order_in_memory_scales_alike(order):
    values = torch.from_numpy(np.random.default_rng(8).integers(0, 900, (4, 5, 6))).float()
    expected = ScaleByPercentilesd("image")({"image": volume(values)})["image"]
    stored = values.permute(order).contiguous().permute(tuple(np.argsort(order)))
    scaled = ScaleByPercentilesd("image")({"image": volume(stored)})["image"]
    assert torch.equal(scaled.as_tensor(), expected.as_tensor())
    assert scaled.permute(0, 3, 2, 1).is_contiguous()


def test_each_channel_has_percentiles_of_its_own():
    values = torch.from_numpy(np.random.default_rng(0).random((2, 9, 8, 7))).float()
    values[1] *= 1000
    both = on_grid(values, lpi_grid((9, 8, 7), (1.0, 1.0, 1.0)))
    scaled = ScaleByPercentilesd("image")({"image": both})["image"]
    for channel in (0, 1):
        alone = ScaleByPercentilesd("image")({"image": volume(values[channel])})["image"]
        torch.testing.assert_close(scaled[channel], alone[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0.0, 51.0, 204.0], [0.0, 0.25, 1.0], id="a picture"),
        pytest.param([0.0, 0.0], [0.0, 0.0], id="black"),
        pytest.param([-4.0, 2.0], [0.0, 1.0], id="below black"),
        pytest.param([-4.0, -2.0], [0.0, 0.0], id="all below black"),
    ],
)
def test_a_picture_is_divided_by_its_maximum(values, expected):
    scaled = ScaleByMaximumd("image")({"image": whole(values)})["image"]
    assert scaled.flatten().tolist() == expected


def test_the_maximum_is_that_of_all_channels():
    values = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1)
    item = {"image": on_grid(values, lpi_grid((1, 1, 1), (1.0, 1.0, 1.0)))}
    assert ScaleByMaximumd("image")(item)["image"].flatten().tolist() == [0.25, 0.5, 1.0]
