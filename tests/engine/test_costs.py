"""Costs by hand, and those that others publish."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg import losses, models
from medseg.bench.networks import reference
from medseg.engine.costs import Cost, cost_of, forward_pace, step_pace


class Attention(nn.Module):
    """Every pixel looks at every pixel."""

    def forward(self, images):
        tokens = images.flatten(2).transpose(1, 2)[:, None]
        return functional.scaled_dot_product_attention(tokens, tokens, tokens)


@pytest.mark.parametrize(
    ("network", "parameters", "macs"),
    [
        pytest.param(nn.Conv2d(4, 6, 3, padding=1), 222, 4 * 9 * 6 * 35, id="convolution"),
        pytest.param(
            nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), 108, 2 * 9 * 6 * 35, id="grouped"
        ),
        pytest.param(
            nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), 96, 4 * 4 * 6 * 35, id="transposed"
        ),
        pytest.param(Attention(), 0, 2 * 35 * 35 * 4, id="attention"),
        pytest.param(nn.BatchNorm2d(4), 8, 0, id="normalisation"),
    ],
)
def test_costs_by_hand(network, parameters, macs):
    assert cost_of(network, in_channels=4, size_px=(5, 7)) == Cost(parameters, macs)


@pytest.mark.parametrize("device", [pytest.param("cpu", id="cpu"), pytest.param("meta", id="meta")])
def test_counting_leaves_the_network_as_it_is(device):
    with torch.device(device):
        network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert cost_of(network, in_channels=1, size_px=(3, 3)) == Cost(2 + 4, 2 * 9)
    assert network[1].training
    assert {value.device.type for value in network.state_dict().values()} == {device}
    if device == "cpu":
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("size", "published_g"), [pytest.param("b0", 2.24, id="b0"), pytest.param("b2", 18.30, id="b2")]
)
def test_the_published_segformer_costs_what_is_published_and_ours_less(size, published_g):
    with torch.device("meta"):
        network = getattr(models, f"segformer_{size}")(out_channels=4)
        sides = (network, reference(network))
    own, published = (cost_of(side, in_channels=3, size_px=(288, 288)) for side in sides)
    assert round(published.macs / 1e9, 2) == published_g
    assert own.parameters == published.parameters
    assert own.macs < 0.45 * published.macs


def test_memory_of_a_forward_pass_by_hand():
    network = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(3, 1, 1, bias=False))
    pace = forward_pace(network, torch.zeros(4, 2, 5, 7), amp=False, rounds=1)
    # float32: weights, images, and both convolutions' maps, of which one is read, one written.
    assert pace.memory_bytes == 4 * (6 + 3 + 4 * 35 * (2 + 3 + 1))
    assert pace.images_per_s > 0


def test_memory_that_was_freed_counts_once():
    class Chain(nn.Module):
        def forward(self, images):
            for _ in range(9):
                images = images + 1
            return images

    pace = forward_pace(Chain(), torch.zeros(1, 1, 8, 8), amp=False, rounds=1)
    assert pace.memory_bytes == 4 * 64 * 3


def test_a_step_holds_more_than_a_pass_and_trains_a_copy():
    network = nn.Conv2d(1, 2, 3, padding=1)
    before = network.weight.detach().clone()
    images, masks = torch.rand(2, 1, 16, 16), torch.ones(2, 2, 16, 16, dtype=torch.uint8)
    step = step_pace(network, images, masks=masks, loss=losses.dice_bce(), amp=False, rounds=1)
    weights = 4 * sum(each.numel() for each in network.parameters())
    # Weights, their gradients and Adam's two moments; images, logits and the gradient of these.
    assert step.memory_bytes > 4 * weights + 4 * 512 * 5 + masks.nbytes
    assert forward_pace(network, images, amp=False, rounds=1).memory_bytes < step.memory_bytes
    assert torch.equal(network.weight, before)


def test_a_step_gives_masks_to_a_network_that_takes_them():
    class Taking(nn.Conv2d):
        takes_masks = True

        def forward(self, images, masks=None):
            assert masks.shape == (2, 2, 16, 16)
            return super().forward(images) * masks

    step_pace(
        Taking(1, 2, 1),
        torch.rand(2, 1, 16, 16),
        masks=torch.ones(2, 2, 16, 16, dtype=torch.uint8),
        loss=losses.dice_bce(),
        amp=False,
        rounds=1,
    )
