"""Operations and bytes by hand, and the bound that follows."""

import pytest
import torch
from torch import nn

from medseg.bench.roofline import Cost, Peaks, cost, inference_step, peaks, training_step


def test_cost_of_a_1x1_convolution_by_hand():
    network = nn.Conv2d(2, 3, 1, bias=False).eval()
    images = torch.zeros(4, 2, 5, 7)
    found = cost(network, images, network=network)
    assert found.flops == 2 * 2 * 3 * 5 * 7
    # float32: the images, the weights once for all four, the logits.
    assert found.bytes == 4 * (2 * 5 * 7 + 2 * 3 / 4 + 3 * 5 * 7)


def test_a_view_moves_nothing():
    images = torch.zeros(1, 2, 5, 7)
    found = cost(lambda images: images.permute(0, 2, 3, 1), images, network=nn.Identity())
    assert found == Cost(0, 0)


def test_training_needs_three_times_the_operations():
    network = nn.Conv2d(2, 3, 1)
    images = torch.zeros(1, 2, 5, 7)
    training = cost(training_step(network), images, network=network)
    inference = cost(inference_step(network.eval()), images, network=network)
    assert training.flops == 3 * inference.flops
    assert training.bytes > 3 * inference.bytes


def test_the_lower_bound_counts():
    assert Cost(flops=10, bytes=2).bound(Peaks(flops=100, bytes=100)) == 10
    assert Cost(flops=10, bytes=50).bound(Peaks(flops=100, bytes=100)) == 2


def test_peaks_are_positive():
    assert min(peaks(torch.device("cpu"), size=64)) > 0


@pytest.mark.parametrize(
    "step_of",
    [
        pytest.param(inference_step, id="inference"),
        pytest.param(training_step, id="training"),
    ],
)
def test_steps_run_and_training_needs_more(step_of):
    network = nn.Conv2d(1, 2, 3, padding=1)
    before = network.weight.detach().clone()
    step_of(network)(torch.rand(2, 1, 8, 8))
    assert torch.equal(before, network.weight) is (step_of is inference_step)
