"""Un-pooling: every value back on the place that pooling took it from."""

import pytest
import torch
from torch.nn import functional

from medseg.models import UnpoolingAutoencoder
from medseg.models.unpooling import pooled, unpooled


def test_maxima_come_back_to_their_places_worked_out_by_hand():
    maps = torch.tensor([[[[1.0, 5.0, 2.0], [3.0, 4.0, 9.0], [7.0, 6.0, 8.0]]]])
    maxima, switches = pooled(maps)
    assert maxima[0, 0].tolist() == [[5, 9], [7, 8]]
    back = unpooled(10 * maxima, switches, [3, 3])
    assert back[0, 0].tolist() == [[0, 50, 0], [0, 0, 90], [70, 0, 80]]


@pytest.mark.parametrize(
    "size_px",
    [
        pytest.param((8, 6), id="even"),
        pytest.param((7, 9), id="odd"),
        pytest.param((1, 5), id="a line"),
    ],
)
def test_switches_restore_the_maxima_and_zeros_elsewhere(size_px):
    torch.manual_seed(0)
    maps = torch.rand(2, 3, *size_px) + 0.1
    maxima, switches = pooled(maps)
    back = unpooled(maxima, switches, list(size_px))
    assert torch.equal(back[back != 0], maps[back != 0])
    assert int((back != 0).sum()) == maxima.numel()
    assert torch.equal(pooled(back)[0], maxima)


def test_unpooling_is_that_of_torch_where_torch_has_one():
    torch.manual_seed(1)
    maxima, switches = pooled(torch.randn(2, 4, 8, 10))
    expected = functional.max_unpool2d(maxima, switches, 2)
    assert torch.equal(unpooled(maxima, switches, [8, 10]), expected)


@pytest.mark.parametrize(
    "blocks", [pytest.param("plain", id="plain"), pytest.param("inception", id="inception")]
)
def test_the_gradient_is_that_of_finite_differences(blocks):
    torch.manual_seed(2)
    network = UnpoolingAutoencoder(1, 1, widths=(16,), blocks=blocks).double().eval()
    images = torch.randn(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (images,), eps=1e-7, atol=1e-5)
