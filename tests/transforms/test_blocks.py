"""Bright blocks are counted as torch's pooling finds them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from medseg.transforms.blocks import bright_blocks


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((3, 16, 24), id="whole blocks"),
        pytest.param((2, 17, 23), id="blocks cut at both edges"),
        pytest.param((1, 3, 1), id="less than one block"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shares_equal_those_of_pooled_slices(shape, dtype):
    slices = np.random.default_rng(0).random(shape).astype(dtype)
    pooled = avg_pool2d(torch.from_numpy(slices)[:, None], 4, ceil_mode=True)[:, 0]
    tissue = (pooled > 0.5).float()
    found = bright_blocks(slices, 0.5)
    np.testing.assert_allclose(found.of_columns, tissue.mean(1), atol=1e-6)
    np.testing.assert_allclose(found.of_rows, tissue.mean(2), atol=1e-6)


def test_a_turned_view_counts_as_it_is_seen():
    slices = np.zeros((8, 4, 2), np.float32)
    slices[0, 0, 1] = 16.5  # a mean of 1.03 in its block
    found = bright_blocks(slices.transpose(2, 1, 0), 1)
    assert found.of_columns.tolist() == [[0, 0], [1, 0]]
    assert found.of_rows.tolist() == [[0], [0.5]]


def test_a_block_exactly_at_the_threshold_is_not_bright():
    assert not bright_blocks(np.ones((1, 4, 4), np.float32), 1).of_rows.any()
