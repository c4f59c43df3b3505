"""UNeXt's shift, against the authors' way of making it, and the names of its parameters."""

import pytest
import torch
from torch.nn import functional

from medseg.models import unext
from medseg.models.shifted_mlp import shifted


@pytest.mark.parametrize("dim", [pytest.param(2, id="height"), pytest.param(3, id="width")])
@pytest.mark.parametrize(
    "channels", [pytest.param(20, id="five equal groups"), pytest.param(26, id="a smaller last")]
)
def test_the_shift_is_that_of_padding_rolling_and_cropping(dim, channels):
    torch.manual_seed(0)
    maps = torch.randn(2, channels, 5, 7)
    rolled = [
        torch.roll(group, step, dim)
        for step, group in zip(
            range(-2, 3), functional.pad(maps, (2, 2, 2, 2)).chunk(5, dim=1), strict=True
        )
    ]
    expected = torch.cat(rolled, dim=1)[..., 2:-2, 2:-2]
    assert torch.equal(shifted(maps, dim), expected)


def test_the_first_group_looks_two_tokens_ahead_and_the_last_two_back():
    maps = torch.arange(1.0, 6.0).reshape(1, 1, 5, 1).expand(1, 5, 5, 1)
    moved = shifted(maps, dim=2)[0, :, :, 0]
    assert moved[0].tolist() == [3, 4, 5, 0, 0]
    assert moved[2].tolist() == [1, 2, 3, 4, 5]
    assert moved[4].tolist() == [0, 0, 1, 2, 3]


def test_parameters_bear_the_names_of_the_published_checkpoints():
    names = set(unext(out_channels=1).state_dict())
    assert {
        "encoder1.weight",
        "ebn3.running_var",
        "patch_embed3.proj.weight",
        "patch_embed4.norm.bias",
        "block1.0.norm2.weight",
        "block1.0.mlp.fc1.weight",
        "block2.0.mlp.dwconv.dwconv.weight",
        "dblock2.0.mlp.fc2.bias",
        "norm4.weight",
        "dnorm3.bias",
        "dbn4.weight",
        "decoder5.bias",
        "final.weight",
    } <= names
