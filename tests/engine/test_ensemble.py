"""Several networks as one."""

import pytest
import torch
from torch import nn

from medseg.bundle import Opened
from medseg.engine import Ensemble
from medseg.errors import UnsafeError


def scaled(factor):
    network = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(network.weight, factor)
    return network


def test_the_logits_are_averaged():
    images = torch.tensor([[[[1.0, -2.0]]]])
    logits = Ensemble([scaled(1.0), scaled(4.0)])(images)
    assert logits.tolist() == [[[[2.5, -5.0]]]]
    assert logits.dtype == torch.float32


def test_each_network_gets_its_own_weights_by_the_names_of_a_configuration(tmp_path):
    paths = []
    for factor in (3.0, 5.0):
        paths.append(str(tmp_path / f"{factor}.pt"))
        torch.save({"network": scaled(factor).state_dict()}, paths[-1])
    member = {
        "_target_": "torch.nn.Conv2d",
        "in_channels": 1,
        "out_channels": 1,
        "kernel_size": 1,
        "bias": False,
    }
    config = {
        "_target_": "medseg.engine.Ensemble", "networks": [member, member], "weights": paths
    }  # fmt: skip
    network = Opened({"network": config})["network"]
    assert network(torch.ones(1, 1, 1, 1)).item() == 4.0


def test_as_many_weights_as_networks(tmp_path):
    torch.save({"network": scaled(1.0).state_dict()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="shorter"):
        Ensemble([scaled(1.0), scaled(1.0)], [tmp_path / "a.pt"])


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"network": nn.Conv2d(2, 1, 1).state_dict()}, tmp_path / "a.pt")
    with pytest.raises(UnsafeError, match=r"E-MODEL.*a\.pt"):
        Ensemble([scaled(1.0)], [tmp_path / "a.pt"])
