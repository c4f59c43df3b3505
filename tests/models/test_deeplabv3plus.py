"""DeepLabv3+: how large its deepest maps are, and how far each atrous branch sees."""

import pytest
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.models import deeplabv3plus_r18
from medseg.models.deeplabv3plus import RATES


def deepest(network, images):
    maps = network.pool(network.stem(images))
    for stage in network.stages:
        maps = stage(maps)
    return maps


@pytest.mark.parametrize(
    ("stride", "size"), [pytest.param(16, 18, id="16"), pytest.param(8, 36, id="8")]
)
def test_the_deepest_maps_have_the_output_stride(stride, size):
    network = deeplabv3plus_r18(out_channels=1, output_stride=stride).eval()
    with torch.inference_mode():
        assert deepest(network, torch.zeros(1, 3, 288, 288)).shape[-2:] == (size, size)


@pytest.mark.parametrize("stride", [pytest.param(16, id="16"), pytest.param(8, id="8")])
def test_each_branch_sees_as_far_as_its_rate(stride):
    network = deeplabv3plus_r18(out_channels=1, output_stride=stride)
    reaches = []
    for branch in network.branches:
        depthwise = next(part for part in branch.modules() if isinstance(part, nn.Conv2d))
        one = torch.zeros(1, depthwise.in_channels, 97, 97)
        one[..., 48, 48] = 1.0
        with torch.no_grad():
            depthwise.weight.fill_(1.0)
            seen = depthwise(one)[0, 0].nonzero()
        reaches.append(sorted(set((seen - 48).abs().flatten().tolist())))
    assert reaches == [[0], *([0, rate] for rate in RATES[stride])]


def test_dilated_maps_are_those_that_the_strided_network_has_at_every_second_pixel():
    """The last stage, dilated, sees what the strided one sees, and at the places between too."""
    torch.manual_seed(0)
    strided, dilated = deeplabv3plus_r18(out_channels=1), deeplabv3plus_r18(out_channels=1)
    dilated.load_state_dict(strided.state_dict())
    for name, part in strided.stages[-1].named_modules():
        if isinstance(part, nn.Conv2d):
            part.dilation = (1, 1)
            part.padding = (1, 1) if part.kernel_size == (3, 3) else (0, 0)
            part.stride = (
                (2, 2) if name.startswith("layers.0.") and "layer.1" not in name else (1, 1)
            )
    images = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        coarse, fine = (deepest(network.eval(), images) for network in (strided, dilated))
    # Away from the edges, where zeros come in at other places.
    assert torch.allclose(coarse[..., 2:-2, 2:-2], fine[..., 4:-4:2, 4:-4:2], atol=1e-4)


def test_another_stride_is_refused():
    with pytest.raises(UsageError, match=r"E-CONFIG.*output_stride.*32.*16 or 8"):
        deeplabv3plus_r18(out_channels=1, output_stride=32)
