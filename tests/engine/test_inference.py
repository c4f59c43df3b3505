"""A volume through a 2D network: every voxel once, in its place, neighbours and windows right."""

import pytest
import torch
from torch import nn

from medseg.engine import VolumeInferer
from medseg.errors import DivergedError


class Channels(nn.Module):
    """Returns its input channels as logits, so that a logit tells which slice was seen."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape))
        return image + self.anchor


def volume(i, j, k):
    """Voxel (i, j, k) holds 100 i + 10 j + k / 10: any mix-up of axes shows."""
    return (
        100 * torch.arange(i).view(i, 1, 1) + 10 * torch.arange(j).view(j, 1) + torch.arange(k) / 10
    )[None, None]


def test_every_voxel_comes_back_in_its_place():
    image = volume(4, 6, 5)
    logits = VolumeInferer((6, 4), amp=False, batch=2)(image, Channels())
    assert torch.equal(logits, image)


def test_neighbours_are_channels_with_clamped_edges():
    image = volume(4, 4, 4)
    logits = VolumeInferer((4, 4), neighbours=3, stride=2, amp=False)(image, Channels())
    planes = (logits[0, :, 0, 0] * 10).round().int().tolist()
    assert planes == [[0, 0, 0, 1], [0, 1, 2, 3], [2, 3, 3, 3]]


def test_slices_smaller_than_the_window_are_padded_and_cropped_back():
    network = Channels()
    image = volume(5, 3, 2)
    logits = VolumeInferer((8, 8), amp=False)(image, network)
    assert network.seen == [(2, 1, 8, 8)]
    assert torch.allclose(logits, image)


def test_slices_larger_than_the_window_are_covered_by_windows():
    network = Channels()
    image = volume(20, 13, 3)
    logits = VolumeInferer((8, 8), overlap=0.5, batch=4, amp=False)(image, network)
    assert {shape[-2:] for shape in network.seen} == {(8, 8)}
    assert max(shape[0] for shape in network.seen) <= 4
    assert torch.allclose(logits, image, atol=1e-3)


@pytest.mark.parametrize("batch", [pytest.param(1, id="one slice"), pytest.param(64, id="all")])
def test_the_batch_size_changes_nothing(batch):
    image = volume(7, 6, 9)
    small = VolumeInferer((4, 4), batch=batch, amp=False)(image, Channels())
    assert torch.allclose(small, image, atol=1e-3)


def test_logits_are_float32_whatever_the_network_computes_in():
    logits = VolumeInferer((4, 4), amp=True)(volume(4, 4, 2), nn.Conv2d(1, 3, 1))
    assert logits.shape == (1, 3, 4, 4, 2)
    assert logits.dtype == torch.float32


def test_logits_that_are_not_finite_are_refused():
    class Broken(Channels):
        def forward(self, image):
            return image * float("nan")

    with pytest.raises(DivergedError, match=r"E-NONFINITE.*NaN or infinity"):
        VolumeInferer((4, 4), amp=False)(volume(4, 4, 2), Broken())
